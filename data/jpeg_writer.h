// Writes RGB pixels to a JPEG file with EXIF.
#pragma once

#include <string>
#include <vector>

#include "data/exif.h"

struct JpegSettings {
    int quality = 90;  // 1..100
    bool progressive = false;
    bool full_chroma = false;  // 4:4:4 instead of 4:2:0
};

// rgb: (h, w, 3). The same pixels and settings give the same bytes.
std::vector<uint8_t> encode_jpeg(const uint8_t* rgb, size_t h, size_t w, const JpegSettings& settings = {},
                                 const Exif* exif = nullptr);

// Writes the encoded image; throws an Error that names `path` if that fails.
void write_jpeg(const std::string& path, const uint8_t* rgb, size_t h, size_t w, const JpegSettings& settings = {},
                const Exif* exif = nullptr);
