// Tells a drive or network share that goes away during a run from single images that cannot be read.
#pragma once

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
    // seconds later.
    void require_drive() const;
    // For a run that goes on after it has read some of them: throws ImagesLost if none of the paths could be read.
    void require_any() const;

private:
    std::vector<std::string> paths_;
    std::string first_trouble_;
};
