#include "kernels/conv/simd_loops.h"

#include "base/cpu_level.h"

const SimdLoops* simd_loops() {
#if defined(__x86_64__)
    if (cpu_level() == CpuLevel::avx512) return &avx512_loops;
    if (cpu_level() == CpuLevel::avx2) return &avx2_loops;
#endif
    return nullptr;
}
