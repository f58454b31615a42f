#include "app/jobs/drive.h"

#include <algorithm>
#include <fstream>

#include "base/error.h"

void DriveWatch::was_read(const std::string& path) {
    if (seen_.size() < 2)
        seen_.push_back(path);
    else
        seen_.back() = path;
}

void DriveWatch::check(const std::string& path, const std::string& trouble) const {
    const bool cannot_be_opened = trouble.starts_with(trouble_code(DecodeStatus::missing)) ||
                                  trouble.starts_with(trouble_code(DecodeStatus::unreadable));
    const auto is_there = [](const std::string& file) { return std::ifstream(file, std::ios::binary).get() >= 0; };
    if (cannot_be_opened && !seen_.empty() && std::ranges::none_of(seen_, is_there))
        fail(Fault::environment,
             "{}: cannot be read any more, nor can images that could be read before: is their drive still connected?",
             path);
}
