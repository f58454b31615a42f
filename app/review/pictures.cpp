#include "app/review/pictures.h"

#include <exception>

std::shared_ptr<const SmallJpeg> Pictures::get(uint32_t image, const std::string& path, size_t side) {
    const Key key{image, side};
    std::unique_lock lock(mutex_);
    const auto find = [&]() -> std::shared_ptr<const SmallJpeg> {
        const auto found = at_.find(key);
        if (found == at_.end()) return nullptr;
        kept_.splice(kept_.begin(), kept_, found->second);
        return kept_.front().picture;
    };
    if (auto picture = find()) return picture;
    freed_.wait(lock, [&] { return free_makers_ > 0; });
    if (auto picture = find()) return picture;  // another request made it meanwhile
    --free_makers_;
    lock.unlock();
    std::shared_ptr<const SmallJpeg> picture;
    try {
        picture = std::make_shared<SmallJpeg>(make_small_jpeg(path, side));
    } catch (const std::exception& error) {
        picture = std::make_shared<SmallJpeg>(SmallJpeg{.bytes = {}, .w = 0, .h = 0, .trouble = error.what()});
    }
    lock.lock();
    ++free_makers_;
    freed_.notify_one();
    if (picture->bytes.empty() || at_.contains(key)) return picture;  // a missing image may come back
    kept_.push_front({key, picture});
    at_[key] = kept_.begin();
    bytes_ += picture->bytes.size();
    for (; bytes_ > most_bytes_ && kept_.size() > 1; kept_.pop_back()) {
        bytes_ -= kept_.back().picture->bytes.size();
        at_.erase(kept_.back().key);
    }
    return picture;
}
