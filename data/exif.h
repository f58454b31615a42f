// Date, camera and orientation of an image from its EXIF data, through libexif.
// Source: CIPA DC-008 (Exif 2.32).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/jpeg_segments.h"

struct Exif {
    // "2024:07:31 13:05:59": the first date in DateTimeOriginal, DateTimeDigitized, DateTime and Reconyx' maker notes;
    // if none is a date, the content of the first tag; empty without tags.
    std::string date = {};
    std::string make = {}, model = {};
    std::string serial = {};    // BodySerialNumber, or that of Reconyx' maker notes
    std::string sequence = {};  // the camera's number of the burst, of Reconyx' maker notes
    int orientation = 1;        // 1..8; anything else in a file counts as 1
};

// From the bytes of a JPEG, or from enough of its first bytes to hold the EXIF segment (68 KiB suffice). Never fails:
// missing or damaged fields keep their defaults. Texts are cut to 64 bytes, control characters become '?'.
Exif read_exif(Bytes jpeg);
// The same from a TIFF block, as other formats hold it, with or without "Exif\0\0" before.
Exif read_exif_block(Bytes tiff);

// A text of EXIF as the fields above have it, and the first of several texts that is a date (the first, if none is).
std::string exif_text(std::string_view text);
std::string first_date(const std::vector<std::string>& dates);

// Seconds since 1970 of an EXIF date ("-", "/" and "." for ":" and a "T" between are accepted as well), read as UTC
// because cameras do not tell; -1 if it is not a date.
int64_t exif_seconds(const std::string& date);

// The content of an APP1 segment ("Exif\0\0" and a TIFF block) with the fields that are not empty.
std::vector<uint8_t> exif_segment(const Exif& exif);
