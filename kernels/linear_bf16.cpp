// The classifier's matrix products in bf16 on the CPU: see linear.h. Plain loops, since with a few rows most of the
// time goes into reading the weights. The gradients multiply dy as it is, in float.
#include "kernels/bias.h"
#include "kernels/linear.h"
#include "kernels/parallel.h"

namespace {
constexpr size_t block = 256;  // columns summed at a time

// to[i] = sum over k of factor[k * factor_step] * from[k * pitch + i]
void weighted_sum(size_t depth, size_t columns, const float* factor, size_t factor_step, const bf16* from, size_t pitch,
                  bf16* to) {
    for (size_t first = 0; first < columns; first += block) {
        const size_t count = std::min(block, columns - first);
        float sum[block] = {};
        for (size_t k = 0; k < depth; ++k) {
            const float times = factor[k * factor_step];
            const bf16* const row = from + k * pitch + first;
            for (size_t i = 0; i < count; ++i) sum[i] += times * float(row[i]);
        }
        for (size_t i = 0; i < count; ++i) to[first + i] = bf16(sum[i]);
    }
}

BiasBackward<float> bias_of(const LinearBackward<bf16>& op) { return {op.shape.rows, op.shape.out, op.dy, op.dbias}; }
}  // namespace

size_t scratch_bytes(const Cpu& cpu, const LinearBackward<bf16>& op) {
    return op.dbias ? scratch_bytes(cpu, bias_of(op)) : 0;
}

void compute(const Cpu& cpu, const LinearForward<bf16>& op) {
    const auto [rows, in, out] = op.shape;
    parallel_for(cpu, out, 1, [&, rows = rows, in = in, out = out](size_t begin, size_t end) {
        for (size_t k = begin; k < end; ++k)
            for (size_t r = 0; r < rows; ++r) {
                const bf16 *const x = op.x + r * in, *const weight = op.weight + k * in;
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (size_t i = 0; i < in; ++i) sum += float(x[i]) * float(weight[i]);
                op.y[r * out + k] = op.bias ? sum + op.bias[k] : sum;
            }
    });
}

void compute(const Cpu& cpu, const LinearBackward<bf16>& op) {
    const auto [rows, in, out] = op.shape;
    if (op.dx)
        parallel_for(cpu, in, block, [&, rows = rows, in = in, out = out](size_t begin, size_t end) {
            for (size_t r = 0; r < rows; ++r)
                weighted_sum(out, end - begin, op.dy + r * out, 1, op.weight + begin, in, op.dx + r * in + begin);
        });
    if (op.dweight)
        parallel_for(cpu, out, 1, [&, rows = rows, in = in, out = out](size_t begin, size_t end) {
            for (size_t k = begin; k < end; ++k) weighted_sum(rows, in, op.dy + k, out, op.x, in, op.dweight + k * in);
        });
    if (op.dbias) compute(cpu, bias_of(op));
}
