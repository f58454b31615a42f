// Which images a command line means. The same arguments mean the same to every command:
//   folder        all images below it, by name
//   @LIST         a text file of paths, one per line; LIST.txt needs no @. The images may be missing
//   'dir/*.jpg'   a quoted pattern with *, ? or [...]: the images and folders that match, by name
//   image         the file itself
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/jobs/names.h"

struct ImagePaths {
    std::vector<std::string> paths;  // in the order of the arguments
    std::vector<std::string> notes;  // folders that could not be read, videos that were left out
};

// Fault::usage if an argument does not exist or is a video, or if there is no image at all.
ImagePaths find_images(const std::vector<std::string>& arguments);

// Images under the names that result files give them: relative to a base folder.
struct ImageList {
    std::filesystem::path base;
    Names files;  // '/' between parts
    std::vector<std::string> notes;
};

// `base`: if empty, the folder if that is the only argument, else the deepest folder that contains all images.
// Fault::usage as find_images(), and if an image lies outside `base`.
ImageList list_images_below(const std::vector<std::string>& arguments, const std::string& base = "");
