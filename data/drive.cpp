#include "data/drive.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace {

constexpr size_t kWatched = 100, kFew = 20;

// 0, or the errno of the call that failed. A byte is read, because a lost disk still opens what the system remembers.
int trouble_with(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return errno;
    char byte;
    ssize_t got;
    while ((got = read(file, &byte, 1)) < 0 && errno == EINTR) {
    }
    const int trouble = got < 0 ? errno : 0;
    close(file);
    return trouble;
}

[[noreturn]] void lose(const std::string& which, const std::string& first) {
    throw ImagesLost(Fault::environment,
                     fmt::format("{} cannot be read any more (first: {}); is their drive or network share still there?",
                                 which, first));
}

}  // namespace

DriveWatch::DriveWatch(size_t count, const std::function<std::string(size_t)>& path) {
    const size_t watched = std::min(count, kWatched);
    for (size_t i = 0; i < watched; ++i) {
        std::string it = path(i * count / watched);
        if (const int trouble = trouble_with(it); !trouble)
            paths_.push_back(std::move(it));
        else if (first_trouble_.empty())
            first_trouble_ = it + ": " + std::strerror(trouble);
    }
    std::ranges::sort(paths_);
}

// Sorted names that lie on one drive, or in one folder, lie side by side: if they are gone, so are two of these four.
bool DriveWatch::neighbours_are_there(const std::string& image) const {
    const auto here = std::ranges::lower_bound(paths_, image);
    size_t tried = 0, lost = 0;
    const auto try_one = [&](const std::string& path) { ++tried, lost += trouble_with(path) != 0; };
    for (auto after = here; after != paths_.end() && tried < 2; ++after)
        if (*after != image) try_one(*after);
    for (auto before = here; before != paths_.begin() && tried < 4;) try_one(*--before);
    return tried == 4 && lost < 2;
}

void DriveWatch::require_drive(const std::string& image) const {
    if (++asked_ > kFew && neighbours_are_there(image)) return;
    using namespace std::chrono_literals;
    for (const auto pause : {100ms, 400ms, 1500ms, 0ms}) {  // a network share may come back
        size_t lost = 0;
        std::string first;
        for (const std::string& path : paths_)
            if (const int trouble = trouble_with(path); trouble && lost++ == 0)
                first = path + ": " + std::strerror(trouble);
        const bool few = lost <= 1 || lost * 20 <= paths_.size();
        if (lost == 0 || (few && lost < paths_.size())) return;
        if (pause == 0ms) lose(fmt::format("{} of {} images that could be read before", lost, paths_.size()), first);
        std::this_thread::sleep_for(pause);
    }
}

void DriveWatch::require_any() const {
    if (paths_.empty() && !first_trouble_.empty()) lose("the images that are left", first_trouble_);
}
