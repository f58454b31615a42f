// Finds the images below a folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

// By extension, in any case. Formats that cannot be decoded (gif, tif, webp, ...) count, so that they are reported
// instead of ignored silently; hidden files (".x", "._x.jpg" of macOS) do not.
bool is_image_name(const std::string& name);
bool is_jpeg_name(const std::string& name);  // ends with .jpg or .jpeg

struct Listing {
    std::vector<std::string> files;     // relative to the folder, in byte order, '/' between parts
    std::vector<std::string> problems;  // for people: folders that were left out, and why; images that are links
};

// All images below `folder`, except in skipped folders. Links to folders are followed, each real folder once: under its
// real name if it lies below `folder`, else under that of the first link in byte order.
Listing list_images(const std::string& folder);

// Folders without images of the user: hidden ones; recycle bins, thumbnails and snapshots of Windows, macOS and
// network storage ("$RECYCLE.BIN", "__MACOSX", "@eaDir", ...); run folders of training.
bool is_skipped_folder(const std::filesystem::path& folder);
