#include "data/drive.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace {

constexpr size_t kWatched = 100;

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
}

void DriveWatch::require_drive() const {
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
