// The optimizer's step over flat arrays, the search for lost gradients, and the loss scale.
//
// Floor in bytes per parameter, s = bytes of the network's type, copy written only where it is not float:
// SGD 16 + s + copy (20 for 16 bits), Adam 24 + s + copy (28), EmaUpdate 12, CheckFinite s. Under 20 operations per
// parameter. Four parameters per thread: the float arrays are most of the bytes, and four floats are 16.
#include "kernels/optimizer.h"

#include "kernels/elements.cuh"
#include "kernels/reduce.cuh"

namespace {

constexpr unsigned kCheckBlocks = kMultiprocessors * 4;  // each leaves one number behind

template <int kWidth, class T>
__global__ void __launch_bounds__(kElementThreads) sgd(SgdStep<T> p) {
    const StepState state = *p.state;
    if (state.nonfinite != 0) return;
    const float unscale = 1.0f / state.loss_scale;
    for_elements<kWidth>(p.count, [&]<int n>(size_t i) {
        float gradient[n], parameter[n], momentum[n];
        load_floats(p.gradient + i, gradient);
        load_floats(p.parameter + i, parameter);
        load_floats(p.momentum + i, momentum);
        SIMT_UNROLL
        for (int k = 0; k < n; ++k) {
            const float g = fmaf(p.weight_decay, parameter[k], gradient[k] * unscale);
            momentum[k] = fmaf(state.momentum, momentum[k], g);
            const float direction = p.nesterov ? fmaf(state.momentum, momentum[k], g) : momentum[k];
            parameter[k] -= state.learning_rate * direction;
        }
        store_floats(p.momentum + i, momentum);
        store_floats(p.parameter + i, parameter);
        if (p.compute_copy) store_floats(p.compute_copy + i, parameter);
    });
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kElementThreads) adam(AdamStep<T> p) {
    const StepState state = *p.state;
    if (state.nonfinite != 0) return;
    const float unscale = 1.0f / state.loss_scale, beta1 = state.momentum, beta2 = p.beta2;
    const float keep = p.decoupled ? 1 - state.learning_rate * p.weight_decay : 1.0f;
    const float decay = p.decoupled ? 0.0f : p.weight_decay;
    // Both forms are rate * m / (sqrt(v) * factor + epsilon).
    const bool torch = p.form == AdamForm::torch;
    const float factor = torch ? 1.0f / sqrtf(state.bias_correction2) : 1.0f;
    const float rate = state.learning_rate * (torch ? 1.0f : sqrtf(state.bias_correction2)) / state.bias_correction1;
    for_elements<kWidth>(p.count, [&]<int n>(size_t i) {
        float gradient[n], parameter[n], m[n], v[n];
        load_floats(p.gradient + i, gradient);
        load_floats(p.parameter + i, parameter);
        load_floats(p.m + i, m);
        load_floats(p.v + i, v);
        SIMT_UNROLL
        for (int k = 0; k < n; ++k) {
            const float g = fmaf(decay, parameter[k], gradient[k] * unscale);
            m[k] = fmaf(beta1, m[k], (1 - beta1) * g);
            v[k] = fmaf(beta2, v[k], (1 - beta2) * g * g);
            parameter[k] = parameter[k] * keep - rate * m[k] / fmaf(sqrtf(v[k]), factor, p.epsilon);
        }
        store_floats(p.m + i, m);
        store_floats(p.v + i, v);
        store_floats(p.parameter + i, parameter);
        if (p.compute_copy) store_floats(p.compute_copy + i, parameter);
    });
}

template <int kWidth>
__global__ void __launch_bounds__(kElementThreads) average(EmaUpdate p) {
    if (p.state->nonfinite != 0) return;
    const float rate = *p.rate;
    for_elements<kWidth>(p.count, [&]<int n>(size_t i) {
        float parameter[n], average[n];
        load_floats(p.parameter + i, parameter);
        load_floats(p.average + i, average);
        SIMT_UNROLL
        for (int k = 0; k < n; ++k) average[k] = fmaf(rate, parameter[k] - average[k], average[k]);
        store_floats(p.average + i, average);
    });
}

// lost: (gridDim.x), the number of lost elements that each block found
template <int kWidth, class T>
__global__ void __launch_bounds__(kElementThreads) check_finite(CheckFinite<T> p, unsigned* lost) {
    unsigned count = 0;
    for_elements<kWidth>(p.count, [&]<int n>(size_t i) {
        float gradient[n];
        load_floats(p.gradient + i, gradient);
        SIMT_UNROLL
        for (int k = 0; k < n; ++k) count += (detail::bits_of(gradient[k]) & 0x7f800000u) == 0x7f800000u;
    });
    count = block_reduce<kElementThreads>(count, Sum{});
    if (threadIdx.x == 0) lost[blockIdx.x] = count;
}

__global__ void __launch_bounds__(kElementThreads) add_lost(StepState* state, const unsigned* lost, unsigned blocks) {
    unsigned count = 0;
#pragma unroll 1  // at most three turns
    for (unsigned i = threadIdx.x; i < blocks; i += kElementThreads) count += lost[i];
    count = block_reduce<kElementThreads>(count, Sum{});
    if (threadIdx.x == 0) state->nonfinite += float(count);
}

__global__ void finish_step(FinishStep p) {
    StepState state = *p.state;
    const bool skipped = state.nonfinite != 0;
    state.skipped_steps += skipped ? 1.0f : 0.0f;
    state.clean_steps = skipped ? 0.0f : state.clean_steps + 1;
    state.nonfinite = 0;
    if (p.growth_interval != 0) {
        if (skipped) state.loss_scale *= 0.5f;
        if (state.clean_steps >= p.growth_interval) {
            state.loss_scale = fminf(state.loss_scale * 2, p.max_scale);
            state.clean_steps = 0;
        }
    }
    *p.state = state;
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const SgdStep<T>& p) {
    aligned(p.gradient, p.parameter, p.momentum, p.compute_copy) ? launch_elements<4>(gpu, sgd<4, T>, p)
                                                                 : launch_elements<1>(gpu, sgd<1, T>, p);
}

template <class T>
void compute(const Gpu& gpu, const AdamStep<T>& p) {
    aligned(p.gradient, p.parameter, p.m, p.v, p.compute_copy) ? launch_elements<4>(gpu, adam<4, T>, p)
                                                               : launch_elements<1>(gpu, adam<1, T>, p);
}

void compute(const Gpu& gpu, const EmaUpdate& p) {
    aligned(p.parameter, p.average) ? launch_elements<4>(gpu, average<4>, p) : launch_elements<1>(gpu, average<1>, p);
}

template <class T>
void compute(const Gpu& gpu, const CheckFinite<T>& p) {
    const bool vectors = aligned(p.gradient);
    const unsigned blocks = std::min(kCheckBlocks, element_blocks(p.count, vectors ? kVector<T> : 1).x);
    unsigned* const lost = gpu.scratch.take<unsigned>(blocks);
    simt::launch(vectors ? check_finite<kVector<T>, T> : check_finite<1, T>, dim3(blocks), dim3(kElementThreads), 0,
                 stream_of(gpu), p, lost);
    simt::launch(add_lost, dim3(1), dim3(kElementThreads), 0, stream_of(gpu), p.state, lost, blocks);
}

void compute(const Gpu& gpu, const FinishStep& p) { simt::launch(finish_step, dim3(1), dim3(1), 0, stream_of(gpu), p); }

template void compute(const Gpu&, const SgdStep<float>&);
template void compute(const Gpu&, const SgdStep<bf16>&);
template void compute(const Gpu&, const SgdStep<fp16>&);
template void compute(const Gpu&, const AdamStep<float>&);
template void compute(const Gpu&, const AdamStep<bf16>&);
template void compute(const Gpu&, const AdamStep<fp16>&);
template void compute(const Gpu&, const CheckFinite<float>&);
template void compute(const Gpu&, const CheckFinite<bf16>&);
template void compute(const Gpu&, const CheckFinite<fp16>&);
