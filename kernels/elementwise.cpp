// Elementwise operations on the CPU: see elementwise.h.
#include "kernels/elementwise.h"

#include "kernels/parallel.h"

template <class T>
void compute(const Cpu& cpu, const Add<T>& op) {
    constexpr size_t grain = 4096;  // elements; a multiple of a cache line, worth waking a thread for
    parallel_for(cpu, op.count, grain, [=](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) op.y[i] = T(float(op.a[i]) + float(op.b[i]));
    });
}

template void compute(const Cpu&, const Add<float>&);
template void compute(const Cpu&, const Add<bf16>&);
