// Images on the GPU: 8-bit pixels to the network's input, and the planes of JPEG files to such pixels. See image.h.
//
// Floor, bytes per image: what is read once (3 h w, or 1.5 h w as planes) and y once; a 2592 x 1944 JPEG to 1280 x 960
// moves 7.6 + 3.7 MB (3 us on an H200), far below what decoding takes. Taps read global memory directly, as no pixel is
// needed twice when shrinking by two.
#include "kernels/image.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/image_math.h"
#include "kernels/vector.cuh"

namespace {

constexpr unsigned kThreads = 256;

// Neighbouring pixels that make 16 bytes (three channels: one pixel, so that lanes read and write side by side), and
// how many such groups a thread makes: it has two pixels at least. Neighbouring lanes have neighbouring groups, a row
// belongs to one line of threads: nothing is divided.
template <class T, int kChannels>
constexpr int kPixels = kChannels == 3 ? 1 : std::max(1, kVector<T> / kChannels);
template <class T, int kChannels>
constexpr int kGroups = kPixels<T, kChannels> == 1 ? 2 : 1;

template <class T, int kChannels>
dim3 frame_grid(size_t out_h, size_t out_w, size_t images) {
    return dim3(unsigned(ceil_div(out_w, 32 * kPixels<T, kChannels> * kGroups<T, kChannels>)),
                unsigned(ceil_div(out_h, kThreads / 32)), unsigned(std::min<size_t>(images, 65535)));
}
inline dim3 frame_block() { return dim3(32, kThreads / 32); }

struct Color {
    float rgb[3];
};

template <int kChannels>
__device__ __forceinline__ void put(const Color& color, const Normalize& normalize, float* to) {
    SIMT_UNROLL
    for (int c = 0; c < kChannels; ++c) {
        const float value = c >= 3 ? 0.0f : normalize.bgr ? color.rgb[2 - c] : color.rgb[c];
        to[c] = c < 3 ? value * normalize.scale[c] + normalize.shift[c] : 0.0f;
    }
}

// One image of out_h x out_w pixels by the threads of frame_grid(); color(row, column) gives a pixel.
template <class T, int kChannels, class GetColor>
__device__ __forceinline__ void fill_frame(size_t out_h, size_t out_w, bool wide, const Normalize& normalize, T* y,
                                           const GetColor& color) {
    constexpr int kCount = kPixels<T, kChannels>;
    const size_t row = size_t(blockIdx.y) * blockDim.y + threadIdx.y;
    if (row >= out_h) return;
    SIMT_UNROLL
    for (int group = 0; group < kGroups<T, kChannels>; ++group) {
        const size_t from = (size_t(blockIdx.x) * kGroups<T, kChannels> + size_t(group)) * blockDim.x;
        const size_t column = (from + threadIdx.x) * kCount;
        if (column >= out_w) return;
        float values[kCount * kChannels];
        SIMT_UNROLL
        for (int k = 0; k < kCount; ++k)
            if (column + size_t(k) < out_w)
                put<kChannels>(color(row, column + size_t(k)), normalize, values + k * kChannels);
        T* const to = y + (row * out_w + column) * kChannels;
        if constexpr (kChannels != 3)
            if (wide) {
                store_floats(to, values);
                continue;
            }
        SIMT_UNROLL
        for (int k = 0; k < kCount * kChannels; ++k)
            if (column + size_t(k / kChannels) < out_w) to[k] = T(values[k]);
    }
}

// A load from global memory in so many words: nvcc 13 forgets where p points to and would look in every space.
__device__ __forceinline__ int byte_at(const uint8_t* p) { return __ldg(p); }

struct SixBytes {
    uint32_t low = 0, high = 0;
    __device__ __forceinline__ float operator[](int k) const {
        return float((k < 4 ? low >> 8 * k : high >> 8 * (k - 4)) & 255);
    }
};

// p[0] to p[5] of the array [begin, end) by aligned words of four. What lies from `end` on is anything.
__device__ __forceinline__ SixBytes six_bytes(const uint8_t* p, const uint8_t* begin, const uint8_t* end) {
    SixBytes six;
    if (p - begin < 3 || end - p < 9) {  // the words might reach out of the array
        SIMT_UNROLL
        for (int k = 0; k < 6; ++k)
            if (p + k < end) (k < 4 ? six.low : six.high) |= uint32_t(byte_at(p + k)) << 8 * (k % 4);
        return six;
    }
    const unsigned offset = unsigned(reinterpret_cast<uintptr_t>(p) % 4), right = 8 * offset, left = 32 - right;
    const auto word = [&](int i) { return __ldg(reinterpret_cast<const uint32_t*>(p - offset) + i); };
    six.low = word(0), six.high = word(1);
    if (offset == 0) return six;
    six.low = six.low >> right | six.high << left;
    six.high = six.high >> right | (offset == 3 ? word(2) << left : 0);
    return six;
}

template <class T, int kChannels>
__global__ void __launch_bounds__(kThreads) image_batch(ImageBatch<T> op, bool wide) {
    const uint8_t* const end = op.images + op.n * op.h * op.w * 3;
    for (size_t image = blockIdx.z; image < op.n; image += gridDim.z) {
        const float* const transform = op.transform + 6 * image;
        const float gain = op.color[2 * image], offset = op.color[2 * image + 1];
        const uint8_t* const pixels = op.images + image * op.h * op.w * 3;
        T* const y = op.y + image * op.out_h * op.out_w * kChannels;
        fill_frame<T, kChannels>(op.out_h, op.out_w, wide, op.normalize, y, [&](size_t row, size_t column) {
            Color color;
            if (op.inner_h && (row >= op.inner_h || column >= op.inner_w)) {
                color.rgb[0] = color.rgb[1] = color.rgb[2] = op.grey;
                return color;
            }
            const AffineTap tap = affine_tap(transform, int(row), int(column), int(op.h), int(op.w));
            const auto pair = [&](int i) {
                return six_bytes(pixels + (size_t(i) * op.w + size_t(tap.left)) * 3, op.images, end);
            };
            const SixBytes above = pair(tap.top), below = pair(tap.bottom);
            const bool one = tap.right == tap.left;  // at the edge
            SIMT_UNROLL
            for (int c = 0; c < 3; ++c)
                color.rgb[c] = colored(
                    bilinear(above[c], one ? above[c] : above[3 + c], below[c], one ? below[c] : below[3 + c], tap),
                    gain, offset);
            return color;
        });
    }
}

// A thread makes four pixels of a row: three words.
__global__ void __launch_bounds__(kThreads) camera_batch(CameraBatch op) {
    const size_t row = size_t(blockIdx.y) * blockDim.y + threadIdx.y;
    const size_t column = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    if (row >= op.h || column >= op.w) return;
    for (size_t image = blockIdx.z; image < op.n; image += gridDim.z) {
        unsigned words[3] = {};
        SIMT_UNROLL
        for (int k = 0; k < 4; ++k) {
            const Rgb p = camera_pixel(op, image, int(row), int(column) + k);
            const int bytes[3] = {p.r, p.g, p.b};
            SIMT_UNROLL
            for (int c = 0; c < 3; ++c) words[(3 * k + c) / 4] |= unsigned(bytes[c]) << ((3 * k + c) % 4 * 8);
        }
        auto* const to = reinterpret_cast<unsigned*>(op.y + ((image * op.h + row) * op.w + column) * 3);
        to[0] = words[0], to[1] = words[1], to[2] = words[2];
    }
}

template <class T, int kChannels>
void launch(const Gpu& gpu, const ImageBatch<T>& op) {
    const bool wide = op.out_w % kPixels<T, kChannels> == 0 && aligned(op.y);
    simt::launch(image_batch<T, kChannels>, frame_grid<T, kChannels>(op.out_h, op.out_w, op.n), frame_block(), 0,
                 stream_of(gpu), op, wide);
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const ImageBatch<T>& op) {
    switch (op.out_c) {
        case 3: return launch<T, 3>(gpu, op);
        case 4: return launch<T, 4>(gpu, op);
        case 8: return launch<T, 8>(gpu, op);
        default: throw std::invalid_argument("images have 3, 4 or 8 channels on a GPU");
    }
}
void compute(const Gpu& gpu, const CameraBatch& op) {
    if (op.w % 4 != 0) throw std::invalid_argument("camera batch: the width is a multiple of four on a GPU");
    const dim3 grid(unsigned(ceil_div(op.w, 32 * 4)), unsigned(ceil_div(op.h, kThreads / 32)),
                    unsigned(std::min<size_t>(op.n, 65535)));
    simt::launch(camera_batch, grid, frame_block(), 0, stream_of(gpu), op);
}
template void compute(const Gpu&, const ImageBatch<float>&);
template void compute(const Gpu&, const ImageBatch<bf16>&);
template void compute(const Gpu&, const ImageBatch<fp16>&);
