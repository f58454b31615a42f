// Batch normalization on the CPU: see batch_norm.h. Two passes over memory in each direction.
#include "kernels/batch_norm.h"

#include <cmath>
#include <type_traits>

#include "kernels/exp.h"
#include "kernels/parallel.h"
#include "kernels/scratch_cpu.h"

namespace {
template <Activation A>
using Fixed = std::integral_constant<Activation, A>;

// Calls run with the activation as a type, so that no loop asks for it.
template <class Run>
void with_activation(Activation activation, bool residual, const Run& run) {
    if (activation == Activation::sigmoid || (activation == Activation::silu && residual))
        throw std::invalid_argument("batch_norm takes no sigmoid, and no residual with silu");
    switch (activation) {
        case Activation::relu: return run(Fixed<Activation::relu>{});
        case Activation::silu: return run(Fixed<Activation::silu>{});
        default: return run(Fixed<Activation::none>{});
    }
}

// Two sums per channel, over the rows of every tile: partial is (tiles, 2, channels). sum_rows adds those of rows
// [begin, end) to first and second.
template <class SumRows>
void sum_tiles(const Cpu& cpu, const BatchNormShape& shape, double* partial, const SumRows& sum_rows) {
    const RowTiles tiles(shape.rows);
    const size_t channels = shape.channels;
    parallel_for(cpu, tiles.count, 1, [&](size_t first_tile, size_t last_tile) {
        for (size_t tile = first_tile; tile < last_tile; ++tile) {
            double* const sums = partial + tile * 2 * channels;
            std::fill(sums, sums + 2 * channels, 0.0);
            sum_rows(tiles.begin(tile), tiles.end(tile), sums, sums + channels);
        }
    });
    for (size_t tile = 1; tile < tiles.count; ++tile)
        for (size_t i = 0; i < 2 * channels; ++i) partial[i] += partial[tile * 2 * channels + i];
}

// Sums of x - pivot and its square. The pivot, row 0, lies within a few standard deviations of the mean, so that nothing
// cancels where |mean| is much larger than they are.
void sum_statistics(const float* __restrict x, const float* __restrict pivot, size_t rows, size_t channels,
                    double* __restrict sum, double* __restrict squares) {
    for (; rows >= 4; rows -= 4, x += 4 * channels)
        for (size_t c = 0; c < channels; ++c) {
            const double p = pivot[c];
            const double a = x[c] - p, b = x[channels + c] - p, d = x[2 * channels + c] - p, e = x[3 * channels + c] - p;
            sum[c] += (a + b) + (d + e);
            squares[c] += (a * a + b * b) + (d * d + e * e);
        }
    for (; rows; --rows, x += channels)
        for (size_t c = 0; c < channels; ++c) {
            const double a = double(x[c]) - double(pivot[c]);
            sum[c] += a;
            squares[c] += a * a;
        }
}

size_t partial_doubles(const BatchNormShape& shape) { return RowTiles(shape.rows).count * 2 * shape.channels; }
}  // namespace

size_t scratch_bytes(const Cpu&, const BatchNormForward<float>& op) {
    return partial_doubles(op.shape) * sizeof(double) + 2 * op.shape.channels * sizeof(float);
}

size_t scratch_bytes(const Cpu&, const BatchNormBackward<float>& op) {
    return partial_doubles(op.shape) * sizeof(double) + 3 * op.shape.channels * sizeof(float);
}

void compute(const Cpu& cpu, const BatchNormForward<float>& op) {
    const auto [rows, channels, eps, activation] = op.shape;
    if (op.running_var && rows < 2) throw std::invalid_argument("batch_norm: running statistics need two rows");
    double* const sums = reinterpret_cast<double*>(cpu.scratch.take<char>(scratch_bytes(cpu, op)));
    float* const slope = reinterpret_cast<float*>(sums + partial_doubles(op.shape));  // y = slope * (x - mean) + shift
    sum_tiles(cpu, op.shape, sums, [&](size_t begin, size_t end, double* sum, double* squares) {
        sum_statistics(op.x + begin * channels, op.x, end - begin, channels, sum, squares);
    });

    const double count = double(rows);
    for (size_t c = 0; c < channels; ++c) {
        const double offset = sums[c] / count, mean = double(op.x[c]) + offset;
        const double var = std::max(0.0, sums[channels + c] / count - offset * offset);
        const double rstd = 1 / std::sqrt(var + double(eps));
        op.mean[c] = float(mean);
        op.rstd[c] = float(rstd);
        slope[c] = float(double(op.scale[c]) * rstd);
        if (op.running_mean) op.running_mean[c] += op.momentum * (float(mean) - op.running_mean[c]);
        if (op.running_var) op.running_var[c] += op.momentum * (float(var * count / (count - 1)) - op.running_var[c]);
    }

    with_activation(activation, op.residual, [&](auto fixed) {
        const auto apply = [&](auto residual_of) {
            parallel_for(cpu, rows, 16, [&](size_t begin, size_t end) {
                const float* __restrict mean = op.mean;
                const float* __restrict shift = op.shift;
                const float* __restrict a = slope;
                for (size_t row = begin; row < end; ++row) {
                    const float* x = op.x + row * channels;
                    float* y = op.y + row * channels;
#pragma GCC ivdep
                    for (size_t c = 0; c < channels; ++c) {
                        const float z = a[c] * (x[c] - mean[c]) + shift[c] + residual_of(row * channels + c);
                        y[c] = fixed() == Activation::relu ? (z < 0 ? 0 : z) : fixed() == Activation::silu ? silu(z) : z;
                    }
                }
            });
        };
        if (op.residual)
            apply([residual = op.residual](size_t i) { return residual[i]; });
        else
            apply([](size_t) { return 0.0f; });
    });
}

void compute(const Cpu& cpu, const BatchNormBackward<float>& op) {
    const auto [rows, channels, eps, activation] = op.shape;
    double* const sums = reinterpret_cast<double*>(cpu.scratch.take<char>(scratch_bytes(cpu, op)));
    float* const slope = reinterpret_cast<float*>(sums + partial_doubles(op.shape));
    float* const mean_g = slope + channels;
    float* const mean_gx = mean_g + channels;

    with_activation(activation, op.dresidual, [&](auto fixed) {
        const auto run = [&](auto second_dy) {
            // g and xhat of element i, which belongs to channel c.
            const auto xhat_at = [op](size_t i, size_t c) { return (op.x[i] - op.mean[c]) * op.rstd[c]; };
            const auto g_at = [op, fixed, second_dy](size_t i, size_t c, float xhat) {
                const float dy = op.dy[i] + second_dy(i);
                if constexpr (fixed() == Activation::relu) return op.y[i] > 0 ? dy : 0.0f;
                if constexpr (fixed() == Activation::silu) return dy * silu_slope(op.scale[c] * xhat + op.shift[c]);
                return dy;
            };
            sum_tiles(cpu, op.shape, sums, [&](size_t begin, size_t end, double* __restrict sum_g, double* __restrict sum_gx) {
                for (size_t row = begin; row < end; ++row)
                    for (size_t c = 0; c < channels; ++c) {
                        const float xhat = xhat_at(row * channels + c, c), g = g_at(row * channels + c, c, xhat);
                        sum_g[c] += double(g);
                        sum_gx[c] += double(g * xhat);
                    }
            });
            for (size_t c = 0; c < channels; ++c) {
                op.dshift[c] = float(sums[c]);
                op.dscale[c] = float(sums[channels + c]);
                slope[c] = op.scale[c] * op.rstd[c];
                mean_g[c] = float(sums[c] / double(rows));
                mean_gx[c] = float(sums[channels + c] / double(rows));
            }
            parallel_for(cpu, rows, 16, [&](size_t begin, size_t end) {
                for (size_t row = begin; row < end; ++row)
#pragma GCC ivdep
                    for (size_t c = 0; c < channels; ++c) {
                        const size_t i = row * channels + c;
                        const float xhat = xhat_at(i, c), g = g_at(i, c, xhat);
                        op.dx[i] = slope[c] * (g - (mean_g[c] + xhat * mean_gx[c]));
                        if (op.dresidual) op.dresidual[i] = g;
                    }
            });
        };
        if (op.dy2)
            run([dy2 = op.dy2](size_t i) { return dy2[i]; });
        else
            run([](size_t) { return 0.0f; });
    });
}
