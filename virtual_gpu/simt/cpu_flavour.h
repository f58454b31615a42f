// The g++ side of simt.h: CUDA's names over the scheduler that runs kernels on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#include "runtime.h"
#include "vector_types.h"

#define SIMT_CPU 1

// A CUDA header may have defined these first.
#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __forceinline__
#undef __noinline__
#undef __restrict__
#undef __launch_bounds__
#undef __align__
#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define SIMT_UNROLL

// A reference to a real array type, so that sizeof, the index check of UBSan and gdb see what they see on a GPU.
// Not `static T name`: nothing would guard its ends, and threads of different blocks would find old values there.
#define SIMT_SHARED(T, name, dims)                                     \
    using name##_simt_type = T dims;                                   \
    static thread_local constinit ::simt::SharedSlot name##_simt_slot; \
    name##_simt_type& name = *static_cast<name##_simt_type*>(          \
        ::simt::shared_at(name##_simt_slot, sizeof(name##_simt_type), alignof(name##_simt_type), __FILE__, __LINE__))
#define SIMT_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(::simt::dynamic_shared(__FILE__, __LINE__))

// Plain variables: cheap to read, and gdb can print them and break on them.
inline thread_local constinit uint3 threadIdx{0, 0, 0}, blockIdx{0, 0, 0}, blockDim{1, 1, 1}, gridDim{1, 1, 1};
inline constexpr int warpSize = 32;

namespace simt {
// Both flavours may be linked into one program: their templates must not share a mangled name.
inline namespace cpu {

using stream_t = void*;

struct Site {  // of a call in a kernel; std::source_location does not work with clang 14
    const char* file;
    unsigned line;
};
struct SharedSlot {  // where one SIMT_SHARED lies in the block that runs now
    uint64_t block = 0;
    void* address = nullptr;
};
enum class WarpOp : uint8_t { sync, shuffle, ballot, collective };

// For an operation in which the lanes of `group` work on each other's arguments (mma.sync, ldmatrix).
using Collective = void (*)(void* const argument[32], uint32_t group);

void* shared_at(SharedSlot& slot, size_t bytes, size_t align, const char* file, unsigned line);
void* dynamic_shared(const char* file, unsigned line);
int syncthreads(bool predicate, Site site);  // returns for how many threads the predicate held
uint64_t warp_op(WarpOp op, uint32_t mask, uint64_t in, unsigned source_lane, Collective collective, Site site);
unsigned lane();
void atomic_access(void* address, size_t bytes, void* pc);
[[noreturn]] void trap(Site site);

struct Launch {
    dim3 grid, block;
    size_t shared_bytes;
    int arch;
    void (*body)(void* arguments);  // runs one thread
    void* arguments;
    size_t arguments_bytes;
};
void run(const Launch& launch);

// `arch`: the oldest GPU that the launch is meant for. It decides how much shared memory a block may have:
// 163 KB on 80, 227 KB on 90 and 100, 99 KB on 86, 89 and 120.
template <int arch = 80, class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, stream_t, A&&... args) {
    struct Call {
        void (*kernel)(P...);
        std::tuple<P...> arguments;
    } call{kernel, {static_cast<P>(std::forward<A>(args))...}};
    const auto body = [](void* p) {
        auto& call = *static_cast<Call*>(p);
        std::apply(call.kernel, call.arguments);
    };
    run({.grid = grid,
         .block = block,
         .shared_bytes = shared_bytes,
         .arch = arch,
         .body = body,
         .arguments = &call,
         .arguments_bytes = sizeof call});
}

}  // namespace cpu
}  // namespace simt

#include "cpu_intrinsics.h"
