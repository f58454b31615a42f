// The classifier's matrix product by tiles in shared memory: run by Simt, and on Cuda the reference for cuBLAS.
//
// Floor: 2 * rows * in * out operations, s * (rows * in + out * in) + 4 * rows * out bytes: 1 GFLOP and 6 MB for 256
// rows of 2048 to 1000 in 16 bits, that is 1.5 us of memory and 16 us of float units.
#include "kernels/linear.h"

#include "kernels/bias.h"
#include "kernels/vector.cuh"

namespace {

constexpr unsigned kTile = 32, kSide = 16;  // a block of 16 x 16 threads has 32 x 32 outputs, every thread 2 x 2

// A matrix seen through strides: element (i, j) is data[i * row + j * column].
template <class T>
struct Strided {
    const T* data;
    size_t rows, columns, row, column;

    // Copies the tile that begins at (i0, j0) to shared memory; what lies outside is 0. Neighbouring lanes take
    // neighbouring addresses whichever way the matrix lies.
    __device__ void copy_tile(size_t i0, size_t j0, float (&tile)[kTile][kTile + 1]) const {
        for (unsigned e = threadIdx.y * kSide + threadIdx.x; e < kTile * kTile; e += kSide * kSide) {
            const unsigned fast = e % kTile, slow = e / kTile;
            const unsigned i = column == 1 ? slow : fast, j = column == 1 ? fast : slow;
            const bool inside = i0 + i < rows && j0 + j < columns;
            tile[i][j] = inside ? float(data[(i0 + i) * row + (j0 + j) * column]) : 0.0f;
        }
    }
};

// c (a.rows, b.columns) = a * b + bias, rounded to C; bias: (b.columns), may be null.
template <class A, class B, class C>
__global__ void __launch_bounds__(kSide* kSide) product(Strided<A> a, Strided<B> b, const float* bias, C* c) {
    SIMT_SHARED(float, tile_a, [kTile][kTile + 1]);
    SIMT_SHARED(float, tile_b, [kTile][kTile + 1]);
    const size_t i0 = size_t(blockIdx.y) * kTile, j0 = size_t(blockIdx.x) * kTile;
    float sum[2][2] = {};
    for (size_t k0 = 0; k0 < a.columns; k0 += kTile) {
        a.copy_tile(i0, k0, tile_a);
        b.copy_tile(k0, j0, tile_b);
        __syncthreads();
        SIMT_UNROLL
        for (unsigned k = 0; k < kTile; ++k) {
            const float a0 = tile_a[threadIdx.y][k], a1 = tile_a[threadIdx.y + kSide][k];
            const float b0 = tile_b[k][threadIdx.x], b1 = tile_b[k][threadIdx.x + kSide];
            sum[0][0] = fmaf(a0, b0, sum[0][0]);
            sum[0][1] = fmaf(a0, b1, sum[0][1]);
            sum[1][0] = fmaf(a1, b0, sum[1][0]);
            sum[1][1] = fmaf(a1, b1, sum[1][1]);
        }
        __syncthreads();
    }
    SIMT_UNROLL
    for (unsigned u = 0; u < 2; ++u) {
        SIMT_UNROLL
        for (unsigned v = 0; v < 2; ++v) {
            const size_t i = i0 + threadIdx.y + u * kSide, j = j0 + threadIdx.x + v * kSide;
            if (i < a.rows && j < b.columns) c[i * b.columns + j] = C(sum[u][v] + (bias ? bias[j] : 0.0f));
        }
    }
}

template <class A, class B, class C>
void launch_product(const Gpu& gpu, const Strided<A>& a, const Strided<B>& b, const float* bias, C* c) {
    simt::launch(product<A, B, C>, dim3(ceil_div(b.columns, kTile), ceil_div(a.rows, kTile)), dim3(kSide, kSide), 0,
                 stream_of(gpu), a, b, bias, c);
}

template <class T>
Strided<T> matrix(const T* data, size_t rows, size_t columns) {
    return {.data = data, .rows = rows, .columns = columns, .row = columns, .column = 1};
}

template <class T>
Strided<T> transposed(const T* data, size_t rows, size_t columns) {
    return {.data = data, .rows = columns, .columns = rows, .row = 1, .column = columns};
}

template <class T>
void forward(const Gpu& gpu, const LinearForward<T>& p) {
    const auto [rows, in, out] = p.shape;
    launch_product(gpu, matrix(p.x, rows, in), transposed(p.weight, out, in), p.bias, p.y);
}

template <class T>
void backward(const Gpu& gpu, const LinearBackward<T>& p) {
    const auto [rows, in, out] = p.shape;
    if (p.dx) launch_product(gpu, matrix(p.dy, rows, out), matrix(p.weight, out, in), nullptr, p.dx);
    if (p.dweight) launch_product(gpu, transposed(p.dy, rows, out), matrix(p.x, rows, in), nullptr, p.dweight);
    if (p.dbias) compute(gpu, BiasBackward<float>{.rows = rows, .channels = out, .dy = p.dy, .dbias = p.dbias});
}

}  // namespace

#if defined(TUNDRA_SIMT_FLAVOUR)
template <class T>
void compute(const Simt& gpu, const LinearForward<T>& p) {
    forward(gpu, p);
}
template <class T>
void compute(const Simt& gpu, const LinearBackward<T>& p) {
    backward(gpu, p);
}

template void compute(const Simt&, const LinearForward<float>&);
template void compute(const Simt&, const LinearForward<bf16>&);
template void compute(const Simt&, const LinearForward<fp16>&);
template void compute(const Simt&, const LinearBackward<float>&);
template void compute(const Simt&, const LinearBackward<bf16>&);
template void compute(const Simt&, const LinearBackward<fp16>&);
#else
template <class T>
void compute_direct(const Cuda& gpu, const LinearForward<T>& p) {
    forward(gpu, p);
}
template <class T>
void compute_direct(const Cuda& gpu, const LinearBackward<T>& p) {
    backward(gpu, p);
}

template void compute_direct(const Cuda&, const LinearForward<float>&);
template void compute_direct(const Cuda&, const LinearForward<bf16>&);
template void compute_direct(const Cuda&, const LinearForward<fp16>&);
template void compute_direct(const Cuda&, const LinearBackward<float>&);
template void compute_direct(const Cuda&, const LinearBackward<bf16>&);
template void compute_direct(const Cuda&, const LinearBackward<fp16>&);
#endif
