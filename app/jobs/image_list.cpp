#include "app/jobs/image_list.h"

#include <glob.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "base/error.h"
#include "base/text.h"
#include "data/listing.h"

namespace {

namespace fs = std::filesystem;

bool is_video_name(const fs::path& path) {
    constexpr std::array kVideos{".mp4", ".avi", ".mov", ".mkv", ".mpg", ".mpeg", ".m4v", ".wmv", ".3gp", ".asf"};
    return std::ranges::find(kVideos, lower(path.extension().string())) != kVideos.end();
}

size_t count_videos(const fs::path& folder) {
    size_t n = 0;
    std::error_code error;
    for (fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error), end;
         !error && entry != end; entry.increment(error))
        n += is_video_name(entry->path());
    return n;
}

std::vector<std::string> read_list(const std::string& list) {
    std::ifstream file(list);
    if (!file || fs::is_directory(list)) fail(Fault::usage, "{}: cannot read this list of images", list);
    std::vector<std::string> paths;
    for (std::string line; std::getline(file, line);) {
        if (paths.empty() && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);
        if (line.ends_with('\r')) line.pop_back();
        if (!line.empty()) paths.push_back(line);
    }
    return paths;
}

std::vector<std::string> matches(const std::string& pattern, size_t& videos) {
    glob_t found{};
    std::vector<std::string> paths;
    if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; ++i) {
            if (is_image_name(found.gl_pathv[i])) paths.emplace_back(found.gl_pathv[i]);
            videos += is_video_name(found.gl_pathv[i]);
        }
    ::globfree(&found);
    return paths;
}

fs::path absolute(const fs::path& path) { return fs::absolute(path).lexically_normal(); }

fs::path shared_folder(const std::vector<std::string>& paths) {
    fs::path shared = fs::path(paths.front()).parent_path();
    for (const std::string& text : paths) {
        const fs::path path = text;
        while (!shared.empty() && shared != shared.root_path() &&
               std::mismatch(shared.begin(), shared.end(), path.begin(), path.end()).first != shared.end())
            shared = shared.parent_path();
    }
    return shared;
}

}  // namespace

ImageList list_for_detection(const std::vector<std::string>& arguments, const std::string& base) {
    ImageList list;
    std::vector<std::string> paths;  // a fs::path takes several times the memory
    const auto add = [&](const std::vector<std::string>& found) {
        for (const std::string& path : found) paths.push_back(absolute(path).string());
    };
    std::error_code ignored;
    for (const std::string& argument : arguments) {
        const bool exists = fs::exists(argument, ignored);
        if (fs::is_directory(argument, ignored)) {
            Listing listing = list_images(argument);
            const fs::path folder = absolute(argument + "/.");
            for (const std::string& file : listing.files) paths.push_back((folder / file).string());
            list.notes.insert(list.notes.end(), listing.problems.begin(), listing.problems.end());
            list.videos += count_videos(argument);
        } else if (argument.starts_with('@') && !exists) {
            add(read_list(argument.substr(1)));
        } else if (exists && argument.ends_with(".txt")) {
            add(read_list(argument));
        } else if (exists) {
            if (is_video_name(argument)) fail(Fault::usage, "{}: is a video; tundra works on images only", argument);
            add({argument});
        } else if (argument.find_first_of("*?[") != std::string::npos) {
            add(matches(argument, list.videos));
        } else {
            fail(Fault::usage, "{}: no such file or folder", argument);
        }
    }
    if (paths.empty())
        fail(Fault::usage, "{}: no images found{}", fmt::join(arguments, ", "),
             list.videos ? fmt::format(" ({} videos, which tundra does not read)", list.videos) : "");
    const bool one_folder = arguments.size() == 1 && fs::is_directory(arguments[0], ignored);
    const auto without_slash = [](fs::path p) { return p.has_filename() ? p : p.parent_path(); };
    list.base = !base.empty() ? without_slash(absolute(base))
                : one_folder  ? without_slash(absolute(arguments[0]))
                              : shared_folder(paths);
    for (std::string& path : paths) {
        std::string name = fs::path(path).lexically_relative(list.base).generic_string();
        if (name.empty() || name == ".." || name.starts_with("../"))
            fail(Fault::usage, "{}: lies outside the base folder {}", path, list.base.string());
        path = std::move(name);
    }
    list.files = Names(std::move(paths));
    return list;
}
