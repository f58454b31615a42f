#include "kernels/conv/simd_loops.h"

const SimdLoops* simd_loops() {
    static const SimdLoops* const widest = []() -> const SimdLoops* {
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx512f")) return &avx512_loops;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &avx2_loops;
#endif
        return nullptr;
    }();
    return widest;
}
