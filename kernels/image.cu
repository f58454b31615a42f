// Images on the GPU: 8-bit pixels, or the planes of a JPEG file, to the network's input in one pass. See image.h.
//
// Floor, bytes per image: the pixels once (3 h w, or 1.5 h w as planes) and y once; a 2592 x 1944 JPEG to 1280 x 960
// x 4 in 16 bits moves 7.6 + 9.8 MB (4 us on an H200), far below what decoding takes. Two taps read global memory
// directly, as no pixel is needed twice when shrinking by two; the triangle filter keeps a strip of the source in
// shared memory, so that colour is converted once per tile and the two passes of the filter stay separate.
#include "kernels/image.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/image_math.h"
#include "kernels/vector.cuh"

namespace {

constexpr unsigned kThreads = 256;
constexpr int kTileW = 32, kTileH = 8, kMaxStripRows = 16;
constexpr size_t kStripBytes = 40 << 10, kMaxStripBytes = 160 << 10;

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

template <class T>
__device__ __forceinline__ Rgb source_pixel(const CameraBatch<T>& op, int i, int j) {
    const size_t at = size_t(i) * op.w + size_t(j);
    if (op.rgb) return {byte_at(op.rgb + 3 * at), byte_at(op.rgb + 3 * at + 1), byte_at(op.rgb + 3 * at + 2)};
    const size_t pitch = (op.w + 1) / 2;
    const ChromaTap down = chroma_tap(i, int((op.h + 1) / 2)), across = chroma_tap(j, int(pitch));
    const auto chroma = [&](const uint8_t* plane) {
        const uint8_t *near = plane + size_t(down.near) * pitch, *far = plane + size_t(down.far) * pitch;
        return chroma_value(3 * byte_at(near + across.near) + byte_at(far + across.near),
                            3 * byte_at(near + across.far) + byte_at(far + across.far), j);
    };
    return ycbcr_to_rgb(byte_at(op.luma + at), chroma(op.cb), chroma(op.cr));
}

// Filter::linear, with the CPU's integers, and Filter::nearest.
template <class T, int kChannels>
__global__ void __launch_bounds__(kThreads) camera_taps(CameraBatch<T> op, bool wide) {
    T* const y = op.y + op.index * op.out_h * op.out_w * kChannels;
    fill_frame<T, kChannels>(op.out_h, op.out_w, wide, op.normalize, y, [&](size_t row, size_t column) -> Color {
        const ptrdiff_t i = ptrdiff_t(row) - ptrdiff_t(op.top), j = ptrdiff_t(column) - ptrdiff_t(op.left);
        if (!inside(i, op.inner_h) || !inside(j, op.inner_w)) return {{op.grey, op.grey, op.grey}};
        if (op.filter == Filter::nearest) {
            const Rgb p = source_pixel(op, int(nearest_sample(size_t(i), op.h, op.inner_h)),
                                       int(nearest_sample(size_t(j), op.w, op.inner_w)));
            return {{float(p.r), float(p.g), float(p.b)}};
        }
        const LinearTap down = linear_tap(int(i), int(op.h), double(op.h) / double(op.inner_h));
        const LinearTap across = linear_tap(int(j), int(op.w), double(op.w) / double(op.inner_w));
        const Rgb p00 = source_pixel(op, down.first, across.first), p01 = source_pixel(op, down.first, across.second);
        const Rgb p10 = source_pixel(op, down.second, across.first), p11 = source_pixel(op, down.second, across.second);
        const auto blend = [&](int v00, int v01, int v10, int v11) {
            return float(linear_blend(v00 * across.weight_first + v01 * across.weight_second,
                                      v10 * across.weight_first + v11 * across.weight_second, down));
        };
        return {
            {blend(p00.r, p01.r, p10.r, p11.r), blend(p00.g, p01.g, p10.g, p11.g), blend(p00.b, p01.b, p10.b, p11.b)}};
    });
}

struct TriangleWeights {  // of the pixels from tap.first on, in float
    float offset, slope;
    __device__ __forceinline__ explicit TriangleWeights(const TriangleTap& tap)
        : offset(float(tap.first + 0.5 - tap.centre)), slope(float(1 / tap.support)) {}
    __device__ __forceinline__ float operator[](int k) const {
        return fmaxf(0.0f, 1 - fabsf(float(k) + offset) * slope);
    }
};

// The source rows and columns that a tile of `count` outputs from `from` on needs, of an image side.
__device__ __forceinline__ void source_range(int from, int count, int inner, int size, double scale, int& begin,
                                             int& end) {
    const int first = max(from, 0), last = min(from + count, inner) - 1;
    begin = end = 0;
    if (first > last) return;
    begin = triangle_tap(first, size, scale).first;
    end = triangle_tap(last, size, scale).end;
}

// Filter::antialias. A block makes a tile of the frame; `strip_rows` source rows at a time pass through shared memory,
// first as bytes, `strip_w` to a row, then narrowed to the tile's columns. Every thread sums one pixel downwards.
template <class T, int kChannels>
__global__ void __launch_bounds__(kTileW* kTileH)
    camera_antialias(CameraBatch<T> op, int strip_rows, int strip_w, bool wide) {
    SIMT_DYNAMIC_SHARED(uchar4, strip);  // (strip_rows, strip_w), then (strip_rows, kTileW, 3) floats
    float* const narrowed = reinterpret_cast<float*>(strip + strip_rows * strip_w);
    const double scale_y = double(op.h) / double(op.inner_h), scale_x = double(op.w) / double(op.inner_w);
    const int t = int(threadIdx.x), tx = t % kTileW, ty = t / kTileW;
    const int inner_h = int(op.inner_h), inner_w = int(op.inner_w);
    const int first_i = int(blockIdx.y) * kTileH - int(op.top), first_j = int(blockIdx.x) * kTileW - int(op.left);
    const int i = first_i + ty, j = first_j + tx;
    const bool row_exists = i >= 0 && i < inner_h, column_exists = j >= 0 && j < inner_w;
    const TriangleTap down = triangle_tap(row_exists ? i : 0, int(op.h), scale_y);
    const TriangleTap across = triangle_tap(column_exists ? j : 0, int(op.w), scale_x);
    const TriangleWeights down_weights(down), across_weights(across);
    int top, bottom, left, right;
    source_range(first_i, kTileH, inner_h, int(op.h), scale_y, top, bottom);
    source_range(first_j, kTileW, inner_w, int(op.w), scale_x, left, right);

    float across_total = 0, down_total = 0, sum[3] = {};
    for (int k = 0; k < across.end - across.first; ++k) across_total += across_weights[k];
    for (int strip_top = top; strip_top < bottom && left < right; strip_top += strip_rows) {
        const int rows = min(strip_rows, bottom - strip_top), width = right - left;
        for (int at = t; at < rows * width; at += kTileW * kTileH) {
            const Rgb p = source_pixel(op, strip_top + at / width, left + at % width);
            strip[at / width * strip_w + at % width] = {uint8_t(p.r), uint8_t(p.g), uint8_t(p.b), 0};
        }
        __syncthreads();
        for (int row = ty; row < rows && column_exists; row += kTileH) {
            float r = 0, g = 0, b = 0;
            for (int k = 0; k < across.end - across.first; ++k) {
                const uchar4 p = strip[row * strip_w + across.first - left + k];
                const float weight = across_weights[k];
                r += weight * float(p.x), g += weight * float(p.y), b += weight * float(p.z);
            }
            float* const to = narrowed + (row * kTileW + tx) * 3;
            to[0] = r / across_total, to[1] = g / across_total, to[2] = b / across_total;
        }
        __syncthreads();
        for (int k = max(down.first, strip_top); k < min(down.end, strip_top + rows); ++k) {
            if (!row_exists || !column_exists) break;
            const float weight = down_weights[k - down.first];
            down_total += weight;
            SIMT_UNROLL
            for (int c = 0; c < 3; ++c) sum[c] += weight * narrowed[((k - strip_top) * kTileW + tx) * 3 + c];
        }
    }
    const int row = int(blockIdx.y) * kTileH + ty, column = int(blockIdx.x) * kTileW + tx;
    if (row >= int(op.out_h) || column >= int(op.out_w)) return;
    Color color{{op.grey, op.grey, op.grey}};
    if (row_exists && column_exists) {
        SIMT_UNROLL
        for (int c = 0; c < 3; ++c) color.rgb[c] = rintf(sum[c] / down_total);
    }
    float values[kChannels];
    put<kChannels>(color, op.normalize, values);
    T* const to = op.y + ((op.index * op.out_h + size_t(row)) * op.out_w + size_t(column)) * kChannels;
    if constexpr (kChannels == 3) {
        to[0] = T(values[0]), to[1] = T(values[1]), to[2] = T(values[2]);
    } else if (wide) {
        store_floats(to, values);
    } else {
        SIMT_UNROLL
        for (int c = 0; c < kChannels; ++c) to[c] = T(values[c]);
    }
}

template <class T, int kChannels>
void launch(const Gpu& gpu, const ImageBatch<T>& op) {
    const bool wide = op.out_w % kPixels<T, kChannels> == 0 && aligned(op.y);
    simt::launch(image_batch<T, kChannels>, frame_grid<T, kChannels>(op.out_h, op.out_w, op.n), frame_block(), 0,
                 stream_of(gpu), op, wide);
}

template <class T, int kChannels>
void launch(const Gpu& gpu, const CameraBatch<T>& op) {
    if (op.top + op.inner_h > op.out_h || op.left + op.inner_w > op.out_w || !op.inner_h || !op.inner_w)
        throw std::invalid_argument("camera batch: the image does not fit into its frame");
    if (op.filter != Filter::antialias) {
        const bool wide = op.out_w % kPixels<T, kChannels> == 0 && aligned(op.y);
        simt::launch(camera_taps<T, kChannels>, frame_grid<T, kChannels>(op.out_h, op.out_w, 1), frame_block(), 0,
                     stream_of(gpu), op, wide);
        return;
    }
    const double scale = double(op.w) / double(op.inner_w), support = std::max(scale, 1.0);
    const size_t strip_w = std::min(op.w, size_t((kTileW - 1) * scale + 2 * support) + 3);
    const size_t row_bytes = strip_w * sizeof(uchar4) + kTileW * 3 * sizeof(float);
    if (row_bytes > kMaxStripBytes)
        throw std::length_error("camera batch: images are reduced to a thousandth of their width at most");
    const size_t rows = std::clamp<size_t>(kStripBytes / row_bytes, 1, kMaxStripRows);
    simt::launch(camera_antialias<T, kChannels>, dim3(ceil_div(op.out_w, kTileW), ceil_div(op.out_h, kTileH)),
                 dim3(kTileW * kTileH), rows * row_bytes, stream_of(gpu), op, int(rows), int(strip_w), aligned(op.y));
}

template <class Op>
void launch_channels(const Gpu& gpu, const Op& op) {
    switch (op.out_c) {
        case 3: return launch<std::remove_pointer_t<decltype(op.y)>, 3>(gpu, op);
        case 4: return launch<std::remove_pointer_t<decltype(op.y)>, 4>(gpu, op);
        case 8: return launch<std::remove_pointer_t<decltype(op.y)>, 8>(gpu, op);
        default: throw std::invalid_argument("images have 3, 4 or 8 channels on a GPU");
    }
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const ImageBatch<T>& op) {
    launch_channels(gpu, op);
}
template <class T>
void compute(const Gpu& gpu, const CameraBatch<T>& op) {
    launch_channels(gpu, op);
}
template void compute(const Gpu&, const ImageBatch<float>&);
template void compute(const Gpu&, const ImageBatch<bf16>&);
template void compute(const Gpu&, const ImageBatch<fp16>&);
template void compute(const Gpu&, const CameraBatch<float>&);
template void compute(const Gpu&, const CameraBatch<bf16>&);
template void compute(const Gpu&, const CameraBatch<fp16>&);
