// The fused chain of training on the device cuda, by cuDNN's engines for it: float16, compute capability 9.0.
#include "kernels/conv/norm_conv.h"

#include "kernels/conv/cudnn_plans.h"

namespace {
CudaConvolutions& convolutions(const Cuda& cuda) {
    if (!cuda.convolutions) throw std::runtime_error("norm_conv needs cuDNN");
    return *cuda.convolutions;
}
}  // namespace

template <class T>
void compute(const Cuda& cuda, const NormConvForward<T>& p) {
    convolutions(cuda).run(cuda,
                           {.direction = ConvDirection::forward,
                            .shape = p.shape,
                            .type = cudnn_type<T>,
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

// The engines also write the three factors of dx = p * g + q * x + r, which nothing here reads.
template <class T>
void compute(const Cuda& cuda, const NormConvBackwardData<T>& p) {
    const ConvProblem problem{.direction = ConvDirection::backward_data,
                              .shape = p.shape,
                              .type = cudnn_type<T>,
                              .normalized = p.scale != nullptr};
    if (!p.scale)
        return convolutions(cuda).run(cuda, problem, {{kConvX, p.g}, {kConvWeight, p.weight}, {kConvY, p.dy}});
    Cuda rest = cuda;
    float* const factors[] = {rest.scratch.split<float>(p.shape.c_in), rest.scratch.split<float>(p.shape.c_in),
                              rest.scratch.split<float>(p.shape.c_in)};
    convolutions(cuda).run(rest, problem,
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
    convolutions(cuda).run(cuda,
                           {.direction = ConvDirection::backward_weight,
                            .shape = p.shape,
                            .type = cudnn_type<T>,
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
