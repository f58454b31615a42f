// Date, camera and orientation of an image from its EXIF data, through libexif.
// Source: CIPA DC-008 (Exif 2.32).
#pragma once

#include <string>
#include <vector>

#include "data/jpeg_segments.h"

struct Exif {
    std::string date = {};  // DateTimeOriginal, "2024:07:31 13:05:59"; empty if there is none
    std::string make = {}, model = {};
    std::string serial = {};  // BodySerialNumber
    int orientation = 1;      // 1..8; other values in a file count as 1
};

// From the bytes of a JPEG, or from enough of its first bytes to hold the EXIF segment (68 KiB suffice). Never fails:
// missing or damaged fields keep their defaults. Texts are cut to 64 bytes, control characters become '?'.
Exif read_exif(Bytes jpeg);

// Seconds since 1970 of an EXIF date, taken as UTC because cameras do not tell; -1 if it is not a date.
int64_t exif_seconds(const std::string& date);

// The content of an APP1 segment ("Exif\0\0" and a TIFF block) with the fields that are not empty.
std::vector<uint8_t> exif_segment(const Exif& exif);
