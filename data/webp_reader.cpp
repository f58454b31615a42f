// WebP through libwebp, from memory.
#include "data/optional_readers.h"

#ifdef TUNDRA_WEBP
#include <fmt/format.h>
#include <webp/decode.h>

#include <cstring>

namespace {

// The content of a RIFF chunk; empty if it is missing.
Bytes chunk_of(Bytes file, const char* name) {
    for (size_t at = 12; at + 8 <= file.size();) {
        const uint8_t* size = file.data() + at + 4;
        const size_t length = size[0] | size_t(size[1]) << 8 | size_t(size[2]) << 16 | size_t(size[3]) << 24;
        if (length > file.size() - at - 8) return {};
        if (std::memcmp(file.data() + at, name, 4) == 0) return file.subspan(at + 8, length);
        at += 8 + length + length % 2;
    }
    return {};
}

}  // namespace

Exif webp_exif(Bytes file) { return read_exif_block(chunk_of(file, "EXIF")); }

bool is_webp(Bytes file) {
    return file.size() >= 12 && std::memcmp(file.data(), "RIFF", 4) == 0 &&
           std::memcmp(file.data() + 8, "WEBP", 4) == 0;
}

Decoded decode_webp(Bytes file, const DecodeOptions& options) {
    Decoded result;
    const auto refuse = [&](DecodeStatus trouble, std::string text) {
        result.trouble = trouble;
        result.text = std::move(text);
        return result;
    };
    const auto trouble_of = [](VP8StatusCode code) {
        return code == VP8_STATUS_NOT_ENOUGH_DATA ? DecodeStatus::truncated : DecodeStatus::corrupt;
    };
    WebPBitstreamFeatures features;
    if (const VP8StatusCode code = WebPGetFeatures(file.data(), file.size(), &features); code != VP8_STATUS_OK)
        return refuse(trouble_of(code), "damaged header");
    if (features.has_animation)
        return refuse(DecodeStatus::unsupported, "animated WebP is not supported; convert it to JPEG or PNG");
    const auto h = size_t(features.height), w = size_t(features.width);
    if (h * w > options.max_pixels)
        return refuse(DecodeStatus::too_large,
                      fmt::format("{} x {} pixels; at most {} are decoded", w, h, options.max_pixels));
    const int orientation = options.orient ? webp_exif(file).orientation : 1;
    result.full_h = orientation >= 5 ? w : h;
    result.full_w = orientation >= 5 ? h : w;
    if (options.size_only) return result;
    Image image{.h = h, .w = w, .rgb = std::vector<uint8_t>(h * w * 3)};
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) return refuse(DecodeStatus::unsupported, "incompatible version of libwebp");
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = {.rgba = image.rgb.data(), .stride = int(w * 3), .size = image.rgb.size()};
    const VP8StatusCode code = WebPDecode(file.data(), file.size(), &config);
    if (code == VP8_STATUS_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code != VP8_STATUS_OK)
        return refuse(trouble_of(code), code == VP8_STATUS_NOT_ENOUGH_DATA ? "ends too early" : "damaged data");
    result.image = turned(std::move(image), orientation);
    return result;
}
#endif
