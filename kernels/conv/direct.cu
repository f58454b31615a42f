// Direct convolution: one matrix product per direction whose operands are gathered from the tensors as they are needed.
//
//            rows              columns        summed over
//   forward  pixels of y       c_out          r, s, c_in
//   data     pixels of x       c_in           r, s, c_out
//   weight   c_out             r, s, c_in     pixels of y, in parts that a second kernel adds in a fixed order
//
// Sums are floats, in an order that depends on the shape alone. Floor: the operations, on CUDA cores (an H200 has 67
// TFLOP/s); a tile of 64 x 64 reads 1 byte of shared memory per 2 operations and 1/32 of that from L2. The tensor cores
// are cuDNN's part: these kernels are what it is checked against, and the convolution of the device simt.
#include "kernels/conv/direct.cuh"

#include <algorithm>
#include <stdexcept>

namespace {

// Position in the window of an output pixel, in the order of the weights: r, s, c.
struct WindowWalk {
    int r = 0, s = 0, c = 0;
    __device__ __forceinline__ void advance(int step, int channels, int kernel_w) {
        c += step;
        if (c < channels) return;
        c = 0;
        if (++s == kernel_w) s = 0, ++r;
    }
};

struct Pixel {
    int n, row, column;
    __device__ __forceinline__ Pixel(int index, int h, int w)
        : n(index / (h * w)), row(index / w % h), column(index % w) {}
};

// Puts kWidth values of row or column `index` at depths k, k + 1, ... of a tile; zeros unless `inside`.
template <int kWidth, class T>
__device__ __forceinline__ void fill_down(TileRow (&tile)[kDepth], int k, int index, const T* from, bool inside) {
    float values[kWidth] = {};
    if (inside) load_floats(from, values);
    SIMT_UNROLL
    for (int i = 0; i < kWidth; ++i) tile[k + i].at[index] = values[i];
}
// Puts kWidth neighbours at indices index, index + 1, ... of depth k.
template <int kWidth, class T>
__device__ __forceinline__ void fill_across(TileRow (&tile)[kDepth], int k, int index, const T* from, bool inside) {
    float values[kWidth] = {};
    if (inside) load_floats(from, values);
    SIMT_UNROLL
    for (int i = 0; i < kWidth; ++i) tile[k].at[index + i] = values[i];
}

// kWidth divides c_in. Tiles alternate, so one barrier per step of the depth is enough.
template <class T, int kWidth>
__global__ void __launch_bounds__(kTileThreads) conv_forward(ConvForward<T> op, bool wide) {
    SIMT_SHARED(TileRow, left, [2][kDepth]);
    SIMT_SHARED(TileRow, right, [2][kDepth]);
    const ConvShape& shape = op.shape;
    const int h = int(shape.h), w = int(shape.w), channels = int(shape.c_in), kernel_w = int(shape.kernel_w);
    const int out_h = int(shape.out_h()), out_w = int(shape.out_w()), pixels = int(shape.n) * out_h * out_w;
    const int depth = int(shape.kernel_h) * kernel_w * channels, t = int(threadIdx.x);

    const int my_pixel = int(blockIdx.x) * kTile + t, my_channel = int(blockIdx.y) * kTile + t;
    const Pixel at(my_pixel < pixels ? my_pixel : 0, out_h, out_w);
    const int top = at.row * int(shape.stride) - int(shape.padding);
    const int start = at.column * int(shape.stride) - int(shape.padding);
    const T* const image = op.x + size_t(at.n) * shape.h * shape.w * shape.c_in;
    const T* const weight = op.weight + size_t(my_channel) * size_t(depth);
    const bool pixel_exists = my_pixel < pixels, channel_exists = my_channel < int(shape.c_out);

    float sum[kSide][kSide] = {};
    WindowWalk walk;
    for (int k0 = 0, turn = 0; k0 < depth; k0 += kDepth, turn ^= 1) {
        SIMT_UNROLL
        for (int k = 0; k < kDepth; k += kWidth) {
            const int i = top + walk.r, j = start + walk.s;
            const bool deep = k0 + k < depth, exists = inside(i, h) && inside(j, w);
            fill_down<kWidth>(left[turn], k, t, image + ptrdiff_t(i * w + j) * channels + walk.c,
                              deep && exists && pixel_exists);
            fill_down<kWidth>(right[turn], k, t, weight + k0 + k, deep && channel_exists);
            walk.advance(kWidth, channels, kernel_w);
        }
        __syncthreads();
        multiply_tiles(left[turn], right[turn], sum);
    }
    const int first_pixel = int(blockIdx.x) * kTile + t / 8 * kSide, channel = int(blockIdx.y) * kTile + t % 8 * kSide;
    SIMT_UNROLL
    for (int i = 0; i < kSide; ++i)
        if (first_pixel + i < pixels && channel < int(shape.c_out))
            finish_pixel(op, size_t(first_pixel + i), channel, wide, sum[i]);
}

// kWidth divides c_in and c_out. With a stride, taps that hit no pixel of y multiply zeros.
template <class T, int kWidth>
__global__ void __launch_bounds__(kTileThreads) conv_backward_data(ConvBackwardData<T> op, bool wide) {
    SIMT_SHARED(TileRow, left, [2][kDepth]);
    SIMT_SHARED(TileRow, right, [2][kDepth]);
    const ConvShape& shape = op.shape;
    const int channels = int(shape.c_in), c_out = int(shape.c_out), kernel_w = int(shape.kernel_w);
    const int out_h = int(shape.out_h()), out_w = int(shape.out_w()), stride = int(shape.stride);
    const int taps = int(shape.kernel_h) * kernel_w, depth = taps * c_out, t = int(threadIdx.x);
    const int pixels = int(shape.n * shape.h * shape.w);

    const int my_pixel = int(blockIdx.x) * kTile + t;
    const Pixel at(my_pixel < pixels ? my_pixel : 0, int(shape.h), int(shape.w));
    const T* const image = op.dy + size_t(at.n) * size_t(out_h * out_w) * shape.c_out;
    // The columns of the right tile that this thread fills, kWidth of them at depths t / kAcross + multiples.
    constexpr int kAcross = kTile / kWidth;
    const int across = t % kAcross * kWidth, my_channel = int(blockIdx.y) * kTile + across;

    float sum[kSide][kSide] = {};
    WindowWalk walk;
    for (int k0 = 0, turn = 0; k0 < depth; k0 += kDepth, turn ^= 1) {
        SIMT_UNROLL
        for (int k = 0; k < kDepth; k += kWidth) {
            const int down = at.row + int(shape.padding) - walk.r, along = at.column + int(shape.padding) - walk.s;
            const int p = down / stride, q = along / stride;
            const bool hit =
                down >= 0 && along >= 0 && p * stride == down && q * stride == along && p < out_h && q < out_w;
            fill_down<kWidth>(left[turn], k, t, image + ptrdiff_t(p * out_w + q) * c_out + walk.c,
                              hit && k0 + k < depth && my_pixel < pixels);
            walk.advance(kWidth, c_out, kernel_w);
        }
        SIMT_UNROLL
        for (int k = t / kAcross; k < kDepth; k += kTileThreads / kAcross) {
            const int tap = (k0 + k) / c_out, from = (k0 + k) % c_out;
            fill_across<kWidth>(right[turn], k, across,
                                op.weight + (size_t(from) * size_t(taps) + size_t(tap)) * shape.c_in + my_channel,
                                k0 + k < depth && my_channel < channels);
        }
        __syncthreads();
        multiply_tiles(left[turn], right[turn], sum);
    }
    const int first_pixel = int(blockIdx.x) * kTile + t / 8 * kSide, channel = int(blockIdx.y) * kTile + t % 8 * kSide;
    SIMT_UNROLL
    for (int i = 0; i < kSide; ++i)
        if (first_pixel + i < pixels) finish_pixel(op, size_t(first_pixel + i), channel, wide, sum[i]);
}

// Block z sums the pixels [z * part, (z + 1) * part) of y. `to` is (parts, c_out, kernel_h, kernel_w, c_in).
template <class T, int kWidth, class To>
__global__ void __launch_bounds__(kTileThreads)
    conv_backward_weight(ConvBackwardWeight<T> op, To* to, int part, bool wide) {
    SIMT_SHARED(TileRow, left, [2][kDepth]);
    SIMT_SHARED(TileRow, right, [2][kDepth]);
    const ConvShape& shape = op.shape;
    const int h = int(shape.h), w = int(shape.w), c_in = int(shape.c_in), c_out = int(shape.c_out);
    const int out_h = int(shape.out_h()), out_w = int(shape.out_w()), stride = int(shape.stride);
    const int columns = int(shape.kernel_h * shape.kernel_w) * c_in, t = int(threadIdx.x);
    const int begin = int(blockIdx.z) * part, pixels = int(shape.n) * out_h * out_w;
    const int end = pixels - begin < part ? pixels : begin + part;

    constexpr int kAcross = kTile / kWidth;
    const int across = t % kAcross * kWidth, my_channel = int(blockIdx.x) * kTile + across;
    const int my_column = int(blockIdx.y) * kTile + across, tap = my_column / c_in;
    const int r = tap / int(shape.kernel_w) - int(shape.padding), s = tap % int(shape.kernel_w) - int(shape.padding);

    float sum[kSide][kSide] = {};
    for (int k0 = begin, turn = 0; k0 < end; k0 += kDepth, turn ^= 1) {
        SIMT_UNROLL
        for (int k = t / kAcross; k < kDepth; k += kTileThreads / kAcross) {
            const bool summed = k0 + k < end;
            const Pixel at(summed ? k0 + k : 0, out_h, out_w);
            const int i = at.row * stride + r, j = at.column * stride + s;
            const bool exists = inside(i, h) && inside(j, w) && my_column < columns;
            fill_across<kWidth>(left[turn], k, across, op.dy + size_t(k0 + k) * shape.c_out + my_channel,
                                summed && my_channel < c_out);
            fill_across<kWidth>(right[turn], k, across,
                                op.x + ptrdiff_t((at.n * h + i) * w + j) * c_in + my_column % c_in, summed && exists);
        }
        __syncthreads();
        multiply_tiles(left[turn], right[turn], sum);
    }
    To* const mine = to + size_t(blockIdx.z) * shape.weight_count();
    const int row = int(blockIdx.x) * kTile + t / 8 * kSide, column = int(blockIdx.y) * kTile + t % 8 * kSide;
    SIMT_UNROLL
    for (int i = 0; i < kSide; ++i)
        if (row + i < c_out) store_row(mine + size_t(row + i) * size_t(columns), column, columns, wide, sum[i]);
}

template <class T>
__global__ void __launch_bounds__(256) add_parts(const float* parts, int count, size_t elements, T* to) {
    const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= elements) return;
    float sum = 0;
    for (int part = 0; part < count; ++part) sum += parts[size_t(part) * elements + i];
    to[i] = T(sum);
}

void check(const ConvShape& shape) {
    if (std::max(shape.x_count(), shape.y_count()) >= size_t(1) << 31)
        throw std::length_error("direct convolution: tensors of 2^31 elements and more are for cuDNN");
}

template <class T>
void launch_forward(const Gpu& gpu, const ConvForward<T>& op) {
    check(op.shape);
    constexpr int kWidth = kVector<T>;
    const bool narrow = op.shape.c_in % kWidth || !aligned(op.x, op.weight);
    const bool wide = op.shape.c_out % kWidth == 0 && aligned(op.y);
    const dim3 grid(ceil_div(op.shape.n * op.shape.out_h() * op.shape.out_w(), kTile), ceil_div(op.shape.c_out, kTile));
    simt::launch(narrow ? conv_forward<T, 1> : conv_forward<T, kWidth>, grid, dim3(kTileThreads), 0, stream_of(gpu), op,
                 wide);
}

template <class T>
void launch_backward(const Gpu& gpu, const ConvBackwardData<T>& op) {
    check(op.shape);
    constexpr int kWidth = kVector<T>;
    const bool narrow = op.shape.c_in % kWidth || op.shape.c_out % kWidth || !aligned(op.dy, op.weight);
    const bool wide = op.shape.c_in % kWidth == 0 && aligned(op.dx);
    const dim3 grid(ceil_div(op.shape.n * op.shape.h * op.shape.w, kTile), ceil_div(op.shape.c_in, kTile));
    simt::launch(narrow ? conv_backward_data<T, 1> : conv_backward_data<T, kWidth>, grid, dim3(kTileThreads), 0,
                 stream_of(gpu), op, wide);
}

// Enough parts for four blocks per multiprocessor, as far as scratch memory allows; a part has at least 256 pixels, so
// that adding the parts takes a small share of the time.
size_t parts_of(const Gpu& gpu, const ConvShape& shape, size_t tiles) {
    const size_t pixels = shape.n * shape.out_h() * shape.out_w();
    const size_t fit = gpu.scratch.bytes / (shape.weight_count() * sizeof(float));
    return std::max<size_t>(1, std::min({ceil_div(kMultiprocessors * 4, tiles), pixels / 256, fit}));
}

template <class T>
void launch_backward(const Gpu& gpu, const ConvBackwardWeight<T>& op) {
    check(op.shape);
    constexpr int kWidth = kVector<T>;
    const ConvShape& shape = op.shape;
    const bool narrow = shape.c_in % kWidth || shape.c_out % kWidth || !aligned(op.x, op.dy);
    const bool wide = shape.c_in % kWidth == 0 && aligned(op.dweight);
    const size_t columns = shape.kernel_h * shape.kernel_w * shape.c_in,
                 pixels = shape.n * shape.out_h() * shape.out_w();
    dim3 grid(ceil_div(shape.c_out, kTile), ceil_div(columns, kTile));
    const size_t wanted = parts_of(gpu, shape, size_t(grid.x) * grid.y);
    const size_t part = ceil_div(ceil_div(pixels, wanted), kDepth) * size_t(kDepth);
    grid.z = unsigned(ceil_div(pixels, part));
    if (grid.z == 1) {
        simt::launch(narrow ? conv_backward_weight<T, 1, T> : conv_backward_weight<T, kWidth, T>, grid,
                     dim3(kTileThreads), 0, stream_of(gpu), op, op.dweight, part, wide);
        return;
    }
    float* const parts = gpu.scratch.take<float>(grid.z * shape.weight_count());
    simt::launch(narrow ? conv_backward_weight<T, 1, float> : conv_backward_weight<T, kWidth, float>, grid,
                 dim3(kTileThreads), 0, stream_of(gpu), op, parts, part, wide);
    simt::launch(add_parts<T>, dim3(ceil_div(shape.weight_count(), 256)), dim3(256), 0, stream_of(gpu), parts,
                 int(grid.z), shape.weight_count(), op.dweight);
}

}  // namespace

template <class T>
void compute_direct(const Gpu& gpu, const ConvForward<T>& op) {
    launch_forward(gpu, op);
}
template <class T>
void compute_direct(const Gpu& gpu, const ConvBackwardData<T>& op) {
    launch_backward(gpu, op);
}
template <class T>
void compute_direct(const Gpu& gpu, const ConvBackwardWeight<T>& op) {
    launch_backward(gpu, op);
}
template void compute_direct(const Gpu&, const ConvForward<float>&);
template void compute_direct(const Gpu&, const ConvForward<bf16>&);
template void compute_direct(const Gpu&, const ConvForward<fp16>&);
template void compute_direct(const Gpu&, const ConvBackwardData<float>&);
template void compute_direct(const Gpu&, const ConvBackwardData<bf16>&);
template void compute_direct(const Gpu&, const ConvBackwardData<fp16>&);
template void compute_direct(const Gpu&, const ConvBackwardWeight<float>&);
template void compute_direct(const Gpu&, const ConvBackwardWeight<bf16>&);
template void compute_direct(const Gpu&, const ConvBackwardWeight<fp16>&);

#if defined(TUNDRA_SIMT_FLAVOUR)  // Cuda has cuDNN for this
template <class T>
void compute(const Simt& gpu, const ConvForward<T>& op) {
    launch_forward(gpu, op);
}
template <class T>
void compute(const Simt& gpu, const ConvBackwardData<T>& op) {
    launch_backward(gpu, op);
}
template <class T>
void compute(const Simt& gpu, const ConvBackwardWeight<T>& op) {
    launch_backward(gpu, op);
}
template void compute(const Simt&, const ConvForward<float>&);
template void compute(const Simt&, const ConvForward<bf16>&);
template void compute(const Simt&, const ConvForward<fp16>&);
template void compute(const Simt&, const ConvBackwardData<float>&);
template void compute(const Simt&, const ConvBackwardData<bf16>&);
template void compute(const Simt&, const ConvBackwardData<fp16>&);
template void compute(const Simt&, const ConvBackwardWeight<float>&);
template void compute(const Simt&, const ConvBackwardWeight<bf16>&);
template void compute(const Simt&, const ConvBackwardWeight<fp16>&);
#endif
