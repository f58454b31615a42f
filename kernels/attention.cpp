// Attention on the CPU: see attention.h. The unit of work is a block of queries of a head: two products of matrices as
// they lie in memory, and a softmax in between while the scores are in the cache.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "kernels/index.h"
#include "kernels/onednn.h"
#include "kernels/vector_math.h"

namespace {

constexpr size_t kQueries = 64;

// y = scale * a * b, or a * b^T; rows of the matrices are `pitch` apart.
struct Matrix {
    const float* data;
    size_t pitch;
};
void product(size_t m, size_t n, size_t k, float scale, Matrix a, Matrix b, bool b_transposed, float* y, size_t pitch) {
    if (!has_onednn())
        return compute(Cpu{}, MatrixProduct{.m = m,
                                            .n = n,
                                            .k = k,
                                            .a = a.data,
                                            .a_pitch = a.pitch,
                                            .a_transposed = false,
                                            .b = b.data,
                                            .b_pitch = b.pitch,
                                            .b_transposed = b_transposed,
                                            .scale = scale,
                                            .beta = 0,
                                            .y = y,
                                            .y_pitch = pitch});
    check_onednn(dnnl_sgemm('N', b_transposed ? 'T' : 'N', dnnl_dim_t(m), dnnl_dim_t(n), dnnl_dim_t(k), scale, a.data,
                            dnnl_dim_t(a.pitch), b.data, dnnl_dim_t(b.pitch), 0, y, dnnl_dim_t(pitch)),
                 "matrix product");
}

// Replaces n numbers by exp(number - largest); returns their sum. Sixteen at a time, so that both loops vectorise.
float exponentials(float* scores, size_t n) {
    constexpr size_t kLanes = 16;
    float largest[kLanes], sums[kLanes] = {};
    std::fill_n(largest, kLanes, scores[0]);
    const size_t whole = n / kLanes * kLanes;
    for (size_t j = 0; j < whole; j += kLanes)
        for (size_t k = 0; k < kLanes; ++k) largest[k] = select(scores[j + k] > largest[k], scores[j + k], largest[k]);
    float most = *std::max_element(largest, largest + kLanes);
    for (size_t j = whole; j < n; ++j) most = std::max(most, scores[j]);
    for (size_t j = 0; j < n; ++j) scores[j] = fast_exp(scores[j] - most);
    for (size_t j = 0; j < whole; j += kLanes)
        for (size_t k = 0; k < kLanes; ++k) sums[k] += scores[j + k];
    float sum = 0;
    for (const float part : sums) sum += part;
    for (size_t j = whole; j < n; ++j) sum += scores[j];
    return sum;
}

// As floats: where the matrix lies, if it has them, else copied to `space`.
template <class T>
Matrix floats_of(const T* data, size_t pitch, size_t rows, size_t columns, float*& space) {
    if constexpr (std::is_same_v<T, float>) return {data, pitch};
    float* const copy = std::exchange(space, space + rows * columns);
    for (size_t i = 0; i < rows; ++i)
        for (size_t c = 0; c < columns; ++c) copy[i * columns + c] = float(data[i * pitch + c]);
    return {copy, columns};
}

// The scores of a block of queries, and its queries, keys, values and results where they are not floats.
template <class T>
size_t floats_of_thread(const Attention<T>& op) {
    const size_t copies = (kQueries + op.positions) * (op.key + op.value);
    return kQueries * op.positions + (std::is_same_v<T, float> ? 0 : copies);
}

}  // namespace

template <class T>
size_t scratch_bytes(const Cpu& cpu, const Attention<T>& op) {
    return size_t(cpu.threads) * floats_of_thread(op) * sizeof(float);
}

template <class T>
void compute(const Cpu& cpu, const Attention<T>& op) {
    const size_t blocks = ceil_div(op.positions, kQueries), units = op.n * op.heads * blocks;
    const size_t pitch = op.pitch(), out_pitch = op.heads * op.value;
    const float scale = 1 / std::sqrt(float(op.key));
    float* const all_scores = cpu.scratch.take<float>(size_t(cpu.threads) * floats_of_thread(op));
    // In a parallel region each thread multiplies by itself, in the same order however many there are.
    use_threads(cpu);
#pragma omp parallel for num_threads(cpu.threads) schedule(static)
    for (size_t unit = 0; unit < units; ++unit) {
        const size_t first = unit % blocks * kQueries, count = std::min(kQueries, op.positions - first);
        const size_t head = unit / blocks % op.heads, image = unit / blocks / op.heads;
        const T* const q = op.qkv + image * op.positions * pitch + head * (2 * op.key + op.value);
        const T *const k = q + op.key, *const v = k + op.key;
        const size_t out = (image * op.positions + first) * out_pitch + head * op.value;
        float* const scores = all_scores + size_t(omp_get_thread_num()) * floats_of_thread(op);
        float* space = scores + kQueries * op.positions;
        const Matrix queries = floats_of(q + first * pitch, pitch, count, op.key, space),
                     keys = floats_of(k, pitch, op.positions, op.key, space),
                     values = floats_of(v, pitch, op.positions, op.value, space);
        product(count, op.positions, op.key, scale, queries, keys, true, scores, op.positions);
        float sums[kQueries];
        for (size_t i = 0; i < count; ++i) sums[i] = exponentials(scores + i * op.positions, op.positions);
        float* result = space;
        size_t result_pitch = op.value;
        if constexpr (std::is_same_v<T, float>) result = op.y + out, result_pitch = out_pitch;
        product(count, op.value, op.positions, 1, {scores, op.positions}, values, false, result, result_pitch);
        for (size_t i = 0; i < count; ++i) {
            T* const y = op.y + out + i * out_pitch;
            for (size_t c = 0; c < op.value; ++c) y[c] = T(result[i * result_pitch + c] / sums[i]);
            std::copy_n(v + (first + i) * pitch, op.value, op.v + out + i * out_pitch);
        }
    }
}

template void compute(const Cpu&, const Attention<float>&);
template void compute(const Cpu&, const Attention<bf16>&);
template size_t scratch_bytes(const Cpu&, const Attention<float>&);
template size_t scratch_bytes(const Cpu&, const Attention<bf16>&);
