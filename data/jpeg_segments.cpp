// Iterates over the marker segments of a JPEG.
#include "data/jpeg_segments.h"

#include <algorithm>
#include <functional>

namespace {

constexpr uint8_t kStartOfImage = 0xd8, kEndOfImage = 0xd9, kStartOfScan = 0xda;

enum class End { scan, nothing_more, cut, stopped };

// Calls visit(marker, content) for each segment until it returns true or the first scan begins.
End walk(Bytes file, const std::function<bool(uint8_t, Bytes)>& visit) {
    if (file.size() < 2 || file[0] != 0xff || file[1] != kStartOfImage) return End::nothing_more;
    size_t at = 2;
    while (at + 4 <= file.size() && file[at] == 0xff) {
        const uint8_t marker = file[at + 1];
        if (marker == 0xff) {  // fill byte
            ++at;
            continue;
        }
        if (marker == kEndOfImage) return End::nothing_more;
        const size_t length = size_t(file[at + 2]) << 8 | file[at + 3];  // counts itself
        if (length < 2) return End::nothing_more;
        if (at + 2 + length > file.size()) return End::cut;
        if (marker == kStartOfScan) return End::scan;
        if (visit(marker, file.subspan(at + 4, length - 2))) return End::stopped;
        at += 2 + length;
    }
    const bool ended = at + 2 <= file.size() && file[at + 1] == kEndOfImage;
    return at + 4 > file.size() && !ended ? End::cut : End::nothing_more;
}

}  // namespace

Bytes find_segment(Bytes file, uint8_t marker, std::string_view prefix) {
    Bytes found;
    walk(file, [&](uint8_t its_marker, Bytes content) {
        const auto same = [](char a, uint8_t b) { return uint8_t(a) == b; };
        if (its_marker != marker || content.size() < prefix.size()) return false;
        if (!std::equal(prefix.begin(), prefix.end(), content.begin(), same)) return false;
        found = content;
        return true;
    });
    return found;
}

bool ends_before_scan(Bytes file) {
    return walk(file, [](uint8_t, Bytes) { return false; }) == End::cut;
}
