// Reads files, chooses the decoder, turns pixels upright.
#include "data/image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "data/jpeg_reader.h"
#include "data/optional_readers.h"
#include "data/stb_reader.h"

namespace {

struct Signature {
    size_t at;
    std::string_view bytes;
    const char* name;
};
constexpr Signature kUnsupported[] = {
    {0, "GIF8", "GIF"},
    {0, std::string_view("II*\0", 4), "TIFF or raw"},
    {0, std::string_view("MM\0*", 4), "TIFF or raw"},
    {8, "WEBP", "WebP"},
    {4, "ftypavi", "AVIF"},
    {4, "ftyphei", "HEIC"},
    {4, "ftyphev", "HEIC"},
    {4, "ftypmif1", "HEIF"},
    {4, "ftypmsf1", "HEIF"},
    {0, "8BPS", "Photoshop"},
    {0, std::string_view("\0\0\0\x0cjP  ", 8), "JPEG 2000"},
    {4, "ftyp", "MP4 video"},
    {8, "AVI ", "AVI video"},
    {0, "%PDF", "PDF"},
    {0, "\xff\x0a", "JPEG XL"},
};

const char* unsupported_kind(Bytes file) {
    const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    for (const Signature& signature : kUnsupported)
        if (text.size() > signature.at && text.substr(signature.at).starts_with(signature.bytes)) return signature.name;
    return nullptr;
}

Exif no_exif(Bytes) { return {}; }

struct Reader {
    bool (*reads)(Bytes file);
    Decoded (*decode)(Bytes file, const DecodeOptions& options);
    Exif (*exif)(Bytes file);
};
constexpr Reader kReaders[] = {
    {is_jpeg, decode_jpeg, read_exif}, {is_png, decode_png_or_bmp, png_exif}, {is_bmp, decode_png_or_bmp, no_exif},
#ifdef TUNDRA_TIFF
    {is_tiff, decode_tiff, tiff_exif},
#endif
#ifdef TUNDRA_WEBP
    {is_webp, decode_webp, webp_exif},
#endif
#ifdef TUNDRA_GIF
    {is_gif, decode_gif, no_exif},
#endif
#ifdef TUNDRA_HEIF
    {is_heif, decode_heif, heif_exif},
#endif
};

const Reader* reader_of(Bytes file) {
    const Reader* found = std::ranges::find_if(kReaders, [&](const Reader& reader) { return reader.reads(file); });
    return found == std::end(kReaders) ? nullptr : found;
}

Decoded refuse(DecodeStatus trouble, std::string text) {
    return {.image = {}, .trouble = trouble, .text = std::move(text)};
}

}  // namespace

const char* trouble_code(DecodeStatus trouble) {
    switch (trouble) {
        case DecodeStatus::none: return "";
        case DecodeStatus::missing: return "missing";
        case DecodeStatus::unreadable: return "unreadable";
        case DecodeStatus::empty_file: return "empty_file";
        case DecodeStatus::not_an_image: return "not_a_picture";
        case DecodeStatus::unsupported: return "unsupported";
        case DecodeStatus::too_large: return "too_large";
        case DecodeStatus::truncated: return "truncated";
        case DecodeStatus::corrupt: return "corrupt";
        case DecodeStatus::out_of_memory: return "out_of_memory";
    }
    return "";
}

ImageFile read_image_file(const std::string& path, size_t max_bytes) {
    // O_NONBLOCK: a named pipe must not hang the run.
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return {{},
                errno == ENOENT || errno == ENOTDIR ? DecodeStatus::missing : DecodeStatus::unreadable,
                std::strerror(errno)};
    struct Closer {
        int file;
        ~Closer() { close(file); }
    } closer{file};
    struct stat status;
    if (fstat(file, &status) != 0) return {{}, DecodeStatus::unreadable, std::strerror(errno)};
    if (S_ISDIR(status.st_mode)) return {{}, DecodeStatus::unreadable, "a directory"};
    if (!S_ISREG(status.st_mode)) return {{}, DecodeStatus::unreadable, "not a regular file"};
    if (status.st_size == 0) return {{}, DecodeStatus::empty_file, "the file has no bytes"};
    const auto size = size_t(status.st_size);
    if (size > max_bytes)
        return {{}, DecodeStatus::too_large, fmt::format("{} bytes; at most {} are read", size, max_bytes)};
    ImageFile result;
    try {
        result.bytes.resize(size);
    } catch (const std::bad_alloc&) {
        return {{}, DecodeStatus::out_of_memory, fmt::format("no memory for {} bytes", size)};
    }
    size_t done = 0;
    while (done < size) {
        const ssize_t got = read(file, result.bytes.data() + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return {{}, DecodeStatus::unreadable, std::strerror(errno)};
        if (got == 0) break;  // the file shrank meanwhile
        done += size_t(got);
    }
    result.bytes.resize(done);
    if (done == 0) return {{}, DecodeStatus::empty_file, "the file has no bytes"};
    return result;
}

Decoded decode_image(Bytes file, const DecodeOptions& options) {
    try {
        if (file.empty()) return refuse(DecodeStatus::empty_file, "the file has no bytes");
        const Reader* reader = reader_of(file);
        if (const char* kind = reader ? nullptr : unsupported_kind(file))
            return refuse(DecodeStatus::unsupported,
                          fmt::format("{} is not supported; convert it to JPEG or PNG", kind));
        if (!reader) return refuse(DecodeStatus::not_an_image, "not the start of an image format");
        Decoded result = reader->decode(file, options);
        if (result.trouble != DecodeStatus::none && !options.accept_damaged) result.image = {};
        return result;
    } catch (const std::bad_alloc&) {
        return refuse(DecodeStatus::out_of_memory, "no memory for the image");
    }
}

Decoded read_image(const std::string& path, const DecodeOptions& options) {
    const ImageFile file = read_image_file(path, options.max_file_bytes);
    if (file.trouble != DecodeStatus::none) return refuse(file.trouble, file.text);
    return decode_image(file.bytes, options);
}

Exif exif_of(Bytes file) try {
    const Reader* reader = reader_of(file);
    return reader ? reader->exif(file) : Exif{};
} catch (const std::bad_alloc&) {
    return {};
}

Exif exif_of_file(Bytes start, const std::string& path) {
    const Reader* reader = reader_of(start);
    if (!reader || reader->exif == no_exif) return {};
    if (reader->decode == decode_jpeg || reader->decode == decode_png_or_bmp) return reader->exif(start);
    return exif_of(read_image_file(path, DecodeOptions{}.max_file_bytes).bytes);
}

#ifndef TUNDRA_TIFF
#define TUNDRA_TIFF ""
#endif
#ifndef TUNDRA_WEBP
#define TUNDRA_WEBP ""
#endif
#ifndef TUNDRA_GIF
#define TUNDRA_GIF ""
#endif
#ifndef TUNDRA_HEIF_VERSION
#define TUNDRA_HEIF_VERSION ""
#endif

std::vector<FormatLibrary> format_libraries() {
    return {{"TIFF", "libtiff", TUNDRA_TIFF},
            {"WebP", "libwebp", TUNDRA_WEBP},
            {"GIF", "giflib", TUNDRA_GIF},
            {"HEIC and AVIF", "libheif", TUNDRA_HEIF_VERSION}};
}

Image turned(Image image, int orientation) {
    if (orientation <= 1 || orientation > 8) return image;
    const size_t h = image.h, w = image.w;
    const bool transposed = orientation >= 5;
    // Step in the source for one pixel to the right and one row down in the result, from the corner that comes first.
    const ptrdiff_t right = 3, down = ptrdiff_t(w) * 3;
    const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const ptrdiff_t along_x = from_right ? -right : right, along_y = from_bottom ? -down : down;
    const ptrdiff_t corner = (from_right ? ptrdiff_t(w - 1) * right : 0) + (from_bottom ? ptrdiff_t(h - 1) * down : 0);
    const ptrdiff_t step_j = transposed ? along_y : along_x, step_i = transposed ? along_x : along_y;

    Image result{.h = transposed ? w : h, .w = transposed ? h : w, .rgb = {}};
    result.rgb.resize(image.rgb.size());
    uint8_t* out = result.rgb.data();
    for (size_t i = 0; i < result.h; ++i) {
        const uint8_t* in = image.rgb.data() + corner + ptrdiff_t(i) * step_i;
        for (size_t j = 0; j < result.w; ++j, in += step_j, out += 3) std::memcpy(out, in, 3);
    }
    return result;
}
