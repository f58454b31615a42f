// See matrix_product.h. A strip of columns of b is copied so that it lies in the first cache, in the order of the sums.
#include "kernels/matrix_product.h"

#include <vector>

#include "kernels/parallel.h"

namespace {
constexpr size_t columns = 64, max_depth = 128, rows = 4;

// out[r][c] += sum over k of left[k][r] * right[k][c]
void add_products(const float (*__restrict left)[rows], const float (*__restrict right)[columns], size_t depth,
                  float (*__restrict out)[columns]) {
    for (size_t c = 0; c < columns; c += 16) {
        float sum[rows][16] = {};
        for (size_t k = 0; k < depth; ++k)
            for (size_t r = 0; r < rows; ++r)
#pragma omp simd
                for (size_t i = 0; i < 16; ++i) sum[r][i] += left[k][r] * right[k][c + i];
        for (size_t r = 0; r < rows; ++r)
            for (size_t i = 0; i < 16; ++i) out[r][c + i] += sum[r][i];
    }
}
}  // namespace

void compute(const Cpu& cpu, const MatrixProduct& op) {
    const size_t strips = ceil_div(op.n, columns), blocks = ceil_div(op.m, rows);
    // Whichever side is longer is shared among the threads.
    const bool by_strip = strips >= blocks;
    parallel_for(cpu, by_strip ? strips : blocks, 1, [&](size_t begin, size_t end) {
        alignas(64) float right[max_depth][columns], left[max_depth][rows];
        const size_t first_strip = by_strip ? begin : 0, last_strip = by_strip ? end : strips;
        const size_t first_block = by_strip ? 0 : begin, last_block = by_strip ? blocks : end;
        for (size_t strip = first_strip; strip < last_strip; ++strip) {
            const size_t c0 = strip * columns, width = std::min(columns, op.n - c0);
            for (size_t k0 = 0; k0 == 0 || k0 < op.k; k0 += max_depth) {
                const size_t depth = std::min(max_depth, op.k - k0);
                for (size_t k = 0; k < depth; ++k)
                    for (size_t c = 0; c < columns; ++c)
                        right[k][c] = c >= width        ? 0
                                      : op.b_transposed ? op.b[(c0 + c) * op.b_pitch + k0 + k]
                                                        : op.b[(k0 + k) * op.b_pitch + c0 + c];
                for (size_t block = first_block; block < last_block; ++block) {
                    const size_t r0 = block * rows, height = std::min(rows, op.m - r0);
                    for (size_t k = 0; k < depth; ++k)
                        for (size_t r = 0; r < rows; ++r)
                            left[k][r] = r >= height       ? 0
                                         : op.a_transposed ? op.a[(k0 + k) * op.a_pitch + r0 + r]
                                                           : op.a[(r0 + r) * op.a_pitch + k0 + k];
                    float out[rows][columns] = {};
                    add_products(left, right, depth, out);
                    for (size_t r = 0; r < height; ++r)
                        for (size_t c = 0; c < width; ++c) {
                            float& y = op.y[(r0 + r) * op.y_pitch + c0 + c];
                            const float before = k0 ? y : op.beta == 0 ? 0 : op.beta * y;
                            y = before + op.scale * out[r][c];
                        }
                }
            }
        }
    });
}
