// Batch normalization on the CPU: see batch_norm.h. Two passes over memory in each direction.
#include "kernels/batch_norm.h"

#include <cmath>
#include <type_traits>

#include "base/ranks.h"
#include "kernels/parallel.h"
#include "kernels/vector_math.h"

namespace {
template <Activation A>
using Fixed = std::integral_constant<Activation, A>;

// Calls run with the activation as a type, so that no loop asks for it.
template <class Run>
void with_activation(Activation activation, bool residual, const Run& run) {
    if (activation == Activation::silu && residual)
        throw std::invalid_argument("batch_norm takes no residual with silu");
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

// Sums of x - pivot and its square. The pivot, row 0, lies within a few standard deviations of the mean, so that
// nothing cancels where |mean| is much larger than they are.
template <class T>
void sum_statistics(const T* __restrict x, const T* __restrict pivot, size_t rows, size_t channels,
                    double* __restrict sum, double* __restrict squares) {
    for (; rows >= 4; rows -= 4, x += 4 * channels)
        for (size_t c = 0; c < channels; ++c) {
            const double p = double(float(pivot[c]));
            const double a = double(float(x[c])) - p, b = double(float(x[channels + c])) - p,
                         d = double(float(x[2 * channels + c])) - p, e = double(float(x[3 * channels + c])) - p;
            sum[c] += (a + b) + (d + e);
            squares[c] += (a * a + b * b) + (d * d + e * e);
        }
    for (; rows; --rows, x += channels)
        for (size_t c = 0; c < channels; ++c) {
            const double a = double(float(x[c])) - double(float(pivot[c]));
            sum[c] += a;
            squares[c] += a * a;
        }
}

// From sums of x - pivot and its square to those of all ranks, whose pivots differ: they meet at the running mean, or
// at 0. `sums` becomes relative to that.
template <class T>
void sum_statistics_of_ranks(const BatchNormForward<T>& op, double* sums) {
    const size_t channels = op.shape.channels;
    for (size_t c = 0; c < channels; ++c) {
        const double common = op.running_mean ? double(op.running_mean[c]) : 0, shift = double(float(op.x[c])) - common;
        double &sum = sums[c], &squares = sums[channels + c];
        squares += shift * (2 * sum + double(op.shape.rows) * shift);
        sum += double(op.shape.rows) * shift;
    }
    op.ranks->sum({sums, 2 * channels});
}

size_t partial_doubles(const BatchNormShape& shape) { return RowTiles(shape.rows).count * 2 * shape.channels; }

// Two passes over the same rows meet in the cache when the second one goes backwards. Within a piece rows ascend, which
// is what the processor fetches ahead.
template <class Body>
void backwards(const Cpu& cpu, size_t rows, size_t channels, const Body& body) {
    parallel_for(cpu, rows, 16, [&](size_t begin, size_t end) {
        const size_t piece = std::max<size_t>(1, 16384 / channels);
        while (end > begin) {
            const size_t first = end - begin > piece ? end - piece : begin;
            body(first, end);
            end = first;
        }
    });
}

// dy2 gives the second gradient of an element: it is fixed before the loops, which then have no branches. With a
// residual the first pass stores g where the residual's gradient belongs, and the second reads it there. Without one,
// relu's input is computed again from x, bit for bit as in forward, which saves reading y.
template <class T, class FixedActivation, class HasResidual, class SecondDy>
void backward(const Cpu& cpu, const BatchNormBackward<T>& op, FixedActivation, HasResidual, SecondDy dy2) {
    const size_t rows = op.shape.rows, channels = op.shape.channels;
    double* const sums = reinterpret_cast<double*>(cpu.scratch.take<char>(scratch_bytes(cpu, op)));
    float* const scale_rstd = reinterpret_cast<float*>(sums + partial_doubles(op.shape));
    float* const mean_g = scale_rstd + channels;
    float* const mean_gx = mean_g + channels;
    for (size_t c = 0; c < channels; ++c) scale_rstd[c] = op.scale[c] * op.rstd[c];

    // xhat and g of element i, which belongs to channel c.
    const T *const x = op.x, *const y = op.y, *const dy = op.dy;
    const float *const scale = op.scale, *const shift = op.shift, *const mean = op.mean, *const rstd = op.rstd;
    T *const dx = op.dx, *const dresidual = op.dresidual;
    const auto xhat_at = [=](size_t i, size_t c) { return (float(x[i]) - mean[c]) * rstd[c]; };
    const auto g_at = [=](size_t i, size_t c, float xhat) {
        const float sum = float(dy[i]) + dy2(i);
        if constexpr (FixedActivation::value == Activation::relu)
            return keep_if(
                HasResidual::value ? float(y[i]) > 0 : scale_rstd[c] * (float(x[i]) - mean[c]) + shift[c] > 0, sum);
        if constexpr (FixedActivation::value == Activation::silu) return sum * silu_grad(scale[c] * xhat + shift[c]);
        return sum;
    };
    // Four rows at a time are summed in float before they reach the sums in double.
    const auto add_rows = [&](auto count, size_t row, double* __restrict sum_g, double* __restrict sum_gx) {
#pragma GCC ivdep
        for (size_t c = 0; c < channels; ++c) {
            float g_sum = 0, gx_sum = 0;
            for (size_t r = 0; r < count(); ++r) {
                const size_t i = (row + r) * channels + c;
                const float xhat = xhat_at(i, c), g = g_at(i, c, xhat);
                if constexpr (HasResidual::value) dresidual[i] = T(g);
                g_sum += g;
                gx_sum += g * xhat;
            }
            sum_g[c] += double(g_sum);
            sum_gx[c] += double(gx_sum);
        }
    };
    sum_tiles(cpu, op.shape, sums, [&](size_t begin, size_t end, double* sum_g, double* sum_gx) {
        size_t row = begin;
        // silu is too long for GCC to unroll four times and vectorise then.
        if (FixedActivation::value != Activation::silu)
            for (; row + 4 <= end; row += 4) add_rows(std::integral_constant<size_t, 4>{}, row, sum_g, sum_gx);
        for (; row < end; ++row) add_rows(std::integral_constant<size_t, 1>{}, row, sum_g, sum_gx);
    });
    for (size_t c = 0; c < channels; ++c) {
        op.dshift[c] = float(sums[c]);
        op.dscale[c] = float(sums[channels + c]);
    }
    if (op.ranks) op.ranks->sum({sums, 2 * channels});
    const size_t all_rows = op.ranks ? rows * op.ranks->count : rows;
    for (size_t c = 0; c < channels; ++c) {
        mean_g[c] = float(sums[c] / double(all_rows));
        mean_gx[c] = float(sums[channels + c] / double(all_rows));
    }
    backwards(cpu, rows, channels, [=](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row)
#pragma GCC ivdep
            for (size_t c = 0; c < channels; ++c) {
                const size_t i = row * channels + c;
                const float xhat = xhat_at(i, c), g = HasResidual::value ? float(dresidual[i]) : g_at(i, c, xhat);
                dx[i] = T(scale_rstd[c] * (g - (mean_g[c] + xhat * mean_gx[c])));
            }
    });
}
}  // namespace

template <class T>
size_t scratch_bytes(const Cpu&, const BatchNormForward<T>& op) {
    return partial_doubles(op.shape) * sizeof(double) + 2 * op.shape.channels * sizeof(float);
}

template <class T>
size_t scratch_bytes(const Cpu&, const BatchNormBackward<T>& op) {
    return partial_doubles(op.shape) * sizeof(double) + 3 * op.shape.channels * sizeof(float);
}

template <class T>
void compute(const Cpu& cpu, const BatchNormForward<T>& op) {
    const size_t rows = op.shape.rows, channels = op.shape.channels;
    if (op.running_var && rows < 2) throw std::invalid_argument("batch_norm: running statistics need two rows");
    double* const sums = reinterpret_cast<double*>(cpu.scratch.take<char>(scratch_bytes(cpu, op)));
    float* const scale_rstd =
        reinterpret_cast<float*>(sums + partial_doubles(op.shape));  // y = scale_rstd * (x - mean) + shift
    sum_tiles(cpu, op.shape, sums, [&](size_t begin, size_t end, double* sum, double* squares) {
        sum_statistics(op.x + begin * channels, op.x, end - begin, channels, sum, squares);
    });

    if (op.ranks) sum_statistics_of_ranks(op, sums);
    const double count = double(op.ranks ? rows * op.ranks->count : rows);
    for (size_t c = 0; c < channels; ++c) {
        const float pivot = !op.ranks ? float(op.x[c]) : op.running_mean ? op.running_mean[c] : 0.0f;
        const double offset = sums[c] / count, mean = double(pivot) + offset;
        const double var = std::max(0.0, sums[channels + c] / count - offset * offset);
        const double rstd = 1 / std::sqrt(var + double(op.shape.eps));
        op.mean[c] = float(mean);
        op.rstd[c] = float(rstd);
        scale_rstd[c] = op.scale[c] * op.rstd[c];
        if (op.running_mean) op.running_mean[c] += op.momentum * (float(mean) - op.running_mean[c]);
        if (op.running_var) op.running_var[c] += op.momentum * (float(var * count / (count - 1)) - op.running_var[c]);
    }

    with_activation(op.shape.activation, op.residual, [&](auto fixed) {
        const auto apply = [&](auto residual_of) {
            parallel_for(cpu, rows, 16, [&](size_t begin, size_t end) {
                const float* __restrict mean = op.mean;
                const float* __restrict shift = op.shift;
                const float* __restrict a = scale_rstd;
                for (size_t row = begin; row < end; ++row) {
                    const T* x = op.x + row * channels;
                    T* y = op.y + row * channels;
#pragma GCC ivdep
                    for (size_t c = 0; c < channels; ++c) {
                        const float z = a[c] * (float(x[c]) - mean[c]) + shift[c] + residual_of(row * channels + c);
                        y[c] = T(fixed() == Activation::relu   ? (z < 0 ? 0 : z)
                                 : fixed() == Activation::silu ? silu(z)
                                                               : z);
                    }
                }
            });
        };
        if (op.residual)
            apply([residual = op.residual](size_t i) { return float(residual[i]); });
        else
            apply([](size_t) { return 0.0f; });
    });
}

template <class T>
void compute(const Cpu& cpu, const BatchNormBackward<T>& op) {
    with_activation(op.shape.activation, op.dresidual, [&](auto activation) {
        const auto run = [&](auto has_residual) {
            if (op.dy2)
                backward(cpu, op, activation, has_residual, [dy2 = op.dy2](size_t i) { return float(dy2[i]); });
            else
                backward(cpu, op, activation, has_residual, [](size_t) { return 0.0f; });
        };
        op.dresidual ? run(std::true_type{}) : run(std::false_type{});
    });
}

template void compute(const Cpu&, const BatchNormForward<float>&);
template void compute(const Cpu&, const BatchNormForward<bf16>&);
template void compute(const Cpu&, const BatchNormBackward<float>&);
template void compute(const Cpu&, const BatchNormBackward<bf16>&);
template size_t scratch_bytes(const Cpu&, const BatchNormForward<float>&);
template size_t scratch_bytes(const Cpu&, const BatchNormForward<bf16>&);
template size_t scratch_bytes(const Cpu&, const BatchNormBackward<float>&);
template size_t scratch_bytes(const Cpu&, const BatchNormBackward<bf16>&);
