// Images for tests: smooth pixels that JPEG keeps, and the files that cameras, editors and bad luck make of them.
#pragma once

#include <gtest/gtest.h>
#include <turbojpeg.h>
#include <zlib.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "data/image.h"
#include "data/jpeg_writer.h"

using FileContent = std::vector<uint8_t>;

// Gradients, a disc and a few stripes; another seed is another image. (h, w, 3)
inline Image sample_image(size_t h, size_t w, unsigned seed = 0) {
    Image image{.h = h, .w = w, .rgb = FileContent(h * w * 3)};
    for (size_t i = 0; i < h; ++i)
        for (size_t j = 0; j < w; ++j) {
            const double y = (i + 0.5) / h, x = (j + 0.5) / w;
            const double disc = std::hypot(x - 0.3 - 0.05 * (seed % 7), y - 0.4) < 0.2 ? 90 : 0;
            const double stripes = 20 * std::sin(12 * x + seed) * std::cos(9 * y);
            const double value[3] = {40 + 120 * x + disc, 200 - 100 * y + stripes,
                                     60 + 80 * x * y + 0.5 * disc + stripes};
            for (size_t c = 0; c < 3; ++c)
                image.rgb[(i * w + j) * 3 + c] = uint8_t(std::fmin(255, std::fmax(0, value[c])));
        }
    return image;
}

inline FileContent jpeg_of(const Image& image, const JpegSettings& settings = {}, const Exif* exif = nullptr) {
    return encode_jpeg(image.rgb.data(), image.h, image.w, settings, exif);
}

// samples: rows of `format`, e.g. TJPF_GRAY or TJPF_CMYK
inline FileContent jpeg_of_samples(const FileContent& samples, size_t h, size_t w, int format, int subsampling) {
    const std::unique_ptr<void, decltype(&tjDestroy)> handle(tjInitCompress(), &tjDestroy);
    unsigned char* bytes = nullptr;
    unsigned long size = 0;
    EXPECT_EQ(tjCompress2(handle.get(), samples.data(), int(w), 0, int(h), format, &bytes, &size, subsampling, 95,
                          TJFLAG_ACCURATEDCT),
              0);
    FileContent file(bytes, bytes + size);
    tjFree(bytes);
    return file;
}

inline void append_big_endian(FileContent& out, uint32_t value) {
    for (const int shift : {24, 16, 8, 0}) out.push_back(uint8_t(value >> shift));
}

inline void append_chunk(FileContent& png, const char* type, const FileContent& content) {
    append_big_endian(png, uint32_t(content.size()));
    const size_t start = png.size();
    png.insert(png.end(), type, type + 4);
    png.insert(png.end(), content.begin(), content.end());
    append_big_endian(png, uint32_t(crc32_z(0, png.data() + start, png.size() - start)));
}

struct PngParts {
    uint32_t w, h;
    uint8_t depth, colour;     // colour: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA
    FileContent rows;          // packed samples without filter bytes
    FileContent palette = {};  // RGB triples
};

inline FileContent png_of(const PngParts& parts) {
    const size_t channels = parts.colour == 2 ? 3 : parts.colour == 6 ? 4 : parts.colour == 4 ? 2 : 1;
    const size_t row = (parts.w * channels * parts.depth + 7) / 8;
    FileContent raw;
    for (size_t i = 0; i * row < parts.rows.size(); ++i) {
        raw.push_back(0);
        raw.insert(raw.end(), parts.rows.begin() + i * row, parts.rows.begin() + (i + 1) * row);
    }
    uLongf packed_size = compressBound(raw.size());
    FileContent packed(packed_size);
    EXPECT_EQ(compress(packed.data(), &packed_size, raw.data(), raw.size()), Z_OK);
    packed.resize(packed_size);

    FileContent header;
    append_big_endian(header, parts.w);
    append_big_endian(header, parts.h);
    header.insert(header.end(), {parts.depth, parts.colour, 0, 0, 0});
    FileContent png{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    append_chunk(png, "IHDR", header);
    if (!parts.palette.empty()) append_chunk(png, "PLTE", parts.palette);
    append_chunk(png, "IDAT", packed);
    append_chunk(png, "IEND", {});
    return png;
}

inline FileContent png_of(const Image& image) {
    return png_of({.w = uint32_t(image.w), .h = uint32_t(image.h), .depth = 8, .colour = 2, .rows = image.rgb});
}

inline FileContent text_content(const std::string& text) { return {text.begin(), text.end()}; }

// A folder that is gone after the test.
struct TemporaryFolder {
    std::filesystem::path path;

    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "tundra_test_XXXXXX").string();
        if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
        path = name;
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;

    std::string write(const std::string& name, const FileContent& content) const {
        const std::filesystem::path file = path / name;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream out(file, std::ios::binary);
        out.write(reinterpret_cast<const char*>(content.data()), std::streamsize(content.size()));
        if (!out) throw std::runtime_error("cannot write " + file.string());
        return file.string();
    }
};

struct Difference {
    double mean = 0;
    int largest = 0;
};

inline Difference difference(const FileContent& a, const FileContent& b) {
    EXPECT_EQ(a.size(), b.size());
    Difference result;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        const int d = std::abs(int(a[i]) - int(b[i]));
        result.mean += d;
        result.largest = std::max(result.largest, d);
    }
    result.mean /= double(std::max<size_t>(1, a.size()));
    return result;
}
