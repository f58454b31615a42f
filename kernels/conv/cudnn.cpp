// The convolutions of the device cuda: descriptions of cuDNN graphs, run through the plans that the device keeps. On
// ptx, where there is no cuDNN, the direct kernels.
#include "kernels/conv/conv.h"
#include "kernels/conv/cudnn_plans.h"

template <class T>
void compute(const Cuda& cuda, const ConvForward<T>& op) {
    if (!cuda.convolutions) return compute_direct(cuda, op);
    // In training a bias stays float: steps of its learning would be lost to rounding.
    const bool rounded = sizeof(T) == 2 && op.bias && op.weight_is_constant && op.activation != Activation::silu &&
                         !(op.residual && op.residual_last);
    cuda.convolutions->run(
        cuda,
        {.direction = ConvDirection::forward,
         .shape = op.shape,
         .type = cudnn_type<T>,
         .activation = op.activation,
         .bias = op.bias != nullptr,
         .residual = op.residual != nullptr,
         .residual_last = op.residual != nullptr && op.residual_last,
         .rounded_bias = rounded},
        {{kConvX, op.x}, {kConvWeight, op.weight}, {kConvY, op.y}, {kConvBias, op.bias}, {kConvResidual, op.residual}});
}

template <class T>
void compute(const Cuda& cuda, const ConvBackwardData<T>& op) {
    if (!cuda.convolutions) return compute_direct(cuda, op);
    cuda.convolutions->run(
        cuda,
        {.direction = ConvDirection::backward_data,
         .shape = op.shape,
         .type = cudnn_type<T>,
         .joined = op.dx2 != nullptr},
        {{kConvX, op.dx}, {kConvWeight, op.weight}, {kConvY, op.dy}, {kConvResidual, op.dx2}, {kConvRelu, op.x}});
}

template <class T>
void compute(const Cuda& cuda, const ConvBackwardWeight<T>& op) {
    if (!cuda.convolutions) return compute_direct(cuda, op);
    cuda.convolutions->run(cuda,
                           {.direction = ConvDirection::backward_weight, .shape = op.shape, .type = cudnn_type<T>},
                           {{kConvX, op.x}, {kConvWeight, op.dweight}, {kConvY, op.dy}});
}

template void compute(const Cuda&, const ConvForward<float>&);
template void compute(const Cuda&, const ConvForward<bf16>&);
template void compute(const Cuda&, const ConvForward<fp16>&);
template void compute(const Cuda&, const ConvBackwardData<float>&);
template void compute(const Cuda&, const ConvBackwardData<bf16>&);
template void compute(const Cuda&, const ConvBackwardData<fp16>&);
template void compute(const Cuda&, const ConvBackwardWeight<float>&);
template void compute(const Cuda&, const ConvBackwardWeight<bf16>&);
template void compute(const Cuda&, const ConvBackwardWeight<fp16>&);
