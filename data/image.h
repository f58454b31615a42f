// Decodes an image file to upright 8-bit RGB, or reports why not. A bad file never throws and never crashes.
//
// JPEG: libjpeg-turbo, accurate DCT, smooth chroma upsampling; also grey, CMYK and YCCK.
// JPEG with four inks: 255 means no ink, as Adobe stores it, whether or not the file says so: Pillow, OpenCV and
// browsers read them this way. PNG and BMP: stb_image; palettes and grey become RGB, 16 bits are cut to the upper 8,
// alpha is dropped. TIFF, WebP, GIF, and HEIC and AVIF, the first page or frame: libtiff, libwebp, giflib and libheif,
// if the build has them. Anything else (video, raw, ...) is refused by name.
#pragma once

#include <cstddef>
#include <memory_resource>
#include <string>
#include <vector>

#include "data/exif.h"
#include "data/jpeg_segments.h"

struct Image {
    size_t h = 0, w = 0;
    std::vector<uint8_t> rgb = {};  // (h, w, 3)
};

enum class DecodeStatus {
    none,
    missing,       // no such file
    unreadable,    // a directory, no permission, a disk error
    empty_file,    // zero bytes
    not_an_image,  // no known signature
    unsupported,   // an image format that is not supported
    too_large,     // more bytes or pixels than the limits
    truncated,     // the file ends too early; what is there may be decoded
    corrupt,       // damaged inside; what is sound may be decoded
    out_of_memory
};

// The stable name in files: "empty_file", ...; "" for none.
const char* trouble_code(DecodeStatus trouble);

struct DecodeOptions {
    size_t max_file_bytes = 256u << 20;
    size_t max_pixels = 100'000'000;  // checked before allocation; peak memory is 3 bytes per pixel, 6 if it is turned
    bool orient = true;               // apply the EXIF orientation, all eight
    bool accept_damaged = true;       // decode truncated and corrupt images as far as possible, and report the trouble
    // An image of at least this size (after turning) suffices: a JPEG may be decoded at 1/2, 1/4 or 1/8. 0: full size.
    size_t enough_h = 0, enough_w = 0;
    bool size_only = false;  // only full_h and full_w, from the first bytes of a file
};

struct Decoded {
    Image image = {};  // empty unless usable
    DecodeStatus trouble = DecodeStatus::none;
    std::string text = {};          // details for people; empty without trouble
    size_t full_h = 0, full_w = 0;  // size of the image, after turning, before any scaling

    bool usable() const { return !image.rgb.empty(); }
};

Decoded decode_image(Bytes file, const DecodeOptions& options = {});
Decoded read_image(const std::string& path, const DecodeOptions& options = {});

// Date, camera and orientation that an image file of any of these formats holds: see data/exif.h. The second is for the
// start of a file; where its format keeps them behind the pixels, it reads the whole file.
Exif exif_of(Bytes file);
Exif exif_of_file(Bytes start, const std::string& path);

// The libraries behind the formats that a build may have or lack, with the version that was compiled against, "" where
// it lacks them.
struct FormatLibrary {
    const char *formats, *library, *version;
};
std::vector<FormatLibrary> format_libraries();

// Reads a whole file of at most `max_bytes`, or says what is wrong.
struct ImageFile {
    std::vector<uint8_t> bytes;
    DecodeStatus trouble = DecodeStatus::none;
    std::string text;
};
ImageFile read_image_file(const std::string& path, size_t max_bytes);

// A JPEG before colour conversion, for detectors on a device that converts and letterboxes itself: full range BT.601,
// 4:2:0, luma of even height and width, then Cb and Cr of half of both; the size is a multiple of 64 bytes.
// Empty (h = 0) unless the file is a sound, upright YCbCr 4:2:0 JPEG within the limits, more than four pixels wide (the
// decoder smooths no chroma of narrower ones); then decode_image() gives what there is, or tells why not.
struct Planes {
    size_t h = 0, w = 0;
    std::pmr::vector<uint8_t> bytes = {};
};
Planes decode_planes(Bytes file, const DecodeOptions& options = {},
                     std::pmr::memory_resource& memory = *std::pmr::new_delete_resource());

// Turns pixels upright: EXIF orientation 1..8. Source: CIPA DC-008, tag 0x0112.
Image turned(Image image, int orientation);
