// Which files of a folder are images.
#pragma once

#include <string>
#include <vector>

// By extension, in any case: also kinds that are not decoded here (gif, tif, webp, ...), so that they get a reason
// instead of silence. Hidden files (".x", "._x.jpg" of macOS) are none.
bool is_image_name(const std::string& name);
bool is_jpeg_name(const std::string& name);  // ends with .jpg or .jpeg

struct Listing {
    std::vector<std::string> files;     // relative to the folder, in byte order, '/' between parts
    std::vector<std::string> problems;  // folders that could not be read: path and reason
};

// All images below `folder`. Links to folders are followed, each real folder once.
Listing list_images(const std::string& folder);
