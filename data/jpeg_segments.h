// The marker segments in front of a JPEG's image data: which hold EXIF and Adobe's marks. Source: ITU T.81, annex B.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

using Bytes = std::span<const uint8_t>;

// The content (without marker and length) of the first segment 0xff `marker` that starts with `prefix`; empty if there
// is none before the first scan. Never reads outside `file`, whatever lengths it claims.
Bytes find_segment(Bytes file, uint8_t marker, std::string_view prefix);

// Whether the file ends within the segments, before any image data.
bool ends_before_scan(Bytes file);
