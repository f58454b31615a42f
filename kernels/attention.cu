// Attention on the GPU: a warp per query, which goes through the keys 32 at a time and keeps the largest score, the sum
// and the weighted values so far (Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867), so that scores are
// never stored. The eight queries of a block share each tile of keys and values, which lies in shared memory.
//
// Floor in bytes per head: s * positions * (2 key + 3 value). Operations: 2 (key + value) * positions^2 per head, on
// ordinary cores: 640 MFLOP for a 960 x 736 picture in YOLO11s (690 positions, 4 heads, key 32, value 64), 2 % of it.
#include "kernels/attention.h"

#include <stdexcept>

#include "kernels/reduce.cuh"
#include "kernels/vector.cuh"

namespace {

constexpr unsigned kWarps = 8, kTile = 32;
constexpr unsigned kParts = kMaxAttentionValue / 32;  // values of a lane

template <class T>
__global__ void __launch_bounds__(kWarps * 32) attention(Attention<T> p, float scale) {
    SIMT_SHARED(float, keys, [kTile * (kMaxAttentionKey + 1)]);  // a word more per row: no two lanes in one bank
    SIMT_SHARED(float, values, [kTile * kMaxAttentionValue]);
    SIMT_SHARED(float, queries, [kWarps * kMaxAttentionKey]);
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, key = unsigned(p.key), value = unsigned(p.value);
    const unsigned positions = unsigned(p.positions), head = blockIdx.y, i = blockIdx.x * kWarps + warp;
    const size_t pitch = p.pitch(), image = blockIdx.z, out_pitch = p.heads * p.value;
    const T* const qkv = p.qkv + image * positions * pitch + size_t(head) * (2 * key + value);
    const size_t out = (image * positions + i) * out_pitch + size_t(head) * value;
    for (unsigned k = lane; k < key; k += 32)  // warps without a query read theirs too
        queries[warp * kMaxAttentionKey + k] = i < positions ? scale * float(qkv[i * pitch + k]) : 0.0f;
    float largest = -INFINITY, sum = 0, sums[kParts] = {};
    for (unsigned first = 0; first < positions; first += kTile) {
        __syncthreads();
        for (unsigned at = threadIdx.x; at < kTile * (key + value); at += kWarps * 32) {
            const unsigned row = at / (key + value), c = at % (key + value), j = first + row;
            const float number = j < positions ? float(qkv[j * pitch + key + c]) : 0.0f;
            (c < key ? keys[row * (kMaxAttentionKey + 1) + c] : values[row * kMaxAttentionValue + c - key]) = number;
        }
        __syncthreads();
        float score = 0;
        for (unsigned k = 0; k < key; ++k)
            score += queries[warp * kMaxAttentionKey + k] * keys[lane * (kMaxAttentionKey + 1) + k];
        if (first + lane >= positions) score = -INFINITY;
        const float before = largest;
        largest = fmaxf(largest, warp_reduce(score, Max()));
        const float part = expf(score - largest), rescale = expf(before - largest);
        sum = sum * rescale + warp_reduce(part, Sum());
        SIMT_UNROLL
        for (unsigned c = 0; c < kParts; ++c) sums[c] *= rescale;
        for (unsigned row = 0; row < kTile; ++row) {
            const float weight = __shfl_sync(~0u, part, int(row));
            SIMT_UNROLL
            for (unsigned c = 0; c < kParts; ++c)
                if (c * 32 + lane < value) sums[c] += weight * values[row * kMaxAttentionValue + c * 32 + lane];
        }
    }
    if (i >= positions) return;
    SIMT_UNROLL
    for (unsigned c = 0; c < kParts; ++c) {
        const unsigned at = c * 32 + lane;
        if (at >= value) continue;
        p.y[out + at] = T(sums[c] / sum);
        p.v[out + at] = qkv[i * pitch + 2 * key + at];
    }
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const Attention<T>& p) {
    if (p.key > kMaxAttentionKey || p.value > kMaxAttentionValue)
        throw std::invalid_argument("attention: at most 64 numbers per key and 128 per value are possible");
    simt::launch(attention<T>, dim3(unsigned(ceil_div(p.positions, kWarps)), unsigned(p.heads), unsigned(p.n)),
                 dim3(kWarps * 32), 0, stream_of(gpu), p, 1 / sqrtf(float(p.key)));
}
template void compute(const Gpu&, const Attention<float>&);
template void compute(const Gpu&, const Attention<bf16>&);
template void compute(const Gpu&, const Attention<fp16>&);
