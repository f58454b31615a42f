// Optimizer steps on the CPU: see optimizer.h.
#include "kernels/optimizer.h"

#include <algorithm>
#include <cmath>

#include "kernels/parallel.h"

namespace {
constexpr size_t grain = 4096;

// Calls step(i) for every element, unless the gradients are lost; copy(begin, end) while they are in the cache.
template <class Step, class Copy>
void for_each_parameter(const Cpu& cpu, const StepState& state, size_t count, const Step& step, const Copy& copy) {
    if (state.nonfinite != 0) return;
    parallel_for(cpu, count, grain, [&](size_t begin, size_t end) {
        const Step local = step;  // a copy, so that its values stay in registers
        for (; begin < end; begin += grain) {
            const size_t last = std::min(end, begin + grain);
#pragma GCC ivdep
            for (size_t i = begin; i < last; ++i) local(i);
            copy(begin, last);
        }
    });
}

template <class T>
auto copy_of(const float* parameter, T* compute_copy) {
    return [=](size_t begin, size_t end) {
        if (compute_copy)
            for (size_t i = begin; i < end; ++i) compute_copy[i] = T(parameter[i]);
    };
}
}  // namespace

template <class T>
void compute(const Cpu& cpu, const SgdStep<T>& op) {
    const StepState state = *op.state;
    const auto run = [&](auto nesterov) {
        const auto step = [=](size_t i) {
            const float g = float(op.gradient[i]) / state.loss_scale + op.weight_decay * op.parameter[i];
            const float buffer = state.momentum * op.momentum[i] + g;
            op.momentum[i] = buffer;
            op.parameter[i] -= state.learning_rate * (nesterov ? g + state.momentum * buffer : buffer);
        };
        for_each_parameter(cpu, state, op.count, step, copy_of(op.parameter, op.compute_copy));
    };
    op.nesterov ? run(std::true_type{}) : run(std::false_type{});
}

template <class T>
void compute(const Cpu& cpu, const AdamStep<T>& op) {
    const StepState state = *op.state;
    const float beta1 = state.momentum, beta2 = op.beta2;
    const float keep = op.decoupled ? 1 - state.learning_rate * op.weight_decay : 1;
    const float decay = op.decoupled ? 0 : op.weight_decay;
    // Both forms are rate * m / (sqrt(v) * factor + epsilon).
    const bool torch = op.form == AdamForm::torch;
    const float factor = torch ? 1 / std::sqrt(state.bias_correction2) : 1;
    const float rate = state.learning_rate * (torch ? 1 : std::sqrt(state.bias_correction2)) / state.bias_correction1;
    const auto step = [=](size_t i) {
        const float g = float(op.gradient[i]) / state.loss_scale + decay * op.parameter[i];
        const float m = beta1 * op.m[i] + (1 - beta1) * g;
        const float v = beta2 * op.v[i] + (1 - beta2) * g * g;
        op.m[i] = m;
        op.v[i] = v;
        op.parameter[i] = op.parameter[i] * keep - rate * m / (std::sqrt(v) * factor + op.epsilon);
    };
    for_each_parameter(cpu, state, op.count, step, copy_of(op.parameter, op.compute_copy));
}

void compute(const Cpu& cpu, const EmaUpdate& op) {
    const float rate = *op.rate;
    const auto step = [=](size_t i) { op.average[i] += rate * (op.parameter[i] - op.average[i]); };
    for_each_parameter(cpu, *op.state, op.count, step, [](size_t, size_t) {});
}

template <class T>
void compute(const Cpu& cpu, const CheckFinite<T>& op) {
    size_t total = 0;
    parallel_for(cpu, op.count, grain, [&](size_t begin, size_t end) {
        size_t lost = 0;
        for (size_t i = begin; i < end; i += grain) {  // 32-bit counts are vectorised
            uint32_t block = 0;
            for (size_t j = i; j < std::min(end, i + grain); ++j)
                block += (detail::bits_of(float(op.gradient[j])) & 0x7f800000u) == 0x7f800000u;
            lost += block;
        }
#pragma omp atomic
        total += lost;
    });
    op.state->nonfinite += float(total);
}

void compute(const Cpu&, const FinishStep& op) {
    StepState& state = *op.state;
    const bool skipped = state.nonfinite != 0;
    state.skipped_steps += skipped;
    state.clean_steps = skipped ? 0 : state.clean_steps + 1;
    state.nonfinite = 0;
    if (op.growth_interval == 0) return;
    if (skipped) state.loss_scale *= 0.5f;
    if (state.clean_steps >= op.growth_interval) {
        state.loss_scale = std::min(state.loss_scale * 2, op.max_scale);
        state.clean_steps = 0;
    }
}

template void compute(const Cpu&, const SgdStep<float>&);
template void compute(const Cpu&, const SgdStep<bf16>&);
template void compute(const Cpu&, const AdamStep<float>&);
template void compute(const Cpu&, const AdamStep<bf16>&);
template void compute(const Cpu&, const CheckFinite<float>&);
template void compute(const Cpu&, const CheckFinite<bf16>&);
