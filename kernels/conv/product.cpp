// Convolution on the CPU as a product of gathered rows: see product.h. Shares blocks among threads; the arithmetic
// is in product_vectors.h.
#include "kernels/conv/product.h"

#include <algorithm>
#include <atomic>

#include "kernels/conv/simd_loops.h"
#include "kernels/index.h"
#include "kernels/parallel.h"

const ProductLoops* product_loops() { return simd_loops() ? &simd_loops()->product : nullptr; }

bool product_supports(const ConvShape& s) {
    const ProductLoops* const loops = product_loops();
    return loops && s.c_in % loops->lanes == 0 && s.c_out % loops->lanes == 0;
}

namespace {
constexpr size_t max_depth = 256, capacity = 112;  // of a block of the left matrix; capacity: rows
constexpr size_t sum_depth = 256;  // pixels whose products are added at once to the gradient of the weights
constexpr size_t sum_capacity = sum_depth + 1;  // odd, so that the vectors of a pixel fall on different cache lines

// The channels of the pixel that tap `tap` of the window of output pixel `pixel` meets; null outside.
template <class T>
T* row_of(const ConvShape& s, T* x, size_t pixel, size_t tap) {
    const size_t out_h = s.out_h(), out_w = s.out_w(), n = pixel / (out_h * out_w);
    const auto i = ptrdiff_t(pixel / out_w % out_h * s.stride + tap / s.kernel_w) - ptrdiff_t(s.padding);
    const auto j = ptrdiff_t(pixel % out_w * s.stride + tap % s.kernel_w) - ptrdiff_t(s.padding);
    return inside(i, s.h) && inside(j, s.w) ? x + ((n * s.h + size_t(i)) * s.w + size_t(j)) * s.c_in : nullptr;
}

// out (rows, columns) = left (rows, depth) * right (depth, columns)
struct Shape {
    size_t rows, depth, columns;

    size_t packed() const { return ceil_div(columns, 32) * 32 * depth; }
    size_t gathered() const { return capacity * std::min(max_depth, depth); }
    size_t scratch(const Cpu& cpu) const { return packed() + size_t(cpu.threads) * gathered(); }
};

// Some rows of the left matrix.
struct Block {
    size_t begin, rows;
    const float* left[capacity];
};

template <class Left, class Out>
void multiply_gathered(const Cpu& cpu, const Shape& s, const float* weight, bool transposed, float* scratch,
                       const ProductLoops& loops, const Left& left_row, const Out& out_row) {
    const size_t panels = ceil_div(s.columns, 2 * loops.lanes);
    // No block is empty: an empty one ends a thread's work, and OpenMP may give fewer threads than asked for.
    const size_t blocks =
        std::min(s.rows, ceil_div(ceil_div(s.rows, capacity), size_t(cpu.threads)) * size_t(cpu.threads));
    const ProductPack pack{
        .depth = s.depth, .columns = s.columns, .transposed = transposed, .weight = weight, .packed = scratch};
    std::atomic<size_t> claimed = 0;
#pragma omp parallel num_threads(cpu.threads)
    {
        float* const gathered = scratch + s.packed() + size_t(omp_get_thread_num()) * s.gathered();
#pragma omp for schedule(static)
        for (size_t panel = 0; panel < panels; ++panel) loops.pack(pack, panel);
        // A block is claimed while the one before it is multiplied, so that its rows can be prefetched.
        Block buffers[2], *current = &buffers[0], *next = &buffers[1];
        const auto claim = [&](Block& b) {
            const size_t block = std::min(blocks, size_t(claimed++));
            b.begin = s.rows * block / blocks;
            b.rows = block < blocks ? s.rows * (block + 1) / blocks - b.begin : 0;
            for (size_t r = 0; r < b.rows; ++r) b.left[r] = left_row(b.begin + r);
        };
        for (claim(*current); current->rows; std::swap(current, next)) {
            float* out[capacity];
            for (size_t r = 0; r < current->rows; ++r) out[r] = out_row(current->begin + r);
            claim(*next);
            for (size_t first = 0; first < s.depth; first += max_depth) {
                const size_t depth = std::min(max_depth, s.depth - first), after = first + depth;
                loops.gather({.from = current->left,
                              .rows = current->rows,
                              .offset = first,
                              .width = depth,
                              .capacity = capacity,
                              .to = gathered});
                const Block& soon = after < s.depth ? *current : *next;
                Prefetch prefetch{.row = soon.left,
                                  .end = soon.left + soon.rows,
                                  .offset = after % s.depth,
                                  .width = std::min(max_depth, s.depth - after % s.depth)};
                prefetch.rate =
                    ceil_div(4 * ceil_div(prefetch.width, 16) * capacity, panels * ceil_div(current->rows, 14) * depth);
                for (size_t panel = 0; panel < panels; ++panel)
                    loops.multiply({.rows = current->rows,
                                    .capacity = capacity,
                                    .depth = depth,
                                    .columns = s.columns,
                                    .first = first == 0,
                                    .left = gathered,
                                    .right = scratch + (panel * s.depth + first) * 2 * loops.lanes,
                                    .out = out,
                                    .prefetch = &prefetch},
                                   panel);
            }
        }
    }
}

Shape shape_of(const ConvForward<float>& op) {
    return {op.shape.n * op.shape.out_h() * op.shape.out_w(), op.shape.c_in, op.shape.c_out};
}
Shape shape_of(const ConvBackwardData<float>& op) {
    return {op.shape.n * op.shape.out_h() * op.shape.out_w(), op.shape.c_out, op.shape.c_in};
}

// How threads share the gradient of the weights: a grid over its rows and over the channels of x, the longer side
// first. Each thread gathers its operands and waits for no other.
struct Grid {
    size_t rows, columns, max_k, max_c;  // k, c: channels of y and x of a part

    Grid(const Cpu& cpu, const ConvShape& s, const ProductLoops& loops) {
        const size_t threads = size_t(cpu.threads), max_rows = ceil_div(s.c_out, loops.lanes),
                     max_columns = ceil_div(s.c_in, 2 * loops.lanes);
        const bool rows_first = s.kernel_h * s.kernel_w == 1 && s.c_out >= s.c_in;
        rows = std::min(max_rows, rows_first ? threads : std::max<size_t>(1, threads / std::min(max_columns, threads)));
        columns = std::min(max_columns, std::max<size_t>(1, threads / rows));
        max_k = ceil_div(max_rows, rows) * loops.lanes;
        max_c = ceil_div(max_columns, columns) * 2 * loops.lanes;
    }
    size_t parts() const { return rows * columns; }
    size_t gathered() const { return sum_capacity * (max_k + max_c); }
};
}  // namespace

size_t product_scratch_count(const Cpu& cpu, const ConvForward<float>& op, const ProductLoops&) {
    return shape_of(op).scratch(cpu);
}
size_t product_scratch_count(const Cpu& cpu, const ConvBackwardData<float>& op, const ProductLoops&) {
    return shape_of(op).scratch(cpu);
}
size_t product_scratch_count(const Cpu& cpu, const ConvBackwardWeight<float>& op, const ProductLoops& loops) {
    const Grid grid(cpu, op.shape, loops);
    return grid.parts() * grid.gathered();
}

void product_compute(const Cpu& cpu, const ConvForward<float>& op, float* scratch, const ProductLoops& loops) {
    multiply_gathered(
        cpu, shape_of(op), op.weight, true, scratch, loops,
        [&](size_t pixel) { return row_of(op.shape, op.x, pixel, 0); },
        [&](size_t pixel) { return op.y + pixel * op.shape.c_out; });
}

void product_compute(const Cpu& cpu, const ConvBackwardData<float>& op, float* scratch, const ProductLoops& loops) {
    const ConvShape& s = op.shape;
    multiply_gathered(
        cpu, shape_of(op), op.weight, false, scratch, loops, [&](size_t pixel) { return op.dy + pixel * s.c_out; },
        [&](size_t pixel) {  // what no window of a strided convolution meets is 0
            float* const row = row_of(s, op.dx, pixel, 0);
            const size_t i = pixel / s.out_w() % s.out_h() * s.stride, j = pixel % s.out_w() * s.stride;
            const size_t i_end = i / s.stride + 1 == s.out_h() ? s.h : i + s.stride;
            const size_t j_end = j / s.stride + 1 == s.out_w() ? s.w : j + s.stride;
            for (size_t di = 0; di < i_end - i; ++di)
                for (size_t dj = 0; dj < j_end - j; ++dj)
                    if (di || dj) std::fill_n(row + (di * s.w + dj) * s.c_in, s.c_in, 0.0f);
            return row;
        });
}

void product_compute(const Cpu& cpu, const ConvBackwardWeight<float>& op, float* scratch, const ProductLoops& loops) {
    const ConvShape& s = op.shape;
    const Grid grid(cpu, s, loops);
    const size_t taps = s.kernel_h * s.kernel_w, pixels = s.n * s.out_h() * s.out_w(), lanes = loops.lanes;
#pragma omp parallel for num_threads(cpu.threads) schedule(static)
    for (size_t part = 0; part < grid.parts(); ++part) {
        const auto cut = [](size_t count, size_t unit, size_t i, size_t of) {
            return std::min(count, ceil_div(count, unit) * i / of * unit);
        };
        const size_t row = part % grid.rows, column = part / grid.rows;
        const size_t k = cut(s.c_out, lanes, row, grid.rows), k_count = cut(s.c_out, lanes, row + 1, grid.rows) - k;
        const size_t c = cut(s.c_in, 2 * lanes, column, grid.columns),
                     c_count = cut(s.c_in, 2 * lanes, column + 1, grid.columns) - c;
        float* const left = scratch + part * grid.gathered();
        float* const right = left + sum_capacity * grid.max_k;
        // Two sets of pointers: of the rows gathered now, and of those gathered next, which are prefetched.
        const float *rows[2][sum_depth], *dy[sum_depth];
        const auto find_rows = [&](size_t first, size_t tap, const float** to) {
            const size_t depth = std::min(sum_depth, pixels - first);
            for (size_t i = 0; i < depth; ++i) to[i] = row_of(s, op.x, first + i, tap);
            return depth;
        };
        const auto find_dy = [&](size_t first) {
            for (size_t i = 0; i < sum_depth && first + i < pixels; ++i) dy[i] = op.dy + (first + i) * s.c_out;
        };
        find_rows(0, 0, rows[0]);
        find_dy(0);
        size_t turn = 0;
        for (size_t first = 0; first < pixels; first += sum_depth) {
            const size_t depth = std::min(sum_depth, pixels - first);
            loops.gather(
                {.from = dy, .rows = depth, .offset = k, .width = k_count, .capacity = sum_capacity, .to = left});
            for (size_t tap = 0; tap < taps; ++tap, ++turn) {
                const float** const now = rows[turn % 2];
                const float** const next = rows[(turn + 1) % 2];
                loops.gather(
                    {.from = now, .rows = depth, .offset = c, .width = c_count, .capacity = sum_capacity, .to = right});
                Prefetch prefetch[2] = {{dy, dy, k, k_count}, {next, next, c, c_count}};
                const size_t steps = ceil_div(k_count, lanes / 2) * ceil_div(c_count, 2 * lanes) * depth;
                if (tap + 1 < taps)
                    prefetch[1].end += find_rows(first, tap + 1, next);
                else if (first + sum_depth < pixels) {
                    const size_t after = find_rows(first + sum_depth, 0, next);
                    find_dy(first + sum_depth);
                    prefetch[0].end += after, prefetch[1].end += after;
                }
                const auto lines = [](const Prefetch& a) { return ceil_div(a.width, 16) * size_t(a.end - a.row); };
                prefetch[0].rate = prefetch[1].rate = ceil_div(4 * (lines(prefetch[0]) + lines(prefetch[1])), steps);
                loops.accumulate({.depth = depth,
                                  .capacity = sum_capacity,
                                  .rows = k_count,
                                  .columns = c_count,
                                  .pitch = taps * s.c_in,
                                  .first = first == 0,
                                  .left = left,
                                  .right = right,
                                  .out = op.dweight + (k * taps + tap) * s.c_in + c,
                                  .prefetch = prefetch});
            }
        }
    }
}
