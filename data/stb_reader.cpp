// PNG and BMP through stb_image, from memory, with a budget on what it may allocate.
//
// stb_image checks neither PNG checksums nor a complete end, and inflates as much as the file says: so the chunks are
// walked first (length, CRC-32, IEND), and an allocation beyond what the header's size explains fails.
#include "data/stb_reader.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace {

thread_local size_t allocation_limit = 0;  // bytes of one allocation of stb_image, set before each call

void* bounded_realloc(void* memory, size_t bytes) {
    return bytes > allocation_limit ? nullptr : std::realloc(memory, bytes);
}

}  // namespace

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS 65536
#define STBI_MALLOC(bytes) bounded_realloc(nullptr, bytes)
#define STBI_REALLOC(memory, bytes) bounded_realloc(memory, bytes)
#define STBI_FREE(memory) std::free(memory)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb_image.h>
#pragma GCC diagnostic pop

namespace {

uint32_t big_endian(const uint8_t* at) {
    return uint32_t(at[0]) << 24 | uint32_t(at[1]) << 16 | uint32_t(at[2]) << 8 | at[3];
}

struct Damage {
    DecodeStatus trouble = DecodeStatus::none;
    std::string text;
};

// Source: PNG specification (W3C), chunk layout and CRC.
Damage check_png(Bytes file) {
    size_t at = 8;
    while (at + 12 <= file.size()) {
        const size_t length = big_endian(file.data() + at);
        const std::string_view type(reinterpret_cast<const char*>(file.data() + at + 4), 4);
        if (length > file.size() - at - 12) return {DecodeStatus::truncated, "a chunk ends beyond the end of the file"};
        const uint8_t* checked = file.data() + at + 4;
        if (crc32_z(0, checked, length + 4) != big_endian(checked + length + 4))
            return {DecodeStatus::corrupt, fmt::format("wrong checksum of the chunk at byte {}", at)};
        if (type == "IEND") return {};
        at += 12 + length;
    }
    return {DecodeStatus::truncated, "no end chunk"};
}

// The kind of a valid BMP that stb_image does not read; empty if it is not one of these. Source: Microsoft,
// BITMAPINFOHEADER and its compression; OS/2's headers have 16 or 64 bytes.
std::string rare_bmp(Bytes file) {
    if (!is_bmp(file) || file.size() < 34) return "";
    const unsigned header = file[14], compression = file[30];
    if (header == 16 || header == 64) return "a BMP of OS/2";
    if (header < 40) return "";
    switch (compression) {
        case 1:
        case 2: return "a BMP with run-length encoding (RLE)";
        case 4: return "a BMP with a JPEG inside";
        case 5: return "a BMP with a PNG inside";
        default: return "";
    }
}

}  // namespace

bool is_png(Bytes file) { return file.size() >= 8 && std::memcmp(file.data(), "\x89PNG\r\n\x1a\n", 8) == 0; }
bool is_bmp(Bytes file) {  // two letters are a weak signature: the four reserved bytes behind the size are zero too
    return file.size() >= 10 && file[0] == 'B' && file[1] == 'M' && big_endian(file.data() + 6) == 0;
}

Exif png_exif(Bytes file) {
    for (size_t at = 8; at + 12 <= file.size();) {
        const size_t length = big_endian(file.data() + at);
        const std::string_view type(reinterpret_cast<const char*>(file.data() + at + 4), 4);
        if (length > file.size() - at - 12 || type == "IDAT") break;
        if (type == "eXIf") return read_exif_block(file.subspan(at + 8, length));
        at += 12 + length;
    }
    return {};
}

Decoded decode_png_or_bmp(Bytes file, const DecodeOptions& options) {
    Decoded result;
    auto refuse = [&](DecodeStatus trouble, std::string text) {
        result.trouble = trouble;
        result.text = std::move(text);
        return result;
    };
    allocation_limit = file.size() + 65536;
    int w = 0, h = 0, channels = 0;
    const int size = int(file.size());  // below 2^31: max_file_bytes is checked by read_image_file and here
    if (file.size() > options.max_file_bytes || file.size() > 0x7fffffff)
        return refuse(DecodeStatus::too_large, fmt::format("{} bytes", file.size()));
    // stbi_info does not say why it fails; a PNG's size is read here first, so that a bomb is named as one.
    if (is_png(file) && file.size() >= 24) {
        const size_t claimed_w = big_endian(file.data() + 16), claimed_h = big_endian(file.data() + 20);
        if (claimed_w > 0xffff || claimed_h > 0xffff || claimed_w * claimed_h > options.max_pixels)
            return refuse(DecodeStatus::too_large, fmt::format("{} x {} pixels; at most {} are decoded", claimed_w,
                                                               claimed_h, options.max_pixels));
    }
    if (const std::string kind = rare_bmp(file); !kind.empty())
        return refuse(DecodeStatus::unsupported, kind + " is not supported; convert it to JPEG or PNG");
    if (!stbi_info_from_memory(file.data(), size, &w, &h, &channels))
        return refuse(DecodeStatus::corrupt, "damaged header");
    h = h == INT_MIN ? 0 : std::abs(h);  // a BMP from top to bottom has a negative height
    if (w < 1 || h < 1) return refuse(DecodeStatus::corrupt, fmt::format("claims {} x {} pixels", w, h));
    const int orientation = options.orient && is_png(file) ? png_exif(file).orientation : 1;
    result.full_h = size_t(orientation >= 5 ? w : h);
    result.full_w = size_t(orientation >= 5 ? h : w);
    const size_t pixels = size_t(w) * size_t(h);
    if (pixels > options.max_pixels)
        return refuse(DecodeStatus::too_large,
                      fmt::format("{} x {} pixels; at most {} are decoded", w, h, options.max_pixels));
    if (options.size_only) return result;
    const Damage damage = is_png(file) ? check_png(file) : Damage{};
    if (damage.trouble != DecodeStatus::none) return refuse(damage.trouble, damage.text);

    if (is_bmp(file) && file.size() >= 30 && file[14] >= 40) {  // the header of 1987 has its fields elsewhere
        const size_t bits = file[28], needed = (size_t(w) * bits + 31) / 32 * 4 * size_t(h);
        if (file.size() < needed + 54) {
            result.trouble = DecodeStatus::truncated;
            result.text = fmt::format("{} of {} bytes", file.size(), needed + 54);
        }
    }

    // stb_image doubles a buffer that the rows of an interlaced file outgrow; the result may have four channels.
    const size_t bytes = size_t(channels) * (stbi_is_16_bit_from_memory(file.data(), size) ? 2 : 1);
    allocation_limit = pixels * std::max<size_t>(8, 2 * bytes) + size_t(h) * 32 + 2 * file.size() + 65536;
    const std::unique_ptr<stbi_uc, decltype(&std::free)> rgb(
        stbi_load_from_memory(file.data(), size, &w, &h, &channels, 3), &std::free);
    if (!rgb) {
        const std::string reason = stbi_failure_reason();
        if (reason.find("outofmem") != std::string::npos)
            return refuse(DecodeStatus::too_large, "unpacks to more than its size explains");
        return refuse(DecodeStatus::corrupt, reason);
    }
    result.image = turned({.h = size_t(h), .w = size_t(w), .rgb = {rgb.get(), rgb.get() + pixels * 3}}, orientation);
    return result;
}
