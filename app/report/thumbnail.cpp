// Decoding, shrinking and encoding one thumbnail.
#include "app/report/thumbnail.h"

#include <algorithm>
#include <cmath>

#include "data/image.h"
#include "data/jpeg_writer.h"
#include "data/resize.h"

namespace {

// The frame two pixels wide, within the image.
void draw(std::vector<uint8_t>& rgb, size_t h, size_t w, const ThumbnailBox& box) {
    constexpr ptrdiff_t kDash = 6;
    const auto at = [](double share, size_t side) {
        return std::clamp<ptrdiff_t>(ptrdiff_t(std::lround(share * double(side))), 0, ptrdiff_t(side) - 1);
    };
    const ptrdiff_t x1 = at(box.x, w), x2 = at(box.x + box.w, w), y1 = at(box.y, h), y2 = at(box.y + box.h, h);
    for (ptrdiff_t y = y1; y <= y2; ++y)
        for (ptrdiff_t x = x1; x <= x2; ++x) {
            const bool edge = std::min({x - x1, x2 - x, y - y1, y2 - y}) < 2, gap = box.dashed && (x + y) / kDash % 2;
            if (edge && !gap) std::copy_n(box.rgb.data(), 3, &rgb[(size_t(y) * w + size_t(x)) * 3]);
        }
}

}  // namespace

std::string base64(const unsigned char* bytes, size_t count) {
    constexpr char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    out.reserve((count + 2) / 3 * 4);
    for (size_t i = 0; i < count; i += 3) {
        const unsigned group =
            bytes[i] << 16 | (i + 1 < count ? bytes[i + 1] << 8 : 0) | (i + 2 < count ? bytes[i + 2] : 0);
        for (size_t k = 0; k < 4; ++k) out += i + k <= count ? letters[group >> (18 - 6 * k) & 63] : '=';
    }
    return out;
}

SmallJpeg make_small_jpeg(const std::string& path, size_t side, const std::vector<ThumbnailBox>& boxes) {
    const Decoded decoded = read_image(path, {.enough_h = 2 * side, .enough_w = 2 * side});
    SmallJpeg out{.bytes = {}, .w = 0, .h = 0, .trouble = decoded.text};
    if (!decoded.usable()) return out;
    const Image& image = decoded.image;
    const double ratio = std::min(1.0, double(side) / double(std::max(image.h, image.w)));
    out.h = std::max<size_t>(1, size_t(std::lround(ratio * double(image.h))));
    out.w = std::max<size_t>(1, size_t(std::lround(ratio * double(image.w))));
    std::vector<uint8_t> small(out.h * out.w * 3);
    resize(Resize{.h = image.h,
                  .w = image.w,
                  .out_h = out.h,
                  .out_w = out.w,
                  .filter = Filter::antialias,
                  .x = image.rgb.data(),
                  .y = small.data()});
    for (const ThumbnailBox& box : boxes) draw(small, out.h, out.w, box);
    out.bytes = encode_jpeg(small.data(), out.h, out.w, {.quality = 80});
    return out;
}

Thumbnail make_thumbnail(const std::string& path, size_t side, const std::vector<ThumbnailBox>& boxes) {
    const SmallJpeg jpeg = make_small_jpeg(path, side, boxes);
    Thumbnail out{.data_url = "", .w = jpeg.w, .h = jpeg.h, .trouble = jpeg.trouble};
    if (!jpeg.bytes.empty()) out.data_url = "data:image/jpeg;base64," + base64(jpeg.bytes.data(), jpeg.bytes.size());
    return out;
}
