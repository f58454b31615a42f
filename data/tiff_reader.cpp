// TIFF through libtiff, from memory.
#include "data/optional_readers.h"

#ifdef TUNDRA_TIFF
#include <fmt/format.h>
#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>

namespace {

constexpr uint32_t kDngVersion = 50706;
constexpr size_t kMaxBytesPerPixel = 32;  // four channels of 64 bits

thread_local std::string first_error;  // of libtiff, whose handler is one for all threads

void keep_error(const char*, const char* format, va_list values) {
    char text[200];
    std::vsnprintf(text, sizeof text, format, values);
    if (first_error.empty()) first_error = text;
}

struct Memory {
    Bytes file;
    size_t at = 0;
};

tmsize_t read_bytes(thandle_t handle, void* out, tmsize_t wanted) {
    Memory& memory = *static_cast<Memory*>(handle);
    const size_t count = std::min(size_t(wanted), memory.file.size() - std::min(memory.at, memory.file.size()));
    if (count) std::memcpy(out, memory.file.data() + memory.at, count);
    memory.at += count;
    return tmsize_t(count);
}
tmsize_t write_bytes(thandle_t, void*, tmsize_t) { return 0; }
toff_t seek(thandle_t handle, toff_t offset, int whence) {
    Memory& memory = *static_cast<Memory*>(handle);
    const size_t start = whence == SEEK_CUR ? memory.at : whence == SEEK_END ? memory.file.size() : 0;
    return memory.at = start + offset;
}
int close_nothing(thandle_t) { return 0; }
toff_t size_of(thandle_t handle) { return static_cast<Memory*>(handle)->file.size(); }

using Tiff = std::unique_ptr<TIFF, decltype(&TIFFClose)>;

Tiff open_tiff(Memory& memory) {
    static const bool quiet = (TIFFSetErrorHandler(keep_error), TIFFSetWarningHandler(nullptr), true);
    (void)quiet;
    first_error.clear();
    // m: no memory mapping
    return {
        TIFFClientOpen("image", "rm", &memory, read_bytes, write_bytes, seek, close_nothing, size_of, nullptr, nullptr),
        &TIFFClose};
}

std::string text_of(TIFF* tiff, uint32_t tag) {
    const char* text = nullptr;
    return TIFFGetField(tiff, tag, &text) && text ? exif_text(text) : "";
}

template <class Value>
Value tag_of(TIFF* tiff, uint32_t tag, Value otherwise) {
    Value value = otherwise;
    return TIFFGetFieldDefaulted(tiff, tag, &value) ? value : otherwise;
}

// Raw files are also TIFF, and begin with a small preview.
bool is_raw(TIFF* tiff, Bytes file) {
    uint32_t count = 0;
    const uint8_t* version = nullptr;
    return (file.size() > 10 && file[8] == 'C' && file[9] == 'R') ||
           (tag_of<uint32_t>(tiff, TIFFTAG_SUBFILETYPE, 0) & FILETYPE_REDUCEDIMAGE) ||
           TIFFGetField(tiff, kDngVersion, &count, &version);
}

// As it is stored; orientation comes later.
void read_pixels(TIFF* tiff, Decoded& result, size_t h, size_t w) {
    char reason[1024] = "";
    TIFFRGBAImage image;
    if (!TIFFRGBAImageOK(tiff, reason) || !TIFFRGBAImageBegin(&image, tiff, 0, reason)) {
        result.trouble = DecodeStatus::unsupported;
        result.text = std::string("a rare kind of TIFF: ") + reason;
        return;
    }
    image.orientation = image.req_orientation = ORIENTATION_TOPLEFT;
    std::vector<uint32_t> pixels(h * w);
    TIFFRGBAImageGet(&image, pixels.data(), uint32_t(w), uint32_t(h));
    TIFFRGBAImageEnd(&image);
    if (!first_error.empty()) {
        const bool short_file = first_error.find("Read error") != std::string::npos;
        result.trouble = short_file ? DecodeStatus::truncated : DecodeStatus::corrupt;
        result.text = first_error;
    }
    result.image = {.h = h, .w = w, .rgb = std::vector<uint8_t>(h * w * 3)};
    for (size_t i = 0; i < pixels.size(); ++i)
        for (size_t c = 0; c < 3; ++c) result.image.rgb[i * 3 + c] = uint8_t(pixels[i] >> 8 * c);
}

}  // namespace

Exif tiff_exif(Bytes file) {
    Memory memory{.file = file};
    const Tiff tiff = open_tiff(memory);
    if (!tiff) return {};
    Exif exif{.make = text_of(tiff.get(), TIFFTAG_MAKE), .model = text_of(tiff.get(), TIFFTAG_MODEL)};
    std::vector<std::string> dates{text_of(tiff.get(), TIFFTAG_DATETIME)};
    if (const int orientation = tag_of<uint16_t>(tiff.get(), TIFFTAG_ORIENTATION, 1); orientation <= 8)
        exif.orientation = std::max(1, orientation);
    if (toff_t at = 0; TIFFGetField(tiff.get(), TIFFTAG_EXIFIFD, &at) && TIFFReadEXIFDirectory(tiff.get(), at)) {
        dates.insert(dates.begin(),
                     {text_of(tiff.get(), EXIFTAG_DATETIMEORIGINAL), text_of(tiff.get(), EXIFTAG_DATETIMEDIGITIZED)});
#ifdef EXIFTAG_BODYSERIALNUMBER
        exif.serial = text_of(tiff.get(), EXIFTAG_BODYSERIALNUMBER);
#endif
    }
    exif.date = first_date(dates);
    return exif;
}

bool is_tiff(Bytes file) {
    if (file.size() < 8) return false;
    for (const char* start : {"II*\0", "MM\0*", "II+\0", "MM\0+"})
        if (std::memcmp(file.data(), start, 4) == 0) return true;
    return false;
}

Decoded decode_tiff(Bytes file, const DecodeOptions& options) {
    Decoded result;
    const auto refuse = [&](DecodeStatus trouble, std::string text) {
        result.trouble = trouble;
        result.text = std::move(text);
        return result;
    };
    Memory memory{.file = file};
    const Tiff tiff = open_tiff(memory);
    if (!tiff) return refuse(DecodeStatus::corrupt, first_error);
    if (is_raw(tiff.get(), file))
        return refuse(DecodeStatus::unsupported, "raw images are not supported; convert them to JPEG or PNG");
    const size_t w = tag_of<uint32_t>(tiff.get(), TIFFTAG_IMAGEWIDTH, 0);
    const size_t h = tag_of<uint32_t>(tiff.get(), TIFFTAG_IMAGELENGTH, 0);
    if (!w || !h) return refuse(DecodeStatus::corrupt, first_error.empty() ? "contains no image" : first_error);
    const size_t in_memory =
        std::max<uint64_t>(TIFFIsTiled(tiff.get()) ? TIFFTileSize64(tiff.get()) : TIFFStripSize64(tiff.get()),
                           TIFFScanlineSize64(tiff.get()));
    if (h > options.max_pixels / w || in_memory / kMaxBytesPerPixel > options.max_pixels)
        return refuse(DecodeStatus::too_large,
                      fmt::format("{} x {} pixels; at most {} are decoded", w, h, options.max_pixels));
    const int orientation = options.orient ? tag_of<uint16_t>(tiff.get(), TIFFTAG_ORIENTATION, 1) : 1;
    const bool sideways = orientation >= 5 && orientation <= 8;
    result.full_h = sideways ? w : h;
    result.full_w = sideways ? h : w;
    if (options.size_only) return result;
    read_pixels(tiff.get(), result, h, w);
    result.image = turned(std::move(result.image), orientation);
    return result;
}
#endif
