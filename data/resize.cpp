// Resizing with OpenCV's and Pillow's integers.
#include "data/resize.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

Letterbox letterbox(const LetterboxRequest& want) {
    double ratio = std::min(double(want.out_h) / double(want.h), double(want.out_w) / double(want.w));
    if (!want.enlarge) ratio = std::min(ratio, 1.0);
    Letterbox box;
    box.ratio = ratio;
    // A sliver of an image still gets one pixel.
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

uint8_t clamp_byte(int v) { return uint8_t(v < 0 ? 0 : v > 255 ? 255 : v); }

// ---- two taps
void resize_linear(const Resize& op) {
    const double scale_x = double(op.w) / double(op.out_w), scale_y = double(op.h) / double(op.out_h);
    std::vector<LinearTap> columns(op.out_w);
    for (size_t x = 0; x < op.out_w; ++x) {
        columns[x] = linear_tap(int(x), int(op.w), scale_x);
        columns[x].first *= 3, columns[x].second *= 3;
    }
    const size_t width = op.out_w * 3;
    std::vector<int> sums(2 * width);  // two rows of x, narrowed: y at y mod 2
    int held[2] = {-1, -1};
    const auto summed = [&](int y) {
        int* sum = sums.data() + size_t(y & 1) * width;
        if (held[y & 1] == y) return sum;
        held[y & 1] = y;
        const uint8_t* row = op.x + size_t(y) * op.w * 3;
        for (size_t x = 0; x < op.out_w; ++x) {
            const LinearTap& tap = columns[x];
            for (int c = 0; c < 3; ++c)
                sum[3 * x + size_t(c)] =
                    row[tap.first + c] * tap.weight_first + row[tap.second + c] * tap.weight_second;
        }
        return sum;
    };
    for (size_t i = 0; i < op.out_h; ++i) {
        const LinearTap tap = linear_tap(int(i), int(op.h), scale_y);
        const int *above = summed(tap.first), *below = summed(tap.second);
        uint8_t* const out = op.y + i * width;
        for (size_t x = 0; x < width; ++x) out[x] = uint8_t(linear_blend(above[x], below[x], tap));
    }
}

// ---- triangle filter, as Pillow: weights in 2^-22, each pass rounded to 8 bits
struct Taps {
    size_t max_count = 0;  // of one output pixel
    std::vector<int> first, count, weight;
};

Taps antialias_taps(size_t size, size_t out) {
    const double scale = double(size) / double(out);
    Taps taps;
    taps.max_count = size_t(std::ceil(std::max(scale, 1.0))) * 2 + 1;
    taps.first.resize(out), taps.count.resize(out), taps.weight.resize(out * taps.max_count);
    std::vector<double> weight(taps.max_count);
    for (size_t i = 0; i < out; ++i) {
        const TriangleTap tap = triangle_tap(int(i), int(size), scale);
        double total = 0;
        for (int k = tap.first; k < tap.end; ++k)
            total += weight[size_t(k - tap.first)] = std::max(0.0, 1 - std::abs((k - tap.centre + 0.5) / tap.support));
        for (int k = 0; k < tap.end - tap.first; ++k)
            taps.weight[i * taps.max_count + size_t(k)] = int(0.5 + weight[size_t(k)] / total * (1 << 22));
        taps.first[i] = tap.first, taps.count[i] = tap.end - tap.first;
    }
    return taps;
}

void resize_antialias(const Resize& op) {
    const Taps columns = antialias_taps(op.w, op.out_w), rows = antialias_taps(op.h, op.out_h);
    const size_t width = op.out_w * 3;
    std::vector<int> sum(width);
    std::vector<uint8_t> ring(rows.max_count * width);  // row y of x, narrowed, at y mod max_count
    const auto narrow = [&](int y) {
        const uint8_t* row = op.x + size_t(y) * op.w * 3;
        uint8_t* to = ring.data() + size_t(y) % rows.max_count * width;
        for (size_t x = 0; x < op.out_w; ++x) {
            const int* weight = &columns.weight[x * columns.max_count];
            const uint8_t* p = row + 3 * columns.first[x];
            int r = 1 << 21, g = r, b = r;
            for (int k = 0; k < columns.count[x]; ++k)
                r += p[3 * k] * weight[k], g += p[3 * k + 1] * weight[k], b += p[3 * k + 2] * weight[k];
            to[3 * x] = clamp_byte(r >> 22);
            to[3 * x + 1] = clamp_byte(g >> 22);
            to[3 * x + 2] = clamp_byte(b >> 22);
        }
    };
    int next = rows.first[0];
    for (size_t i = 0; i < op.out_h; ++i) {
        for (const int last = rows.first[i] + rows.count[i]; next < last; ++next) narrow(next);
        std::ranges::fill(sum, 1 << 21);
        for (int k = 0; k < rows.count[i]; ++k) {
            const int weight = rows.weight[i * rows.max_count + size_t(k)];
            const uint8_t* from = ring.data() + size_t(rows.first[i] + k) % rows.max_count * width;
            for (size_t x = 0; x < width; ++x) sum[x] += from[x] * weight;
        }
        uint8_t* const out = op.y + i * width;
        for (size_t x = 0; x < width; ++x) out[x] = clamp_byte(sum[x] >> 22);
    }
}

void resize_nearest(const Resize& op) {
    for (size_t i = 0; i < op.out_h; ++i) {
        const uint8_t* row = op.x + nearest_sample(i, op.h, op.out_h) * op.w * 3;
        uint8_t* const out = op.y + i * op.out_w * 3;
        for (size_t x = 0; x < op.out_w; ++x)
            for (size_t c = 0; c < 3; ++c) out[3 * x + c] = row[nearest_sample(x, op.w, op.out_w) * 3 + c];
    }
}

}  // namespace

void resize(const Resize& op) {
    if (!op.h || !op.w || !op.out_h || !op.out_w) throw std::invalid_argument("resize: a side is 0 pixels long");
    switch (op.filter) {
        case Filter::antialias: return resize_antialias(op);
        case Filter::linear: return resize_linear(op);
        case Filter::nearest: return resize_nearest(op);
    }
}
