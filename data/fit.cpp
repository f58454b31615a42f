// Geometry of the fit; resize() moves the pixels.
#include "data/fit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace {

void resize_image(const Image& image, size_t h, size_t w, Filter filter, uint8_t* rgb) {
    if (image.h == h && image.w == w) {
        std::memcpy(rgb, image.rgb.data(), image.rgb.size());
        return;
    }
    resize(
        Resize{.h = image.h, .w = image.w, .out_h = h, .out_w = w, .filter = filter, .x = image.rgb.data(), .y = rgb});
}

// Scaling a sliver by its shorter side would make gigabytes, so its middle is cropped first.
Image middle_of_sliver(const Image& image) {
    const size_t longest = 16 * std::min(image.h, image.w), h = std::min(image.h, longest),
                 w = std::min(image.w, longest);
    const size_t top = (image.h - h) / 2, left = (image.w - w) / 2;
    Image middle{.h = h, .w = w, .rgb = std::vector<uint8_t>(h * w * 3)};
    for (size_t i = 0; i < h; ++i)
        std::memcpy(&middle.rgb[i * w * 3], &image.rgb[((top + i) * image.w + left) * 3], w * 3);
    return middle;
}

}  // namespace

size_t shorter_side(const Fit& fit) {
    return fit.shorter ? fit.shorter : size_t(std::lround(double(fit.size) * 256 / 224));
}

void letterbox_image(const Image& image, const Letterbox& box, Filter filter, uint8_t* rgb) {
    constexpr uint8_t kGrey = 114;
    std::vector<uint8_t> inner;
    const bool same = image.h == box.inner_h && image.w == box.inner_w;
    if (!same) {
        inner.resize(box.inner_h * box.inner_w * 3);
        resize_image(image, box.inner_h, box.inner_w, filter, inner.data());
    }
    const uint8_t* from = same ? image.rgb.data() : inner.data();
    std::fill_n(rgb, box.out_h * box.out_w * 3, kGrey);
    for (size_t y = 0; y < box.inner_h; ++y)
        std::copy_n(from + y * box.inner_w * 3, box.inner_w * 3, rgb + ((box.top + y) * box.out_w + box.left) * 3);
}

void fit_image(const Image& image, const Fit& fit, uint8_t* rgb) {
    if (fit.mode == FitMode::letterbox)
        return letterbox_image(image, letterbox({.h = image.h, .w = image.w, .out_h = fit.h(), .out_w = fit.w()}),
                               fit.filter, rgb);
    if (fit.mode == FitMode::stretch) return resize_image(image, fit.size, fit.size, fit.filter, rgb);
    if (std::max(image.h, image.w) > 16 * std::min(image.h, image.w))
        return fit_image(middle_of_sliver(image), fit, rgb);
    const size_t shorter = std::max(shorter_side(fit), fit.size), small = std::min(image.h, image.w);
    const size_t h = shorter * image.h / small, w = shorter * image.w / small;
    std::vector<uint8_t> whole(h * w * 3);
    resize_image(image, h, w, fit.filter, whole.data());
    const auto top = size_t(std::nearbyint(double(h - fit.size) / 2)),
               left = size_t(std::nearbyint(double(w - fit.size) / 2));
    for (size_t i = 0; i < fit.size; ++i)
        std::memcpy(rgb + i * fit.size * 3, whole.data() + ((top + i) * w + left) * 3, fit.size * 3);
}

DecodeOptions options_for(const Fit& fit, DecodeOptions options) {
    const size_t wanted =
        fit.mode == FitMode::crop ? std::max(shorter_side(fit), fit.size) : std::max(fit.h(), fit.w());
    options.enough_h = options.enough_w = fit.filter == Filter::antialias ? 2 * wanted : 0;
    return options;
}
