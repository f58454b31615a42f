// Walks along the marker segments of a JPEG.
#include "data/jpeg_segments.h"

#include <algorithm>

Bytes find_segment(Bytes file, uint8_t marker, std::string_view prefix) {
    constexpr uint8_t kStartOfImage = 0xd8, kStartOfScan = 0xda, kEndOfImage = 0xd9;
    if (file.size() < 4 || file[0] != 0xff || file[1] != kStartOfImage) return {};
    size_t at = 2;
    while (at + 4 <= file.size() && file[at] == 0xff) {
        const uint8_t found = file[at + 1];
        if (found == 0xff) {  // fill byte
            ++at;
            continue;
        }
        if (found == kStartOfScan || found == kEndOfImage) break;
        const size_t length = size_t(file[at + 2]) << 8 | file[at + 3];  // counts itself
        if (length < 2 || at + 2 + length > file.size()) break;
        const Bytes content = file.subspan(at + 4, length - 2);
        if (found == marker && content.size() >= prefix.size() &&
            std::equal(prefix.begin(), prefix.end(), content.begin(), [](char a, uint8_t b) { return uint8_t(a) == b; }))
            return content;
        at += 2 + length;
    }
    return {};
}
