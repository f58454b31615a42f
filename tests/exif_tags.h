// EXIF as cameras write it, tag by tag: what exif_segment() has no words for.
#pragma once

#include <string>
#include <vector>

#include "tests/images.h"

struct ExifTagBytes {
    bool main;  // in the main directory, else in that of EXIF
    uint16_t tag;
    std::string content;
    bool text = true;  // ASCII, with the zero at its end; else undefined bytes
};

// `jpeg` with an APP1 segment of these tags, which are sorted within their directory.
inline FileContent with_exif(const FileContent& jpeg, const std::vector<ExifTagBytes>& tags) {
    const auto little = [](std::string& out, size_t value, int bytes) {
        for (int i = 0; i < bytes; ++i) out += char(value >> 8 * i);
    };
    const auto directory = [&](bool main, size_t start, size_t exif_at) {
        size_t entries = main;
        for (const ExifTagBytes& t : tags) entries += t.main == main;
        std::string rows, data;
        little(rows, entries, 2);
        for (const ExifTagBytes& t : tags) {
            if (t.main != main) continue;
            const std::string content = t.text ? t.content + std::string(1, 0) : t.content;
            little(rows, t.tag, 2);
            little(rows, t.text ? 2 : 7, 2);
            little(rows, content.size(), 4);
            little(rows, start + 2 + 12 * entries + 4 + data.size(), 4);
            data += content;
        }
        if (main) {
            little(rows, 0x8769, 2);
            little(rows, 4, 2);
            little(rows, 1, 4);
            little(rows, exif_at, 4);
        }
        little(rows, 0, 4);
        return rows + data;
    };
    const size_t exif_at = 8 + directory(true, 8, 0).size();
    const std::string tiff =
        std::string("II*\0\x08\0\0\0", 8) + directory(true, 8, exif_at) + directory(false, exif_at, 0);
    const std::string segment = std::string("Exif\0\0", 6) + tiff;
    FileContent file(jpeg.begin(), jpeg.begin() + 2);
    file.insert(file.end(), {0xff, 0xe1, uint8_t((segment.size() + 2) >> 8), uint8_t(segment.size() + 2)});
    file.insert(file.end(), segment.begin(), segment.end());
    file.insert(file.end(), jpeg.begin() + 2, jpeg.end());
    return file;
}
