// Copies of images on which people (or others) cannot be recognised.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

struct CopyOptions {
    std::filesystem::path source = {};  // folder of a survey, or a result file
    std::filesystem::path out = {};     // new folder outside of that of the images
    std::string images = {};            // folder of the images; empty: where the source says, or beside it
    std::set<std::string> blur = {};    // names of categories
};

struct CopySummary {
    size_t copied = 0, blurred = 0, left_out = 0;  // blurred ones are among the copied
    std::vector<std::string> notes = {};
};

// Boxes of these categories from confidence 0.05 are blurred with a margin of a tenth, and their image is written as
// JPEG with its date and camera only. Other images are copied byte by byte. An image that cannot be read as a whole, or
// that is said to show a person without a box that tells where, is not copied: OUT/not_copied.csv has the reason.
// Fault::usage for folders that cannot be used and for a category that no box has. `progress` returns false to stop.
CopySummary write_copies(const CopyOptions& options, const std::function<bool(size_t done, size_t total)>& progress);
