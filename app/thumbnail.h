// A small copy of a picture inside of a page.
#pragma once

#include <string>

struct Thumbnail {
    std::string data_url;  // "data:image/jpeg;base64,..."; empty if the picture cannot be read
    size_t w = 0, h = 0;
    std::string trouble;   // why not, or what is wrong with it; plain text
};

// At most `side` pixels wide and high, never larger than the picture.
Thumbnail make_thumbnail(const std::string& path, size_t side);

std::string base64(const unsigned char* bytes, size_t count);  // RFC 4648
