// The loops of winograd.h on the vectors of simd.h.
#pragma once

#include "kernels/conv/simd.h"
#include "kernels/conv/winograd_loops.h"
#include "kernels/index.h"

namespace {
size_t channel_blocks(size_t c_in) { return ceil_div(c_in, lanes); }
size_t transformed_stride(size_t channels, size_t capacity) {
    return channel_blocks(channels) * capacity * lanes + winograd_gap;
}
size_t packed_stride(size_t c_in) { return channel_blocks(c_in) * lanes * panel_lanes + winograd_gap; }
size_t products_stride(const WinogradTask& t) { return t.capacity * panel_lanes + winograd_gap; }

// The pixels of a tile: y from (top, left), x from one above and left of it.
struct Tile {
    size_t n, top, left;

    Tile(const WinogradTask& t, size_t tile)
        : n(tile / (t.tiles_h * t.tiles_w)), top(tile / t.tiles_w % t.tiles_h * 4), left(tile % t.tiles_w * 4) {}
};

// The points are 0, +-p, +-q and infinity.
constexpr float p = 5 / 8.0f, p2 = p * p, p3 = p * p2, q = 3 / 2.0f, q2 = q * q, q3 = q * q2;
constexpr float scale_0 = 1 / (p2 * q2), scale_p = 1 / (2 * p2 * (p2 - q2)), scale_q = 1 / (2 * q2 * (q2 - p2));

// Of stride 2: +-e, +-f and infinity for the even rows; the odd ones stay as they are.
constexpr float e = 1 / 2.0f, e2 = e * e, e3 = e * e2, f = 5 / 4.0f, f2 = f * f, f3 = f * f2,
                scale_e = 1 / (2 * e * (e2 - f2)), scale_f = 1 / (2 * f * (f2 - e2));

// Points and inputs along one side of a tile.
constexpr size_t points_of(size_t stride) { return stride == 1 ? 6 : 9; }

// out = B^T in
inline void transform_input(const Vector (&in)[6], Vector (&out)[6]) {
    const Vector a = in[4] - q2 * in[2], b = in[3] - q2 * in[1], c = in[4] - p2 * in[2], d = in[3] - p2 * in[1];
    out[0] = p2 * q2 * in[0] + (in[4] - (p2 + q2) * in[2]);
    out[1] = a + p * b, out[2] = a - p * b;
    out[3] = c + q * d, out[4] = c - q * d;
    out[5] = p2 * q2 * in[1] + (in[5] - (p2 + q2) * in[3]);
}

inline void transform_input(const Vector (&in)[9], Vector (&out)[9]) {
    const Vector a = in[6] - f2 * in[2], b = e * (in[4] - f2 * in[0]);
    const Vector c = in[6] - e2 * in[2], d = f * (in[4] - e2 * in[0]);
    out[0] = a + b, out[1] = a - b;
    out[2] = c + d, out[3] = c - d;
    out[4] = e2 * f2 * in[0] + (in[8] - (e2 + f2) * in[4]);
    for (size_t i = 0; i < 4; ++i) out[5 + i] = in[1 + 2 * i];
}

// out = G in; of stride 2 the last one is for all odd rows
template <size_t stride>
inline void transform_weight(const Vector (&in)[3], Vector (&out)[6]) {
    if (stride == 2) {
        const Vector a = e * in[2], b = f * in[2];
        out[0] = (in[0] + a) * scale_e, out[1] = (a - in[0]) * scale_e;
        out[2] = (in[0] + b) * scale_f, out[3] = (b - in[0]) * scale_f;
        out[4] = in[2], out[5] = in[1];
        return;
    }
    const Vector a = in[0] + p2 * in[2], b = p * in[1], c = in[0] + q2 * in[2], d = q * in[1];
    out[0] = in[0] * scale_0;
    out[1] = (a + b) * scale_p, out[2] = (a - b) * scale_p;
    out[3] = (c + d) * scale_q, out[4] = (c - d) * scale_q;
    out[5] = in[2];
}

// out = A^T in
inline void transform_output(const Vector (&in)[6], Vector (&out)[4]) {
    const Vector a = in[1] + in[2], b = in[1] - in[2], c = in[3] + in[4], d = in[3] - in[4];
    out[0] = in[0] + (a + c);
    out[1] = p * b + q * d;
    out[2] = p2 * a + q2 * c;
    out[3] = p3 * b + (q3 * d + in[5]);
}

inline void transform_output(const Vector (&in)[9], Vector (&out)[4]) {
    const Vector a = in[0] + in[1], b = in[0] - in[1], c = in[2] + in[3], d = in[2] - in[3];
    out[0] = in[5] + (a + c);
    out[1] = in[6] + (e * b + f * d);
    out[2] = in[7] + (e2 * a + f2 * c);
    out[3] = in[8] + (e3 * b + (f3 * d + in[4]));
}

// out = A in
inline void transform_gradient(const Vector (&in)[4], Vector (&out)[6]) {
    const Vector a = in[0] + p2 * in[2], b = in[1] + p2 * in[3], c = in[0] + q2 * in[2], d = in[1] + q2 * in[3];
    out[0] = in[0];
    out[1] = a + p * b, out[2] = a - p * b;
    out[3] = c + q * d, out[4] = c - q * d;
    out[5] = in[3];
}

// out = G^T in
inline void transform_sums(const Vector (&in)[6], Vector (&out)[3]) {
    const Vector a = (in[1] + in[2]) * scale_p, b = (in[1] - in[2]) * scale_p;
    const Vector c = (in[3] + in[4]) * scale_q, d = (in[3] - in[4]) * scale_q;
    out[0] = in[0] * scale_0 + (a + c);
    out[1] = p * b + q * d;
    out[2] = p2 * a + (q2 * c + in[5]);
}

// The row of a matrix, of which columns are kept.
template <size_t side, size_t count, size_t... j>
inline void take_row(const Vector (&columns)[side][count], size_t i, Vector (&row)[side], std::index_sequence<j...>) {
    ((row[j] = columns[j][i]), ...);
}

template <class T, size_t stride>
void transform(const WinogradTask& t, size_t block) {
    constexpr size_t side = points_of(stride);
    const size_t channel = block * lanes, count = t.c_in - channel, pitch = transformed_stride(t.c_in, t.capacity);
    for (size_t tile = 0; tile < t.tiles; ++tile) {
        const Tile at(t, t.first + tile);
        const T* const x = static_cast<const T*>(t.x) + at.n * t.h * t.w * t.c_in + channel;
        const size_t top = at.top * stride, left = at.left * stride;
        const bool whole = top > 0 && left > 0 && top + side - 1 <= t.h && left + side - 1 <= t.w && count >= lanes;
        Vector columns[side][side];
        for (size_t j = 0; j < side; ++j) {
            Vector column[side];
            for (size_t i = 0; i < side; ++i) {
                const size_t row = top + i - 1, col = left + j - 1;
                if (whole)
                    column[i] = load(x + (row * t.w + col) * t.c_in);
                else if (inside(ptrdiff_t(row), t.h) && inside(ptrdiff_t(col), t.w))
                    column[i] = load_part(x + (row * t.w + col) * t.c_in, count);
                else
                    column[i] = Vector{};
            }
            transform_input(column, columns[j]);
        }
        float* to = t.transformed + (block * t.capacity + tile) * lanes;
        for (size_t i = 0; i < side; ++i) {
            Vector row[side], out[side];
            take_row(columns, i, row, std::make_index_sequence<side>{});
            transform_input(row, out);
            for (size_t j = 0; j < side; ++j, to += pitch) store(to, out[j]);
        }
    }
}

// m (rows, vectors * lanes) = v (rows, c_in) * u (c_in, vectors * lanes)
template <size_t rows, size_t vectors>
void product(const WinogradTask& t, const float* v, const float* u, float* m) {
    Vector sum[rows][vectors] = {};
    for (size_t block = channel_blocks(t.depth); block--; v += t.capacity * lanes) {
        for (size_t r = 0; r < rows; ++r) __builtin_prefetch(v + (t.capacity + r) * lanes);
#pragma GCC unroll 4
        for (size_t c = 0; c < lanes; ++c, u += panel_lanes) {
            Vector weight[vectors];
#pragma GCC unroll 2
            for (size_t k = 0; k < vectors; ++k) weight[k] = load(u + k * lanes);
#pragma GCC unroll 14
            for (size_t r = 0; r < rows; ++r) {
                const float value = v[r * lanes + c];
#pragma GCC unroll 2
                for (size_t k = 0; k < vectors; ++k) sum[r][k] += weight[k] * value;
            }
        }
    }
#pragma GCC unroll 14
    for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; ++k) {
            float* const to = m + r * panel_lanes + k * lanes;
            store(to, t.first_part ? sum[r][k] : load(to) + sum[r][k]);
        }
}

// For an even number of rows, or one less.
template <size_t vectors, size_t... i>
auto product_of(size_t rows, std::index_sequence<i...>) {
    static constexpr decltype(&product<2, vectors>) table[] = {product<2 * (i + 1), vectors>...};
    return table[(rows + 1) / 2 - 1];
}

template <class T, size_t stride>
void inverse(const WinogradTask& t, size_t channel, const float* products) {
    constexpr size_t side = points_of(stride);
    const size_t count = t.c_out - channel, pitch = products_stride(t);
    const Vector bias = t.bias ? load_part(t.bias + channel, count) : Vector{};
    for (size_t tile = 0; tile < t.tiles; ++tile) {
        const Tile at(t, t.first + tile);
        Vector columns[side][4];
        for (size_t j = 0; j < side; ++j) {
            Vector column[side];
            for (size_t i = 0; i < side; ++i) column[i] = load(products + tile * panel_lanes + (i * side + j) * pitch);
            transform_output(column, columns[j]);
        }
        for (size_t i = 0; i < 4 && at.top + i < t.out_h; ++i) {
            Vector row[side], out[4];
            take_row(columns, i, row, std::make_index_sequence<side>{});
            transform_output(row, out);
            const size_t pixel = (at.n * t.out_h + at.top + i) * t.out_w + at.left;
            for (size_t j = 0; j < 4 && at.left + j < t.out_w; ++j) {
                Vector y = out[j] + bias;
                const Vector residual =
                    t.residual ? load_part(static_cast<const T*>(t.residual) + (pixel + j) * t.c_out + channel, count)
                               : Vector{};
                y = t.residual_last ? activate(t.activation, y) + residual : activate(t.activation, y + residual);
                store_part(static_cast<T*>(t.y) + (pixel + j) * t.c_out + channel, y, count);
            }
        }
    }
}

template <class T, size_t stride>
void multiply(const WinogradTask& t, size_t panel) {
    constexpr size_t side = points_of(stride);
    const size_t channel = panel * panel_lanes;
    const size_t vectors = t.c_out - channel > lanes ? 2 : 1;
    const size_t groups = ceil_div(t.tiles, max_rows), rows = ceil_div(ceil_div(t.tiles, groups), 2) * 2;
    constexpr std::make_index_sequence<max_rows / 2> pairs_of_rows;
    for (size_t point = 0; point < side * side; ++point) {
        const size_t i = point / side, j = point % side;  // the weights have six a side: of stride 2 the last is shared
        const float* const u = t.packed + ((i < 6 ? i : 5) * 6 + (j < 6 ? j : 5)) * packed_stride(t.depth);
        for (size_t first = 0; first < t.tiles; first += rows) {
            const size_t some = t.tiles - first < rows ? t.tiles - first : rows;
            (vectors == 2 ? product_of<2>(some, pairs_of_rows) : product_of<1>(some, pairs_of_rows))(
                t, t.transformed + point * transformed_stride(t.c_in, t.capacity) + first * lanes, u,
                t.products + point * products_stride(t) + first * panel_lanes);
        }
    }
    for (size_t k = 0; k < vectors && t.last_part; ++k)
        inverse<T, stride>(t, channel + k * lanes, t.products + k * lanes);
}

// weight: (c_out, 3, 3, c_in) of this convolution or, flipped, (c_in, 3, 3, c_out)
template <class T, size_t stride>
void pack(const WinogradPack& w, size_t panel) {
    const size_t pitch = packed_stride(w.depth);
    const T* const weight = static_cast<const T*>(w.weight);
    for (size_t vector = 0; vector < 2; ++vector) {
        const size_t first = panel * panel_lanes + vector * lanes, count = first < w.c_out ? w.c_out - first : 0;
        for (size_t block = 0; block < w.depth; block += lanes) {
            const size_t channel = w.first + block, rest = count ? w.c_in - channel : 0;
            Vector taps[9][lanes];  // (tap, c_in), vectors of c_out
            for (size_t tap = 0; tap < 9; ++tap) {
                for (size_t i = 0; i < lanes; ++i) {
                    const T* const row = w.flipped ? weight + ((channel + i) * 9 + 8 - tap) * w.c_out + first
                                                   : weight + ((first + i) * 9 + tap) * w.c_in + channel;
                    __builtin_prefetch(
                        row + (w.flipped ? lanes * 9 * w.c_out : lanes));  // too many streams for the processor to see
                    taps[tap][i] = i < (w.flipped ? rest : count) ? load_part(row, w.flipped ? count : rest) : Vector{};
                }
                if (!w.flipped) transpose(taps[tap]);
            }
            float* const packed = w.packed + block * panel_lanes + vector * lanes;
            for (size_t c = 0; c < lanes; ++c) {
                Vector columns[3][6];
                for (size_t j = 0; j < 3; ++j) {
                    const Vector column[3] = {taps[j][c], taps[3 + j][c], taps[6 + j][c]};
                    transform_weight<stride>(column, columns[j]);
                }
                for (size_t i = 0; i < 6; ++i) {
                    const Vector row[3] = {columns[0][i], columns[1][i], columns[2][i]};
                    Vector out[6];
                    transform_weight<stride>(row, out);
                    for (size_t j = 0; j < 6; ++j) store(packed + (i * 6 + j) * pitch + c * panel_lanes, out[j]);
                }
            }
        }
    }
}

template <class T>
void transform_gradient(const WinogradTask& t, size_t block) {
    const size_t channel = block * lanes, count = t.c_in - channel, stride = transformed_stride(t.c_in, t.capacity);
    for (size_t tile = 0; tile < t.tiles; ++tile) {
        const Tile at(t, t.first + tile);
        Vector columns[4][6];
        for (size_t j = 0; j < 4; ++j) {
            Vector column[4];
            for (size_t i = 0; i < 4; ++i) {
                const size_t row = at.top + i, col = at.left + j;
                column[i] =
                    row < t.h && col < t.w
                        ? load_part(static_cast<const T*>(t.x) + ((at.n * t.h + row) * t.w + col) * t.c_in + channel,
                                    count)
                        : Vector{};
            }
            transform_gradient(column, columns[j]);
        }
        float* to = t.transformed + (block * t.capacity + tile) * lanes;
        for (size_t i = 0; i < 6; ++i) {
            const Vector row[4] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i]};
            Vector out[6];
            transform_gradient(row, out);
            for (size_t j = 0; j < 6; ++j, to += stride) store(to, out[j]);
        }
    }
}

size_t sums_stride(const WinogradWeightTask& t) {
    return t.out_blocks * lanes * channel_blocks(t.c_in) * lanes + winograd_gap;
}

// sums (rows of c_out, vectors * lanes of c_in) += sum over tiles of gradient * transformed
template <size_t vectors>
void accumulate_part(const WinogradWeightTask& t, const float* x, const float* dy, float* sums) {
    constexpr size_t rows = lanes / 2;
    const size_t pitch = channel_blocks(t.c_in) * lanes;
    Vector sum[rows][vectors] = {};
    if (!t.first)
#pragma GCC unroll 8
        for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
            for (size_t c = 0; c < vectors; ++c) sum[r][c] = load(sums + r * pitch + c * lanes);
    for (size_t tile = 0; tile < t.tiles; ++tile, x += lanes, dy += lanes) {
        Vector value[vectors];
#pragma GCC unroll 2
        for (size_t c = 0; c < vectors; ++c) value[c] = load(x + c * t.capacity * lanes);
#pragma GCC unroll 8
        for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
            for (size_t c = 0; c < vectors; ++c) sum[r][c] += value[c] * dy[r];
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (size_t c = 0; c < vectors; ++c) store(sums + r * pitch + c * lanes, sum[r][c]);
}

void accumulate(const WinogradWeightTask& t, size_t point, size_t block) {
    const size_t blocks = channel_blocks(t.c_in);
    const float* const x = t.transformed + point * transformed_stride(t.c_in, t.capacity);
    const float* const dy =
        t.gradient + point * transformed_stride(t.c_out, t.capacity) + (t.out_first + block) * t.capacity * lanes;
    float* const sums = t.sums + point * sums_stride(t) + block * lanes * blocks * lanes;
    for (size_t half = 0; half < lanes; half += lanes / 2)
        for (size_t c = 0; c < blocks; c += 2)
            (c + 1 < blocks ? accumulate_part<2> : accumulate_part<1>)(t, x + c * t.capacity * lanes, dy + half,
                                                                       sums + (half * blocks + c) * lanes);
}

template <class T>
void finish(const WinogradWeightTask& t, size_t channel) {
    const size_t blocks = channel_blocks(t.c_in), stride = sums_stride(t);
    for (size_t block = 0; block < blocks; ++block) {
        const float* const sums = t.sums + (channel * blocks + block) * lanes;
        Vector columns[6][3];
        for (size_t j = 0; j < 6; ++j) {
            Vector column[6];
            for (size_t i = 0; i < 6; ++i) column[i] = load(sums + (i * 6 + j) * stride);
            transform_sums(column, columns[j]);
        }
        for (size_t i = 0; i < 3; ++i) {
            const Vector row[6] = {columns[0][i], columns[1][i], columns[2][i],
                                   columns[3][i], columns[4][i], columns[5][i]};
            Vector out[3];
            transform_sums(row, out);
            for (size_t j = 0; j < 3; ++j)
                store_part(static_cast<T*>(t.dweight) + ((t.out_first * lanes + channel) * 9 + i * 3 + j) * t.c_in +
                               block * lanes,
                           out[j], t.c_in - block * lanes);
        }
    }
}

template <class T>
constexpr WinogradLoops winograd_loops_of = {lanes,          max_rows,   winograd_points,       transform<T, 1>,
                                             multiply<T, 1>, pack<T, 1>, transform_gradient<T>, accumulate,
                                             finish<T>};
constexpr WinogradLoops winograd_loops_of_stride_2 = {
    lanes, max_rows, 81, transform<float, 2>, multiply<float, 2>, pack<float, 2>, nullptr, nullptr, nullptr};
}  // namespace
