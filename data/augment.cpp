// The draws behind order and augmentation, and the matrices that they become.
#include "data/augment.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "data/random.h"

namespace {

// Streams of draws that share a seed; the numbers are part of what makes a run repeatable.
constexpr uint64_t kOrderStream = 0x6f72646572, kAugmentStream = 0x6175676d;

struct Affine {  // (x, y) -> (xx x + xy y + x0, yx x + yy y + y0); x to the right, y down, from the centre, side = 1
    double xx = 1, xy = 0, x0 = 0, yx = 0, yy = 1, y0 = 0;
};

Affine operator*(const Affine& p, const Affine& q) {  // first q, then p
    return {p.xx * q.xx + p.xy * q.yx, p.xx * q.xy + p.xy * q.yy, p.xx * q.x0 + p.xy * q.y0 + p.x0,
            p.yx * q.xx + p.yy * q.yx, p.yx * q.xy + p.yy * q.yy, p.yx * q.x0 + p.yy * q.y0 + p.y0};
}

Affine flipped(bool flip) { return {.xx = flip ? -1.0 : 1.0}; }
double radians(double degrees) { return degrees * std::numbers::pi / 180; }

// In pixel coordinates of kernels/image.h, where a square of side n has its centre at n / 2.
std::array<float, 6> in_pixels(const Affine& m, size_t in_size, size_t out_size) {
    const double in = double(in_size), scale = in / double(out_size), half = double(out_size) / 2;
    const double a = m.xx * scale, b = m.xy * scale, d = m.yx * scale, e = m.yy * scale;
    return {float(a), float(b), float(m.x0 * in + in / 2 - (a + b) * half),
            float(d), float(e), float(m.y0 * in + in / 2 - (d + e) * half)};
}

Affine standard_affine(Draws& draw) {
    const bool flip = draw.below(2);
    const double scale = draw.between(0.9, 1.1), angle = radians(draw.between(-5, 5));
    const double x = draw.between(-0.05, 0.05), y = draw.between(-0.05, 0.05);
    const double c = scale * std::cos(angle), s = scale * std::sin(angle);
    return Affine{c, -s, x, s, c, y} * flipped(flip);
}

// Keras writes its matrices for (row, column); here the same maps for (x, y) = (column, row). The picture is flipped
// after it was moved, so the flip is what a pixel of the result meets first.
Affine keras_affine(Draws& draw) {
    const double theta = radians(draw.between(-40, 40)), down = draw.between(-0.2, 0.2), right = draw.between(-0.2, 0.2);
    const double shear = radians(draw.between(-0.2, 0.2)), zoom_y = draw.between(0.8, 1.2), zoom_x = draw.between(0.8, 1.2);
    const bool flip = draw.below(2);
    const Affine rotation{std::cos(theta), std::sin(theta), 0, -std::sin(theta), std::cos(theta), 0};
    const Affine shift{.x0 = right, .y0 = down};
    const Affine sheared{std::cos(shear), 0, 0, -std::sin(shear), 1, 0};
    const Affine zoom{.xx = zoom_x, .yy = zoom_y};
    return rotation * shift * sheared * zoom * flipped(flip);
}

}  // namespace

Augmentation augmentation(Recipe recipe, const AugmentKey& key, size_t in_size, size_t out_size) {
    Draws draw(key.seed ^ kAugmentStream, key.epoch, key.sample);
    switch (recipe) {
        case Recipe::none: break;
        case Recipe::keras: return {in_pixels(keras_affine(draw), in_size, out_size), {1, 0}};
        case Recipe::standard: {
            const Affine affine = standard_affine(draw);
            const double contrast = draw.between(0.8, 1.2), brightness = draw.between(-20, 20);
            // contrast about the middle of the range
            return {in_pixels(affine, in_size, out_size), {float(contrast), float(128 * (1 - contrast) + brightness)}};
        }
    }
    return {in_pixels({}, in_size, out_size), {1, 0}};
}

std::vector<uint32_t> order(uint64_t seed, uint64_t epoch, size_t n) {
    std::vector<uint32_t> result(n);
    std::iota(result.begin(), result.end(), 0u);
    Draws draw(seed ^ kOrderStream, epoch);
    for (size_t i = n; i > 1; --i) std::swap(result[i - 1], result[draw.below(i)]);
    return result;
}
