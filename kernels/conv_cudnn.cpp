// The convolutions of the device cuda: descriptions of cuDNN graphs, run through the plans that the device keeps.
#include "kernels/conv.h"
#include "kernels/conv_plans_cudnn.h"

namespace {

template <class T>
constexpr cudnnDataType_t kType = CUDNN_DATA_FLOAT;
template <>
constexpr cudnnDataType_t kType<bf16> = CUDNN_DATA_BFLOAT16;
template <>
constexpr cudnnDataType_t kType<fp16> = CUDNN_DATA_HALF;

}  // namespace

template <class T>
void compute(const Cuda& cuda, const ConvForward<T>& op) {
    cuda.convolutions->run(cuda,
                           {.direction = ConvDirection::forward,
                            .shape = op.shape,
                            .type = kType<T>,
                            .x_pitch = op.x_pitch ? op.x_pitch : op.shape.c_in,
                            .y_pitch = op.y_pitch ? op.y_pitch : op.shape.c_out,
                            .activation = op.activation,
                            .bias = op.bias != nullptr,
                            .residual = op.residual != nullptr,
                            .residual_last = op.residual != nullptr && op.residual_last},
                           {.x = op.x, .weight = op.weight, .y = op.y, .bias = op.bias, .residual = op.residual});
}

template <class T>
void compute(const Cuda& cuda, const ConvBackwardData<T>& op) {
    cuda.convolutions->run(
        cuda, {ConvDirection::backward_data, op.shape, kType<T>, op.shape.c_in, op.shape.c_out}, {.x = op.dx, .weight = op.weight, .y = op.dy});
}

template <class T>
void compute(const Cuda& cuda, const ConvBackwardWeight<T>& op) {
    cuda.convolutions->run(cuda, {ConvDirection::backward_weight, op.shape, kType<T>, op.shape.c_in, op.shape.c_out},
                           {.x = op.x, .weight = op.dweight, .y = op.dy});
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
