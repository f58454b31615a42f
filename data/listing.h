// Finds the images below a folder.
#pragma once

#include <string>
#include <vector>

// By extension, in any case. Formats that cannot be decoded (gif, tif, webp, ...) count, so that they are reported
// instead of ignored silently; hidden files (".x", "._x.jpg" of macOS) do not.
bool is_image_name(const std::string& name);
bool is_jpeg_name(const std::string& name);  // ends with .jpg or .jpeg

struct Listing {
    std::vector<std::string> files;     // relative to the folder, in byte order, '/' between parts
    std::vector<std::string> problems;  // folders that could not be read: path and reason
};

// All images below `folder`. Links to folders are followed, each real folder once.
Listing list_images(const std::string& folder);
