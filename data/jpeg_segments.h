// The marker segments in front of a JPEG's image data: where EXIF and Adobe's notes are. Source: ITU T.81, annex B.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

using Bytes = std::span<const uint8_t>;

// The content (without marker and length) of the first segment 0xff `marker` that starts with `prefix`; empty if there
// is none before the first scan. Reads inside `file` only, whatever it claims.
Bytes find_segment(Bytes file, uint8_t marker, std::string_view prefix);

// The file ends within the segments, before any image data.
bool ends_before_scan(Bytes file);
