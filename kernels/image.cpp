// Pictures on the CPU: augmentation, resize with OpenCV's and Pillow's integers, JPEG planes to a network's input.
//
// Memory: a call allocates tap tables and a few picture rows per thread, never a picture.
#include "kernels/image.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels/image_math.h"

Letterbox letterbox(const LetterboxRequest& want) {
    double ratio = std::min(double(want.out_h) / double(want.h), double(want.out_w) / double(want.w));
    if (!want.enlarge) ratio = std::min(ratio, 1.0);
    Letterbox box;
    box.ratio = ratio;
    // A sliver of a picture still gets one pixel.
    box.inner_h = std::max<size_t>(1, size_t(std::nearbyint(double(want.h) * ratio)));
    box.inner_w = std::max<size_t>(1, size_t(std::nearbyint(double(want.w) * ratio)));
    const auto pad = [&](size_t out, size_t inner, size_t& before) {
        size_t total = out > inner ? out - inner : 0;
        if (want.stride) total %= want.stride;
        before = size_t(std::nearbyint(std::max(0.0, double(total) / 2 - 0.1)));
        return inner + before + size_t(std::nearbyint(double(total) / 2 + 0.1));
    };
    box.out_h = pad(want.out_h, box.inner_h, box.top);
    box.out_w = pad(want.out_w, box.inner_w, box.left);
    return box;
}

namespace {

// ---- where rows come from, where they go
struct RgbRows {
    const uint8_t* rgb;
    size_t w;
    size_t buffer_bytes() const { return 0; }
    const uint8_t* row(size_t i, uint8_t*) const { return rgb + i * w * 3; }
};

struct PlanarRows {
    const uint8_t *luma, *cb, *cr;
    size_t h, w;
    size_t chroma_w() const { return (w + 1) / 2; }
    size_t buffer_bytes() const { return w * 3 + (chroma_w() + 2) * sizeof(int16_t) + 4 * chroma_w(); }

    // Straight loops over whole rows: the compiler makes vectors of them.
    const uint8_t* row(size_t i, uint8_t* buffer) const {
        const size_t cw = chroma_w();
        const ChromaTap tap = chroma_tap(int(i), int((h + 1) / 2));
        int16_t* const sum = reinterpret_cast<int16_t*>(buffer) + 1;     // a sample on both sides repeats the edge
        uint8_t* const upsampled = buffer + (cw + 2) * sizeof(int16_t);  // cb, then cr, 2 * cw each
        for (size_t plane = 0; plane < 2; ++plane) {
            const uint8_t* near = (plane ? cr : cb) + size_t(tap.near) * cw;
            const uint8_t* far = (plane ? cr : cb) + size_t(tap.far) * cw;
            uint8_t* const to = upsampled + plane * 2 * cw;
            for (size_t x = 0; x < cw; ++x) sum[x] = int16_t(3 * near[x] + far[x]);
            sum[-1] = sum[0], sum[cw] = sum[cw - 1];
            for (ptrdiff_t x = 0; x < ptrdiff_t(cw); ++x) {
                to[2 * x] = uint8_t(chroma_value(sum[x], sum[x - 1], 0));
                to[2 * x + 1] = uint8_t(chroma_value(sum[x], sum[x + 1], 1));
            }
        }
        uint8_t* const out = upsampled + 4 * cw;
        const uint8_t *y = luma + i * w, *blue = upsampled, *red = upsampled + 2 * cw;
#pragma omp simd
        for (size_t x = 0; x < w; ++x) {
            const Rgb p = ycbcr_to_rgb(y[x], blue[x], red[x]);
            out[3 * x] = uint8_t(p.r), out[3 * x + 1] = uint8_t(p.g), out[3 * x + 2] = uint8_t(p.b);
        }
        return out;
    }
};

struct Size {
    size_t h, w, out_h, out_w;
};

// Runs body(thread, first row, last row + 1) on contiguous bands of rows.
template <class Body>
void over_bands(int threads, size_t rows, const Body& body) {
    const int bands = int(std::clamp<size_t>(size_t(std::max(threads, 1)), 1, std::max<size_t>(rows, 1)));
#pragma omp parallel for num_threads(bands) schedule(static, 1) if (bands > 1)
    for (int band = 0; band < bands; ++band)
        body(size_t(band), rows * size_t(band) / size_t(bands), rows * size_t(band + 1) / size_t(bands));
}

// ---- two taps
template <class Rows, class Sink>
void resize_linear(const Cpu& cpu, const Size& size, const Rows& source, const Sink& sink) {
    const double scale_x = double(size.w) / double(size.out_w), scale_y = double(size.h) / double(size.out_h);
    std::vector<LinearTap> columns(size.out_w);
    for (size_t x = 0; x < size.out_w; ++x) {
        columns[x] = linear_tap(int(x), int(size.w), scale_x);
        columns[x].first *= 3, columns[x].second *= 3;
    }
    const size_t width = size.out_w * 3, threads = size_t(std::max(cpu.threads, 1));
    const size_t thread_bytes = (2 * width * sizeof(int) + source.buffer_bytes() + width + 63) / 64 * 64;
    std::vector<uint8_t> memory(threads * thread_bytes);
    over_bands(cpu.threads, size.out_h, [&](size_t thread, size_t begin, size_t end) {
        int* const sums = reinterpret_cast<int*>(memory.data() + thread * thread_bytes);  // two rows, by parity
        uint8_t* const buffer = reinterpret_cast<uint8_t*>(sums + 2 * width);
        uint8_t* const out = buffer + source.buffer_bytes();
        int held[2] = {-1, -1};
        const auto summed = [&](int y) {
            int* sum = sums + size_t(y & 1) * width;
            if (held[y & 1] == y) return sum;
            held[y & 1] = y;
            const uint8_t* row = source.row(size_t(y), buffer);
            for (size_t x = 0; x < size.out_w; ++x) {
                const LinearTap& tap = columns[x];
                for (int c = 0; c < 3; ++c)
                    sum[3 * x + size_t(c)] =
                        row[tap.first + c] * tap.weight_first + row[tap.second + c] * tap.weight_second;
            }
            return sum;
        };
        for (size_t i = begin; i < end; ++i) {
            const LinearTap tap = linear_tap(int(i), int(size.h), scale_y);
            const int *above = summed(tap.first), *below = summed(tap.second);
            for (size_t x = 0; x < width; ++x) out[x] = uint8_t(linear_blend(above[x], below[x], tap));
            sink(i, out);
        }
    });
}

// ---- triangle filter, as Pillow: weights in 2^-22, each pass rounded to 8 bits
struct Taps {
    size_t most = 0;  // taps of one output pixel
    std::vector<int> first, count, weight;
};

Taps antialias_taps(size_t size, size_t out) {
    const double scale = double(size) / double(out);
    Taps taps;
    taps.most = size_t(std::ceil(std::max(scale, 1.0))) * 2 + 1;
    taps.first.resize(out), taps.count.resize(out), taps.weight.resize(out * taps.most);
    std::vector<double> weight(taps.most);
    for (size_t i = 0; i < out; ++i) {
        const TriangleTap tap = triangle_tap(int(i), int(size), scale);
        double total = 0;
        for (int k = tap.first; k < tap.end; ++k)
            total += weight[size_t(k - tap.first)] = std::max(0.0, 1 - std::abs((k - tap.centre + 0.5) / tap.support));
        for (int k = 0; k < tap.end - tap.first; ++k)
            taps.weight[i * taps.most + size_t(k)] = int(0.5 + weight[size_t(k)] / total * (1 << 22));
        taps.first[i] = tap.first, taps.count[i] = tap.end - tap.first;
    }
    return taps;
}

template <class Rows, class Sink>
void resize_antialias(const Cpu& cpu, const Size& size, const Rows& source, const Sink& sink) {
    const Taps columns = antialias_taps(size.w, size.out_w), rows = antialias_taps(size.h, size.out_h);
    const size_t width = size.out_w * 3, threads = size_t(std::max(cpu.threads, 1));
    const size_t thread_bytes = (width * sizeof(int) + source.buffer_bytes() + (rows.most + 1) * width + 63) / 64 * 64;
    std::vector<uint8_t> memory(threads * thread_bytes);
    over_bands(cpu.threads, size.out_h, [&](size_t thread, size_t begin, size_t end) {
        int* const sum = reinterpret_cast<int*>(memory.data() + thread * thread_bytes);
        uint8_t* const buffer = reinterpret_cast<uint8_t*>(sum + width);
        uint8_t* const ring = buffer + source.buffer_bytes();  // source row y, narrowed, at y mod rows.most
        uint8_t* const out = ring + rows.most * width;
        const auto narrow = [&](int y) {
            const uint8_t* row = source.row(size_t(y), buffer);
            uint8_t* to = ring + size_t(y) % rows.most * width;
            for (size_t x = 0; x < size.out_w; ++x) {
                const int* weight = &columns.weight[x * columns.most];
                const uint8_t* p = row + 3 * columns.first[x];
                int r = 1 << 21, g = r, b = r;
                for (int k = 0; k < columns.count[x]; ++k)
                    r += p[3 * k] * weight[k], g += p[3 * k + 1] * weight[k], b += p[3 * k + 2] * weight[k];
                to[3 * x] = uint8_t(clamp_byte(r >> 22));
                to[3 * x + 1] = uint8_t(clamp_byte(g >> 22));
                to[3 * x + 2] = uint8_t(clamp_byte(b >> 22));
            }
        };
        int next = begin < end ? rows.first[begin] : 0;
        for (size_t i = begin; i < end; ++i) {
            for (const int last = rows.first[i] + rows.count[i]; next < last; ++next) narrow(next);
            std::fill_n(sum, width, 1 << 21);
            for (int k = 0; k < rows.count[i]; ++k) {
                const int weight = rows.weight[i * rows.most + size_t(k)];
                const uint8_t* from = ring + size_t(rows.first[i] + k) % rows.most * width;
                for (size_t x = 0; x < width; ++x) sum[x] += from[x] * weight;
            }
            for (size_t x = 0; x < width; ++x) out[x] = uint8_t(clamp_byte(sum[x] >> 22));
            sink(i, out);
        }
    });
}

template <class Rows, class Sink>
void resize_nearest(const Cpu& cpu, const Size& size, const Rows& source, const Sink& sink) {
    const size_t width = size.out_w * 3, threads = size_t(std::max(cpu.threads, 1));
    const size_t thread_bytes = (source.buffer_bytes() + width + 63) / 64 * 64;
    std::vector<uint8_t> memory(threads * thread_bytes);
    over_bands(cpu.threads, size.out_h, [&](size_t thread, size_t begin, size_t end) {
        uint8_t* const buffer = memory.data() + thread * thread_bytes;
        uint8_t* const out = buffer + source.buffer_bytes();
        for (size_t i = begin; i < end; ++i) {
            const uint8_t* row = source.row(nearest(i, size.h, size.out_h), buffer);
            for (size_t x = 0; x < size.out_w; ++x)
                for (size_t c = 0; c < 3; ++c) out[3 * x + c] = row[nearest(x, size.w, size.out_w) * 3 + c];
            sink(i, out);
        }
    });
}

template <class Rows, class Sink>
void resize(const Cpu& cpu, const Size& size, Filter filter, const Rows& source, const Sink& sink) {
    if (!size.h || !size.w || !size.out_h || !size.out_w)
        throw std::invalid_argument("resize: a side is 0 pixels long");
    switch (filter) {
        case Filter::antialias:
            return resize_antialias(cpu, size, source, sink);
        case Filter::linear:
            return resize_linear(cpu, size, source, sink);
        case Filter::nearest:
            return resize_nearest(cpu, size, source, sink);
    }
}

void normalize_row(const uint8_t* rgb, size_t count, const Normalize& normalize, size_t out_c, float* y) {
    for (size_t x = 0; x < count; ++x, y += out_c) {
        for (size_t c = 0; c < 3; ++c) y[c] = float(rgb[3 * x + c]) * normalize.scale[c] + normalize.shift[c];
        for (size_t c = 3; c < out_c; ++c) y[c] = 0;
    }
}

template <class Rows>
void camera_batch(const Cpu& cpu, const CameraBatch<float>& op, const Rows& source) {
    float* const y = op.y + op.index * op.out_h * op.out_w * op.out_c;
    const auto grey = [&](size_t row, size_t begin, size_t end) {
        for (size_t x = begin; x < end; ++x) {
            float* p = y + (row * op.out_w + x) * op.out_c;
            for (size_t c = 0; c < op.out_c; ++c)
                p[c] = c < 3 ? op.grey * op.normalize.scale[c] + op.normalize.shift[c] : 0;
        }
    };
    for (size_t row = 0; row < op.out_h; ++row)
        if (row < op.top || row >= op.top + op.inner_h) grey(row, 0, op.out_w);
    const Size size{op.h, op.w, op.inner_h, op.inner_w};
    resize(cpu, size, op.filter, source, [&](size_t i, const uint8_t* rgb) {
        const size_t row = op.top + i;
        grey(row, 0, op.left);
        normalize_row(rgb, op.inner_w, op.normalize, op.out_c, y + (row * op.out_w + op.left) * op.out_c);
        grey(row, op.left + op.inner_w, op.out_w);
    });
}

}  // namespace

void compute(const Cpu& cpu, const Resize& op) {
    resize(cpu, {op.h, op.w, op.out_h, op.out_w}, op.filter, RgbRows{op.x, op.w},
           [&](size_t i, const uint8_t* row) { std::copy_n(row, op.out_w * 3, op.y + i * op.out_w * 3); });
}

void compute(const Cpu& cpu, const CameraBatch<float>& op) {
    if (op.top + op.inner_h > op.out_h || op.left + op.inner_w > op.out_w || op.out_c < 3)
        throw std::invalid_argument("camera batch: the picture does not fit into its frame");
    if (op.rgb)
        camera_batch(cpu, op, RgbRows{op.rgb, op.w});
    else
        camera_batch(cpu, op, PlanarRows{op.luma, op.cb, op.cr, op.h, op.w});
}

void compute(const Cpu& cpu, const ImageBatch<float>& op) {
    const ptrdiff_t rows = ptrdiff_t(op.n * op.out_h);
#pragma omp parallel for num_threads(std::max(cpu.threads, 1)) schedule(static) if (cpu.threads > 1)
    for (ptrdiff_t row = 0; row < rows; ++row) {
        const size_t picture = size_t(row) / op.out_h, i = size_t(row) % op.out_h;
        const uint8_t* const pixels = op.pictures + picture * op.h * op.w * 3;
        const float gain = op.color[2 * picture], offset = op.color[2 * picture + 1];
        float* y = op.y + size_t(row) * op.out_w * op.out_c;
        const size_t inner_w = op.inner_h == 0 ? op.out_w : i < op.inner_h ? op.inner_w : 0;
        for (size_t j = inner_w; j < op.out_w; ++j)
            for (size_t c = 0; c < op.out_c; ++c)
                y[j * op.out_c + c] = c < 3 ? op.grey * op.normalize.scale[c] + op.normalize.shift[c] : 0;
        for (size_t j = 0; j < inner_w; ++j, y += op.out_c) {
            const AffineTap tap = affine_tap(op.transform + 6 * picture, int(i), int(j), int(op.h), int(op.w));
            const uint8_t *p00 = pixels + (size_t(tap.top) * op.w + size_t(tap.left)) * 3,
                          *p01 = pixels + (size_t(tap.top) * op.w + size_t(tap.right)) * 3,
                          *p10 = pixels + (size_t(tap.bottom) * op.w + size_t(tap.left)) * 3,
                          *p11 = pixels + (size_t(tap.bottom) * op.w + size_t(tap.right)) * 3;
            for (size_t c = 0; c < 3; ++c)
                y[c] = colored(bilinear(p00[c], p01[c], p10[c], p11[c], tap), gain, offset) * op.normalize.scale[c] +
                       op.normalize.shift[c];
            for (size_t c = 3; c < op.out_c; ++c) y[c] = 0;
        }
    }
}
