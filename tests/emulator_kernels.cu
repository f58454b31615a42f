// Small kernels that are each wrong in one way, and right twins of them. `bug: name` marks the line to be found.
#include "tests/emulator_kernels.h"

#include <map>

#include "virtual_gpu/simt/simt.h"

namespace {

constexpr int kBlock = 64;

__device__ int global_index() { return int(blockIdx.x) * kBlock + int(threadIdx.x); }

// --- order: reads what another thread wrote, without a barrier between

__global__ void neighbour(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    s[t] = in[global_index()];
    __syncthreads();
    out[global_index()] = t ? s[t - 1] : -1;
}
__global__ void missing_barrier(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    s[t] = in[global_index()];
    out[global_index()] = t ? s[t - 1] : -1;  // bug: missing_barrier
}
__global__ void loop(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    float sum = 0;
    for (int round = 0; round < 3; ++round) {
        s[t] = in[global_index()] + round;
        __syncthreads();
        sum += s[(t + 1) % kBlock];
        __syncthreads();
    }
    out[global_index()] = sum;
}
__global__ void missing_second_barrier(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    float sum = 0;
    for (int round = 0; round < 3; ++round) {
        s[t] = in[global_index()] + round;  // bug: missing_second_barrier
        __syncthreads();
        sum += s[(t + 1) % kBlock];
    }
    out[global_index()] = sum;
}
__global__ void pairs(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    s[t] = in[global_index()];
    __syncwarp();
    out[global_index()] = s[t ^ 1];
}
__global__ void missing_syncwarp(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    s[t] = in[global_index()];
    out[global_index()] = s[t ^ 1];  // bug: missing_syncwarp
}
__global__ void half_warps(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    const unsigned half = t & 16 ? 0xffff0000u : 0x0000ffffu;
    for (int round = 0; round < 3; ++round) {
        s[t] = in[global_index()] + round;
        __syncwarp(half);
        out[global_index()] = s[t ^ 8];
        __syncwarp(half);
    }
}
__global__ void across_half_warps(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    s[t] = in[global_index()];
    __syncwarp(t & 16 ? 0xffff0000u : 0x0000ffffu);
    out[global_index()] = s[t ^ 16];  // bug: across_half_warps
}
__global__ void all_read_then_one_writes(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [2]);
    const int t = threadIdx.x, warp = t / 32;
    if (t % 32 == 5) s[warp] = in[global_index()];
    __syncwarp();
    out[global_index()] = s[warp];
    __syncwarp();
    if (t % 32 == 0) s[warp] = 0;
}
__global__ void one_writes_while_all_read(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [2]);
    const int t = threadIdx.x, warp = t / 32;
    if (t % 32 == 5) s[warp] = in[global_index()];
    __syncwarp();
    out[global_index()] = s[warp];
    if (t % 32 == 0) s[warp] = 0;  // bug: one_writes_while_all_read
}
__global__ void atomic_histogram(float* out, const float* in, int) {
    atomicAdd(out + (int(in[global_index()]) & 3), 1.0f);
}
__global__ void plain_histogram(float* out, const float* in, int) {
    out[int(in[global_index()]) & 3] += 1;  // bug: plain_histogram
}
__global__ void atomic_then_plain(float* out, const float*, int) {
    atomicAdd(out, 1.0f);  // bug: atomic_then_plain
    if (global_index() > 0) out[global_index()] = out[0];
}
__global__ void other_block(float* out, const float* in, int) {
    out[global_index()] = in[global_index()];
    if (blockIdx.x) out[global_index()] += out[global_index() - kBlock];  // bug: other_block
}
__global__ void uninitialised_shared(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    s[t] += in[global_index()];  // bug: uninitialised_shared
    out[global_index()] = s[t];
}
__global__ void last_block(float* out, const float* in, int) {  // legal, but ordered by an atomic only
    SIMT_SHARED(int, last, [1]);
    if (threadIdx.x == 0) {
        out[8 + blockIdx.x] = in[blockIdx.x];
        __threadfence();
        last[0] = atomicAdd(reinterpret_cast<int*>(out), 1) == int(gridDim.x) - 1;
    }
    __syncthreads();
    if (!last[0] || threadIdx.x) return;
    float sum = 0;
    for (unsigned block = 0; block < gridDim.x; ++block) sum += out[8 + block];
    out[4] = sum;
}

// --- meeting: threads that do not come, or come elsewhere

__global__ void two_barriers(float* out, const float*, int) {
    if (threadIdx.x < 16) {
        out[threadIdx.x] = 1;
        __syncthreads();
    } else {
        out[threadIdx.x] = 2;
        __syncthreads();  // bug: two_barriers
    }
}
__global__ void early_return(float* out, const float*, int n) {
    if (int(threadIdx.x) >= n) return;
    __syncthreads();  // bug: early_return
    out[threadIdx.x] = 1;
}
__global__ void uneven_loop(float* out, const float*, int) {
    for (int i = 0; i < 2 + int(threadIdx.x / 48); ++i) __syncthreads();
    __syncthreads();  // bug: uneven_loop
    out[threadIdx.x] = 1;
}
__global__ void absent_lanes(float* out, const float* in, int) {
    float v = in[threadIdx.x];
    if (threadIdx.x % 32 < 16) v += __shfl_down_sync(0xffffffffu, v, 16);  // bug: absent_lanes
    __syncthreads();
    out[threadIdx.x] = v;
}
__global__ void returned_lane(float* out, const float* in, int) {
    if (threadIdx.x % 32 >= 16) return;
    out[threadIdx.x] = __shfl_down_sync(0xffffffffu, in[threadIdx.x], 16);  // bug: returned_lane
}
__global__ void different_masks(float* out, const float* in, int) {
    const unsigned mask = threadIdx.x % 32 < 8 ? 0xffffffffu : 0xffffff00u;
    out[threadIdx.x] = __shfl_down_sync(mask, in[threadIdx.x], 1);  // bug: different_masks
}
__global__ void not_in_own_mask(float* out, const float* in, int) {
    out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, in[threadIdx.x], 1);  // bug: not_in_own_mask
}
__global__ void barrier_against_shuffle(float* out, const float* in, int) {
    float v = in[threadIdx.x];
    if (threadIdx.x == 0)
        __syncthreads();  // bug: barrier_against_shuffle
    else
        v = __shfl_xor_sync(0xffffffffu, v, 1);
    out[threadIdx.x] = v;
}
__global__ void trapped(float*, const float*, int) {
    if (threadIdx.x == 3) __trap();  // bug: trapped
}

// --- addresses

__global__ void beyond_by_one(float* out, const float* in, int n) {
    if (global_index() <= n) out[global_index()] = in[0];  // bug: beyond_by_one
}
__global__ void far_beyond(float* out, const float* in, int n) {
    if (threadIdx.x == 0) out[n + 4096] = in[0];  // bug: far_beyond
}
__global__ void read_beyond_shared(float* out, const float* in, int) {
    SIMT_SHARED(float, s, [kBlock]);
    const int t = threadIdx.x;
    s[t] = in[t];
    __syncthreads();
    float* next = s + t;
    out[t] = next[1];  // bug: read_beyond_shared
}
template <class T>
__global__ void write_beyond_shared(T* out, const T* in, int) {
    SIMT_SHARED(T, s, [kBlock]);
    SIMT_SHARED(T, other, [kBlock]);
    const int t = threadIdx.x;
    other[t] = in[t];
    T* next = s + t;
    next[1] = in[t];  // bug: write_beyond_shared
    __syncthreads();
    out[t] = s[t] + other[t];
}
__global__ void beyond_dynamic_shared(float* out, const float* in, int) {
    SIMT_DYNAMIC_SHARED(float, s);
    const int t = threadIdx.x;
    s[t] = in[t];  // bug: beyond_dynamic_shared
    __syncthreads();
    out[t] = s[t];
}
__global__ void no_dynamic_shared(float* out, const float* in, int) {
    SIMT_DYNAMIC_SHARED(float, s);  // bug: no_dynamic_shared
    out[threadIdx.x] = s[threadIdx.x] = in[threadIdx.x];
}
__global__ void beyond_local(float* out, const float* in, int n) {
    float local[4] = {1, 2, 3, 4};
    __syncthreads();
    out[threadIdx.x] = local[n + int(in[threadIdx.x])];  // bug: beyond_local
}
__global__ void misaligned(float* out, const float* in, int) {
    const float4 v = *reinterpret_cast<const float4*>(in + 1);  // bug: misaligned
    out[threadIdx.x] = v.x + v.w;
}
__global__ void copies(float* out, const float* in, int) {
    out[threadIdx.x] = in[threadIdx.x];  // bug: copies
}
__global__ void too_much_static_shared(float* out, const float*, int) {
    SIMT_SHARED(float, s, [13 * 1024]);  // bug: too_much_static_shared
    out[threadIdx.x] = s[threadIdx.x] = 1;
}

struct Row {
    void (*kernel)(float*, const float*, int);
    unsigned blocks, threads;
    size_t shared_bytes = 0;
};
const std::map<std::string, Row> rows = {
    {"neighbour", {neighbour, 4, 64}},
    {"missing_barrier", {missing_barrier, 4, 64}},
    {"loop", {loop, 4, 64}},
    {"missing_second_barrier", {missing_second_barrier, 4, 64}},
    {"pairs", {pairs, 4, 64}},
    {"missing_syncwarp", {missing_syncwarp, 4, 64}},
    {"half_warps", {half_warps, 4, 64}},
    {"across_half_warps", {across_half_warps, 4, 64}},
    {"all_read_then_one_writes", {all_read_then_one_writes, 4, 64}},
    {"one_writes_while_all_read", {one_writes_while_all_read, 4, 64}},
    {"atomic_histogram", {atomic_histogram, 4, 64}},
    {"plain_histogram", {plain_histogram, 4, 64}},
    {"atomic_then_plain", {atomic_then_plain, 4, 64}},
    {"other_block", {other_block, 4, 64}},
    {"uninitialised_shared", {uninitialised_shared, 4, 64}},
    {"last_block", {last_block, 4, 32}},
    {"two_barriers", {two_barriers, 1, 64}},
    {"early_return", {early_return, 1, 64}},
    {"uneven_loop", {uneven_loop, 1, 64}},
    {"absent_lanes", {absent_lanes, 1, 64}},
    {"returned_lane", {returned_lane, 1, 64}},
    {"different_masks", {different_masks, 1, 64}},
    {"not_in_own_mask", {not_in_own_mask, 1, 64}},
    {"barrier_against_shuffle", {barrier_against_shuffle, 1, 64}},
    {"trapped", {trapped, 1, 64}},
    {"beyond_by_one", {beyond_by_one, 5, 64}},
    {"far_beyond", {far_beyond, 1, 64}},
    {"read_beyond_shared", {read_beyond_shared, 1, 64}},
    {"write_beyond_shared", {write_beyond_shared<float>, 1, 64}},
    {"beyond_dynamic_shared", {beyond_dynamic_shared, 1, 64, 128}},
    {"no_dynamic_shared", {no_dynamic_shared, 1, 64}},
    {"beyond_local", {beyond_local, 1, 4}},
    {"misaligned", {misaligned, 1, 1}},
    {"copies", {copies, 1, 64}},
    {"too_much_static_shared", {too_much_static_shared, 1, 64}},
};

__global__ void nothing() {}
__global__ void write_coordinates(unsigned* out) {
    const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}
__global__ void write_warp_functions(int* out) {
    const int t = threadIdx.x, lane = t % 32;
    const unsigned all = ~0u;
    int* row = out + t * 12;
    row[0] = __shfl_sync(all, t, 3);
    row[1] = __shfl_sync(all, t, 9, 8);
    row[2] = __shfl_xor_sync(all, t, 1);
    row[3] = __shfl_down_sync(all, t, 1, 16);
    row[4] = __shfl_up_sync(all, t, 2);
    row[5] = int(__ballot_sync(all, lane & 1));
    row[6] = __any_sync(all, lane == 7);
    row[7] = __any_sync(all, lane > 40);
    row[8] = __all_sync(all, lane < 32);
    row[9] = __all_sync(all, lane == 0);
    row[10] = int(__shfl_xor_sync(all, double(t) / 2, 1) * 2);
    row[11] = int(__shfl_xor_sync(all, (1ull << 40) + unsigned(t), 1) - (1ull << 40));
}
__global__ void do_atomics(int* i, float* f) {
    const int id = int(blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(i, 1);
    atomicMax(i + 1, id);
    atomicMin(i + 2, -id);
    atomicOr(reinterpret_cast<unsigned*>(i + 3), 1u << id % 32);
    atomicAnd(reinterpret_cast<unsigned*>(i + 4), ~(1u << id % 8));
    atomicXor(i + 5, 1);
    atomicCAS(i + 6, 0, 5);
    atomicExch(i + 7, 9);
    atomicAdd(f, 0.5f);
}
__global__ void do_count_votes(int* out) {
    const int odd = __syncthreads_count(threadIdx.x & 1), any = __syncthreads_or(threadIdx.x == 2);
    const int all = __syncthreads_and(threadIdx.x != 2);
    if (threadIdx.x == 0) out[0] = odd, out[1] = any, out[2] = all;
}
__global__ void write_bytes(unsigned char* out) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = static_cast<unsigned char>(i % 251);
}

}  // namespace

void run_kernel(const std::string& name, float* out, const float* in, int n) {
    const Row& row = rows.at(name);
    simt::launch(row.kernel, row.blocks, row.threads, row.shared_bytes, nullptr, out, in, n);
}
void launch_shape(unsigned grid, unsigned block, size_t shared_bytes, int arch) {
    if (arch == 90)
        simt::launch<90>(nothing, grid, block, shared_bytes, nullptr);
    else
        simt::launch(nothing, grid, block, shared_bytes, nullptr);
}
void coordinates(unsigned* out, unsigned gx, unsigned gy, unsigned bx, unsigned by, unsigned bz) {
    simt::launch(write_coordinates, dim3(gx, gy), dim3(bx, by, bz), 0, nullptr, out);
}
void warp_functions(int* out, unsigned threads) { simt::launch(write_warp_functions, 1, threads, 0, nullptr, out); }
void atomics(int* integers, float* floats, unsigned blocks) {
    simt::launch(do_atomics, blocks, 64, 0, nullptr, integers, floats);
}
void count_votes(int* out, unsigned threads) { simt::launch(do_count_votes, 1, threads, 0, nullptr, out); }
void bytes_apart(unsigned char* out, unsigned count) { simt::launch(write_bytes, count / 64, 64, 0, nullptr, out); }
