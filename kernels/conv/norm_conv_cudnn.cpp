// The fused chain of training on the device cuda: cuDNN's engines for it, which there are in float16 and for compute
// capability 9.0.
#include "kernels/conv/norm_conv.h"

#include "kernels/conv/cudnn_plans.h"

template <class T>
void compute(const Cuda& cuda, const NormConvForward<T>& p) {
    cuda.convolutions->run(cuda,
                           {.direction = ConvDirection::forward,
                            .shape = p.shape,
                            .type = cudnn_type<T>,
                            .x_pitch = p.shape.c_in,
                            .y_pitch = p.shape.c_out,
                            .normalized = p.a != nullptr,
                            .statistics = true},
                           {{kConvX, p.x},
                            {kConvWeight, p.weight},
                            {kConvY, p.y},
                            {kNormA, p.a},
                            {kNormB, p.b},
                            {kNormSum, p.sum},
                            {kNormSquares, p.squares}});
}

// The engines also want to write the three factors of dx = p * g + q * x + r; the kernel that makes dx does not need
// them.
template <class T>
void compute(const Cuda& cuda, const NormConvBackwardData<T>& p) {
    const ConvProblem problem{.direction = ConvDirection::backward_data,
                              .shape = p.shape,
                              .type = cudnn_type<T>,
                              .x_pitch = p.shape.c_in,
                              .y_pitch = p.shape.c_out,
                              .normalized = p.scale != nullptr};
    if (!p.scale)
        return cuda.convolutions->run(cuda, problem, {{kConvX, p.g}, {kConvWeight, p.weight}, {kConvY, p.dy}});
    Cuda rest = cuda;
    float* const factors[] = {rest.scratch.split<float>(p.shape.c_in), rest.scratch.split<float>(p.shape.c_in),
                              rest.scratch.split<float>(p.shape.c_in)};
    cuda.convolutions->run(rest, problem,
                           {{kConvX, p.x},
                            {kConvWeight, p.weight},
                            {kConvY, p.dy},
                            {kNormG, p.g},
                            {kNormScale, p.scale},
                            {kNormShift, p.shift},
                            {kNormMean, p.mean},
                            {kNormRstd, p.rstd},
                            {kNormDscale, p.dscale},
                            {kNormDshift, p.dshift},
                            {kNormP, factors[0]},
                            {kNormQ, factors[1]},
                            {kNormR, factors[2]}});
}

template <class T>
void compute(const Cuda& cuda, const NormConvBackwardWeight<T>& p) {
    cuda.convolutions->run(cuda,
                           {.direction = ConvDirection::backward_weight,
                            .shape = p.shape,
                            .type = cudnn_type<T>,
                            .x_pitch = p.shape.c_in,
                            .y_pitch = p.shape.c_out,
                            .normalized = p.a != nullptr},
                           {{kConvX, p.x}, {kConvWeight, p.dweight}, {kConvY, p.dy}, {kNormA, p.a}, {kNormB, p.b}});
}

template void compute(const Cuda&, const NormConvForward<float>&);
template void compute(const Cuda&, const NormConvForward<bf16>&);
template void compute(const Cuda&, const NormConvForward<fp16>&);
template void compute(const Cuda&, const NormConvBackwardData<float>&);
template void compute(const Cuda&, const NormConvBackwardData<bf16>&);
template void compute(const Cuda&, const NormConvBackwardData<fp16>&);
template void compute(const Cuda&, const NormConvBackwardWeight<float>&);
template void compute(const Cuda&, const NormConvBackwardWeight<bf16>&);
template void compute(const Cuda&, const NormConvBackwardWeight<fp16>&);
