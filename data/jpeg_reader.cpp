// JPEG through TurboJPEG. Its version 2.1 has no pixel limit, so ours is checked between header and allocation.
#include "data/jpeg_reader.h"

#include <fmt/format.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "data/exif.h"

namespace {

using Handle = std::unique_ptr<void, decltype(&tjDestroy)>;

// LIMITSCANS: thousands of empty progressive scans in a small file are a time bomb; 500 are accepted.
constexpr int kFlags = TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS;

struct Header {
    int w = 0, h = 0, subsampling = 0, colours = 0;
    DecodeStatus trouble = DecodeStatus::none;
    std::string text;
};

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

DecodeStatus trouble_of(const std::string& text) {  // of TurboJPEG
    if (contains(text, "Premature end")) return DecodeStatus::truncated;
    if (contains(text, "nsupported") || contains(text, "not supported")) return DecodeStatus::unsupported;
    return DecodeStatus::corrupt;
}

Header read_header(void* handle, Bytes file, const DecodeOptions& options) {
    Header header;
    if (ends_before_scan(file)) {
        header.trouble = DecodeStatus::truncated;
        header.text = "ends before the image begins";
        return header;
    }
    const int status = tjDecompressHeader3(handle, file.data(), file.size(), &header.w, &header.h, &header.subsampling,
                                           &header.colours);
    if (status != 0 && (tjGetErrorCode(handle) == TJERR_FATAL || header.w < 1 || header.h < 1)) {
        header.text = tjGetErrorStr2(handle);
        header.trouble = trouble_of(header.text);
        return header;
    }
    const size_t pixels = size_t(header.w) * size_t(header.h);
    if (header.w < 1 || header.h < 1) {
        header.trouble = DecodeStatus::corrupt;
        header.text = "no image in it";
    } else if (pixels > options.max_pixels) {
        header.trouble = DecodeStatus::too_large;
        header.text = fmt::format("{} x {} pixels; at most {} are decoded", header.w, header.h, options.max_pixels);
    }
    return header;
}

// The strongest reduction that still leaves `enough` on both sides.
tjscalingfactor scale_for(size_t h, size_t w, size_t enough_h, size_t enough_w) {
    if (enough_h == 0 || enough_w == 0) return {1, 1};
    for (const int d : {8, 4, 2})
        if ((h + d - 1) / d >= enough_h && (w + d - 1) / d >= enough_w) return {1, d};
    return {1, 1};
}

// 255 means no ink.
std::vector<uint8_t> rgb_of_cmyk(const std::vector<uint8_t>& cmyk) {
    std::vector<uint8_t> rgb(cmyk.size() / 4 * 3);
    for (size_t i = 0; i < rgb.size() / 3; ++i)
        for (size_t c = 0; c < 3; ++c) rgb[i * 3 + c] = uint8_t((cmyk[i * 4 + c] * cmyk[i * 4 + 3] + 127) / 255);
    return rgb;
}

}  // namespace

bool is_jpeg(Bytes file) { return file.size() >= 3 && file[0] == 0xff && file[1] == 0xd8 && file[2] == 0xff; }

Decoded decode_jpeg(Bytes file, const DecodeOptions& options) {
    const Handle handle(tjInitDecompress(), &tjDestroy);
    if (!handle) throw std::bad_alloc();
    const Header header = read_header(handle.get(), file, options);
    Decoded result{.image = {}, .trouble = header.trouble, .text = header.text};
    const int orientation = options.orient ? read_exif(file).orientation : 1;
    const bool sideways = orientation >= 5;
    result.full_h = size_t(sideways ? header.w : header.h);
    result.full_w = size_t(sideways ? header.h : header.w);
    if (header.trouble != DecodeStatus::none || options.size_only) return result;

    const tjscalingfactor scale = scale_for(result.full_h, result.full_w, options.enough_h, options.enough_w);
    const int w = TJSCALED(header.w, scale), h = TJSCALED(header.h, scale);
    const bool cmyk = header.colours == TJCS_CMYK || header.colours == TJCS_YCCK;
    std::vector<uint8_t> pixels(size_t(w) * size_t(h) * (cmyk ? 4 : 3), 128);
    if (tjDecompress2(handle.get(), file.data(), file.size(), pixels.data(), w, 0, h, cmyk ? TJPF_CMYK : TJPF_RGB,
                      kFlags) != 0) {
        result.text = tjGetErrorStr2(handle.get());
        result.trouble = trouble_of(result.text);
        if (tjGetErrorCode(handle.get()) == TJERR_FATAL) return result;
    }
    if (cmyk) pixels = rgb_of_cmyk(pixels);
    result.image = turned({.h = size_t(h), .w = size_t(w), .rgb = std::move(pixels)}, orientation);
    return result;
}

Planes decode_planes(Bytes file, const DecodeOptions& options, std::pmr::memory_resource& memory) {
    const Handle handle(tjInitDecompress(), &tjDestroy);
    if (!handle || !is_jpeg(file)) return {};
    const Header header = read_header(handle.get(), file, options);
    if (header.trouble != DecodeStatus::none || header.subsampling != TJSAMP_420 || header.colours != TJCS_YCbCr ||
        header.w <= 4)
        return {};
    if (options.orient && read_exif(file).orientation != 1) return {};

    Planes planes{.h = size_t(header.h), .w = size_t(header.w), .bytes = std::pmr::vector<uint8_t>(&memory)};
    const size_t chroma = (planes.w + 1) / 2 * ((planes.h + 1) / 2);
    try {
        planes.bytes.resize((6 * chroma + 63) / 64 * 64);
    } catch (const std::bad_alloc&) {
        return {};
    }
    unsigned char* const luma = planes.bytes.data();
    unsigned char* where[3] = {luma, luma + 4 * chroma, luma + 5 * chroma};
    if (tjDecompressToYUVPlanes(handle.get(), file.data(), file.size(), where, header.w, nullptr, header.h, kFlags) !=
        0)
        return {};
    return planes;
}
