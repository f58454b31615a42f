// Small copies of the survey's images for the page: made when they are asked for, the latest kept in memory.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "app/report/thumbnail.h"

class Pictures {
public:
    // `most_bytes` of copies are kept; at most `makers` images are decoded at once, which bounds the memory.
    Pictures(size_t most_bytes, int makers) : most_bytes_(most_bytes), free_makers_(makers) {}

    // At most `side` pixels wide and high. Never fails: SmallJpeg::trouble says why there are no bytes.
    std::shared_ptr<const SmallJpeg> get(uint32_t image, const std::string& path, size_t side);

private:
    using Key = std::pair<uint32_t, size_t>;
    struct Kept {
        Key key;
        std::shared_ptr<const SmallJpeg> picture;
    };

    std::mutex mutex_;
    std::condition_variable freed_;
    std::list<Kept> kept_;  // the latest used first
    std::map<Key, std::list<Kept>::iterator> at_;
    size_t bytes_ = 0, most_bytes_;
    int free_makers_;
};
