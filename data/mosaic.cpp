#include "data/mosaic.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace {

constexpr uint64_t kComposeStream = 0x6d6f73616963;
constexpr float kMinSide = 2, kMinLeft = 0.2f;

struct Axis {  // u = scale * x + offset
    double scale = 1, offset = 0;
};

Axis mirrored(const Axis& axis, double low, double high) { return {-axis.scale, low + high - axis.offset}; }

size_t pixel(double at, size_t side) { return size_t(std::clamp(std::nearbyint(at), 0.0, double(side))); }

}  // namespace

Letterbox place_in_frame(const Sample& sample, const Fit& fit) {
    const bool known = sample.h && sample.w;
    return letterbox(
        {.h = known ? sample.h : fit.h(), .w = known ? sample.w : fit.w(), .out_h = fit.h(), .out_w = fit.w()});
}

Composition compose(const BoxAugment& augment, const AugmentKey& key, const Dataset& data,
                    std::span<const uint32_t> samples, const Fit& fit) {
    const size_t h = fit.h(), w = fit.w();
    Draws draw(key.seed ^ kComposeStream, key.epoch, key.sample);
    const double scale = draw.between(1 - augment.zoom, 1 + augment.zoom);
    const double right = draw.between(-augment.shift, augment.shift) * double(w),
                 down = draw.between(-augment.shift, augment.shift) * double(h);
    const double contrast = draw.between(1 - augment.contrast, 1 + augment.contrast),
                 light = draw.between(1 - augment.brightness, 1 + augment.brightness);
    Composition result{.tiles = {}, .color = {float(contrast * light), float(128 * (1 - contrast) * light)}};
    const auto flipped = [&] { return draw.uniform() < augment.flip; };
    const auto add = [&](uint32_t sample, const Letterbox& place, Axis x, const Axis& y, std::array<size_t, 4> part) {
        if (flipped()) x = mirrored(x, double(place.left), double(place.left + place.inner_w));
        if (part[0] < part[2] && part[1] < part[3])
            result.tiles.push_back({sample, part[0], part[1], part[2], part[3], float(x.scale), float(x.offset),
                                    float(y.scale), float(y.offset)});
    };
    const bool mosaic = draw.uniform() < augment.mosaic && key.epoch < augment.mosaic_epochs;
    const double middle_x = double(w) / 2, middle_y = double(h) / 2;
    if (!mosaic) {
        const Axis x{1 / scale, middle_x - (middle_x + right) / scale},
            y{1 / scale, middle_y - (middle_y + down) / scale};
        add(uint32_t(key.sample), place_in_frame(data.samples[key.sample], fit), x, y, {0, 0, w, h});
        return result;
    }
    // Frame pixel x shows the canvas at (x - middle - shift) / scale + w; the four images meet at c.
    const double centre_x = draw.between(0.5, 1.5) * double(w), centre_y = draw.between(0.5, 1.5) * double(h);
    const size_t split_x = pixel((centre_x - double(w)) * scale + middle_x + right, w),
                 split_y = pixel((centre_y - double(h)) * scale + middle_y + down, h);
    for (size_t tile = 0; tile < 4; ++tile) {
        const uint32_t sample = tile == 0 ? uint32_t(key.sample) : samples[draw.below(samples.size())];
        const Letterbox place = place_in_frame(data.samples[sample], fit);
        const bool is_right = tile % 2, is_low = tile / 2;
        Axis x{1 / scale, double(w) - (middle_x + right) / scale - centre_x + double(place.left)};
        Axis y{1 / scale, double(h) - (middle_y + down) / scale - centre_y + double(place.top)};
        if (!is_right) x.offset += double(place.inner_w);
        if (!is_low) y.offset += double(place.inner_h);
        add(sample, place, x, y,
            {is_right ? split_x : 0, is_low ? split_y : 0, is_right ? w : split_x, is_low ? h : split_y});
    }
    return result;
}

Paste paste_of(const Tile& tile, const Letterbox& place, const Fit& fit, const uint8_t* x, uint8_t* y) {
    return {.h = fit.h(),
            .w = fit.w(),
            .area_top = place.top,
            .area_left = place.left,
            .area_bottom = place.top + place.inner_h,
            .area_right = place.left + place.inner_w,
            .out_h = fit.h(),
            .out_w = fit.w(),
            .top = tile.top,
            .left = tile.left,
            .bottom = tile.bottom,
            .right = tile.right,
            .a = tile.a,
            .c = tile.c,
            .e = tile.e,
            .f = tile.f,
            .x = x,
            .y = y};
}

void append_boxes(const Tile& tile, const Sample& sample, const Fit& fit, std::vector<std::array<float, 5>>& boxes) {
    const Letterbox place = place_in_frame(sample, fit);
    const auto span = [](float from, float length, float a, float c) {
        const float p = (from - c) / a, q = (from + length - c) / a;
        return std::array{std::min(p, q), std::max(p, q)};
    };
    for (const TrueBox& box : sample.boxes) {
        const auto x =
            span(float(place.left) + box.x * float(place.inner_w), box.w * float(place.inner_w), tile.a, tile.c);
        const auto y =
            span(float(place.top) + box.y * float(place.inner_h), box.h * float(place.inner_h), tile.e, tile.f);
        const float x1 = std::max(x[0], float(tile.left)), x2 = std::min(x[1], float(tile.right));
        const float y1 = std::max(y[0], float(tile.top)), y2 = std::min(y[1], float(tile.bottom));
        if (x2 - x1 < kMinSide || y2 - y1 < kMinSide) continue;
        if ((x2 - x1) * (y2 - y1) < kMinLeft * (x[1] - x[0]) * (y[1] - y[0])) continue;
        boxes.push_back({float(box.category), (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1});
    }
}
