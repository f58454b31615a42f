// A small copy of an image, as a file and inside of a page.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

// A rectangle to draw: left, top, width, height as shares of the sides.
struct ThumbnailBox {
    double x, y, w, h;
    std::array<unsigned char, 3> rgb;
    bool dashed;
};

struct Thumbnail {
    std::string data_url;  // "data:image/jpeg;base64,..."; empty if the image cannot be read
    size_t w = 0, h = 0;
    std::string trouble;  // why it is unreadable or damaged; plain text
};

struct SmallJpeg {
    std::vector<uint8_t> bytes;  // empty if the image cannot be read
    size_t w = 0, h = 0;
    std::string trouble;  // as above
};

// At most `side` pixels wide and high, never larger than the image.
SmallJpeg make_small_jpeg(const std::string& path, size_t side, const std::vector<ThumbnailBox>& boxes = {});
Thumbnail make_thumbnail(const std::string& path, size_t side, const std::vector<ThumbnailBox>& boxes = {});

std::string base64(const unsigned char* bytes, size_t count);  // RFC 4648
