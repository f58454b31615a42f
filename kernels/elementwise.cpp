// Elementwise operations on the CPU: see elementwise.h.
#include "kernels/elementwise.h"

#include "kernels/parallel.h"
#include "kernels/vector_math.h"

namespace {
constexpr size_t grain = 4096;  // elements; a multiple of a cache line, worth waking a thread for

template <class Function>
void map(const Cpu& cpu, size_t count, const float* x, float* y, Function f) {
    parallel_for(cpu, count, grain, [=](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) y[i] = f(x[i]);
    });
}

template <class Function>
void map(const Cpu& cpu, size_t count, const float* a, const float* b, float* y, Function f) {
    parallel_for(cpu, count, grain, [=](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) y[i] = f(a[i], b[i]);
    });
}
}  // namespace

void compute(const Cpu& cpu, const Add<float>& op) {
    map(cpu, op.count, op.a, op.b, op.y, [](float a, float b) { return a + b; });
}

void compute(const Cpu& cpu, const ActivationForward<float>& op) {
    switch (op.activation) {
        case Activation::none: return map(cpu, op.count, op.x, op.y, [](float x) { return x; });
        case Activation::relu: return map(cpu, op.count, op.x, op.y, [](float x) { return x < 0 ? 0.0f : x; });
        case Activation::silu: return map(cpu, op.count, op.x, op.y, silu);
        case Activation::sigmoid: return map(cpu, op.count, op.x, op.y, sigmoid);
    }
}

void compute(const Cpu& cpu, const ActivationBackward<float>& op) {
    const auto apply = [&](auto f) { map(cpu, op.count, op.x, op.dy, op.dx, f); };
    switch (op.activation) {
        case Activation::none: return apply([](float, float dy) { return dy; });
        case Activation::relu: return apply([](float x, float dy) { return keep_if(x > 0, dy); });
        case Activation::silu: return apply([](float x, float dy) { return dy * silu_grad(x); });
        case Activation::sigmoid:
            return apply([](float x, float dy) {
                const float s = sigmoid(x);
                return dy * s * (1.0f - s);
            });
    }
}

void compute(const Cpu& cpu, const Cast<float>& op) {
    map(cpu, op.count, op.x, op.y, [](float x) { return x; });
}
