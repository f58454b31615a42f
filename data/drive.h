// Tells a drive or network share that goes away during a run from single images that cannot be read.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"

// Too many images cannot be read for a result that means anything. What was computed before is sound.
struct ImagesLost : Error {
    using Error::Error;
};

class DriveWatch {
public:
    // Remembers up to 100 of the `count` paths, evenly spaced, that can be read now.
    DriveWatch(size_t count, const std::function<std::string(size_t)>& path);

    // For the reader of an image that is missing or unreadable: returns if it is one of few. Throws ImagesLost
    // (environment) if more than one in twenty of the remembered paths cannot be read any more, and cannot two
    // seconds later. After the first images only the paths beside this one are tried, and all others if two of those
    // are gone: where thousands of images are missing, a network share is not asked a hundred times for each.
    void require_drive(const std::string& image) const;
    // For a run that goes on after it has read some of them: throws ImagesLost if none of the paths could be read.
    void require_any() const;

private:
    bool neighbours_are_there(const std::string& image) const;

    std::vector<std::string> paths_;  // sorted
    std::string first_trouble_;
    mutable std::atomic<size_t> asked_ = 0;  // how often an image was missing
};
