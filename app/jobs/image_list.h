// Which images `tundra detect` works on, and under which names its results know them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/jobs/names.h"

struct ImageList {
    std::filesystem::path base;      // the names below start here
    Names files;                     // '/' between parts
    std::vector<std::string> notes;  // folders that could not be read
    size_t videos = 0;               // seen and left out
};

// An argument is a folder (all images below it), an image, a text file of paths (@LIST, or LIST.txt), or a pattern
// with * or ?. Base is the folder if there is only one, else what all images share, unless `base` says it.
// Fault::usage where an argument is not there, an image lies outside `base`, or there is none at all.
ImageList list_for_detection(const std::vector<std::string>& arguments, const std::string& base = "");
