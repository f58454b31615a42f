// Random draws for order and augmentation, and their matrices.
#include "data/augment.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "base/random.h"

namespace {

// Streams of draws that share a seed; the numbers must not change, or runs are not repeatable.
constexpr uint64_t kOrderStream = 0x6f72646572, kAugmentStream = 0x6175676d;

struct Affine {  // (x, y) -> (xx x + xy y + x0, yx x + yy y + y0); x to the right, y down, from the centre, side = 1
    double xx = 1, xy = 0, x0 = 0, yx = 0, yy = 1, y0 = 0;
};

Affine operator*(const Affine& p, const Affine& q) {  // first q, then p
    return {p.xx * q.xx + p.xy * q.yx, p.xx * q.xy + p.xy * q.yy, p.xx * q.x0 + p.xy * q.y0 + p.x0,
            p.yx * q.xx + p.yy * q.yx, p.yx * q.xy + p.yy * q.yy, p.yx * q.x0 + p.yy * q.y0 + p.y0};
}

double radians(double degrees) { return degrees * std::numbers::pi / 180; }

// In pixel coordinates of kernels/image.h, where a square of side n has its centre at n / 2.
std::array<float, 6> in_pixels(const Affine& m, size_t in_size, size_t out_size) {
    const double in = double(in_size), scale = in / double(out_size), half = double(out_size) / 2;
    const double a = m.xx * scale, b = m.xy * scale, d = m.yx * scale, e = m.yy * scale;
    return {float(a), float(b), float(m.x0 * in + in / 2 - (a + b) * half),
            float(d), float(e), float(m.y0 * in + in / 2 - (d + e) * half)};
}

// Keras' matrices are for (row, column); these are the same maps for (x, y) = (column, row). The image is flipped after
// it is moved, so the flip is applied to a pixel of the result first.
Affine affine(const AugmentRanges& r, Draws& draw) {
    const auto factor = [&](double x) { return draw.between(1 - x, 1 + x); };
    const double theta = radians(draw.between(-r.rotate, r.rotate)), shear = radians(draw.between(-r.shear, r.shear));
    const double down = draw.between(-r.shift, r.shift), right = draw.between(-r.shift, r.shift);
    const double zoom_y = factor(r.zoom), zoom_x = factor(r.zoom);
    const double area = draw.between(r.crop, 1), ratio = std::sqrt(std::exp(draw.between(-1, 1) * std::log(4.0 / 3)));
    const double crop_x = r.crop < 1 ? std::min(1.0, std::sqrt(area) * ratio) : 1;
    const double crop_y = r.crop < 1 ? std::min(1.0, std::sqrt(area) / ratio) : 1;
    const double crop_right = draw.between(-1, 1) * (1 - crop_x) / 2,
                 crop_down = draw.between(-1, 1) * (1 - crop_y) / 2;
    const bool flip = draw.between(0, 1) < r.flip;

    const Affine rotation{std::cos(theta), std::sin(theta), 0, -std::sin(theta), std::cos(theta), 0};
    const Affine shift{.x0 = right, .y0 = down};
    const Affine sheared{std::cos(shear), 0, 0, -std::sin(shear), 1, 0};
    const Affine zoom{.xx = zoom_x, .yy = zoom_y};
    const Affine crop{.xx = crop_x, .x0 = crop_right, .yy = crop_y, .y0 = crop_down};
    return rotation * shift * sheared * zoom * crop * Affine{.xx = flip ? -1.0 : 1.0};
}

}  // namespace

Augmentation augmentation(const AugmentRanges& ranges, const AugmentKey& key, size_t in_size, size_t out_size) {
    if (ranges == AugmentRanges{}) return {in_pixels({}, in_size, out_size), {1, 0}};
    Draws draw(key.seed ^ kAugmentStream, key.epoch, key.sample);
    const Affine map = affine(ranges, draw);
    const double contrast = draw.between(1 - ranges.contrast, 1 + ranges.contrast);
    const double light = draw.between(1 - ranges.brightness, 1 + ranges.brightness);
    return {in_pixels(map, in_size, out_size), {float(contrast * light), float(128 * (1 - contrast) * light)}};
}

std::vector<uint32_t> order(uint64_t seed, uint64_t epoch, size_t n) {
    std::vector<uint32_t> result(n);
    std::iota(result.begin(), result.end(), 0u);
    Draws draw(seed ^ kOrderStream, epoch);
    for (size_t i = n; i > 1; --i) std::swap(result[i - 1], result[draw.below(i)]);
    return result;
}
