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

bool is_pattern(const std::string& text) { return text.find_first_of("*?[") != std::string::npos; }

class Finder {
public:
    void add(const std::string& argument) {
        std::error_code ignored;
        const bool exists = fs::exists(argument, ignored);
        if (fs::is_directory(argument, ignored))
            add_folder(argument);
        else if (argument.starts_with('@') && !exists)
            add_list(argument.substr(1));
        else if (exists && argument.ends_with(".txt"))
            add_list(argument);
        else if (exists && is_video_name(argument))
            ++videos_;
        else if (exists)
            found_.paths.push_back(argument);
        else if (is_pattern(argument))
            add_matches(argument);
        else
            fail(Fault::usage, "{}: no such file or folder", argument);
    }

    ImagePaths take(const std::vector<std::string>& arguments) {
        const std::string videos = fmt::format("{} videos are skipped: tundra works on images only", videos_);
        if (found_.paths.empty())
            fail(Fault::usage, "{}: no images found{}", fmt::join(arguments, ", "), videos_ ? " (" + videos + ")" : "");
        if (videos_) found_.notes.push_back(videos);
        return std::move(found_);
    }

private:
    void add_folder(const std::string& folder) {
        Listing listing = list_images(folder);
        for (const std::string& file : listing.files) found_.paths.push_back((fs::path(folder) / file).string());
        found_.notes.insert(found_.notes.end(), listing.problems.begin(), listing.problems.end());
        std::error_code error;
        for (fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error), end;
             !error && entry != end; entry.increment(error))
            videos_ += is_video_name(entry->path());
    }

    void add_list(const std::string& list) {
        std::ifstream file(list);  // may also be a pipe
        if (!file || fs::is_directory(list)) fail(Fault::usage, "{}: cannot read this list of images", list);
        bool first = true;
        for (std::string line; std::getline(file, line); first = false) {
            std::string_view path = first ? without_bom(line) : line;
            if (path.ends_with('\r')) path.remove_suffix(1);
            if (!path.empty()) found_.paths.emplace_back(path);
        }
    }

    void add_matches(const std::string& pattern) {
        const size_t before = found_.paths.size() + videos_;
        glob_t matches{};
        if (::glob(pattern.c_str(), 0, nullptr, &matches) == 0)
            for (const char* match : std::span(matches.gl_pathv, matches.gl_pathc)) {
                if (std::error_code ignored; fs::is_directory(match, ignored))
                    add_folder(match);
                else if (is_image_name(match))
                    found_.paths.emplace_back(match);
                else
                    videos_ += is_video_name(match);
            }
        ::globfree(&matches);
        if (found_.paths.size() + videos_ == before) fail(Fault::usage, "{}: no image matches this pattern", pattern);
    }

    ImagePaths found_;
    size_t videos_ = 0;
};

fs::path without_slash(const fs::path& path) { return path.has_filename() ? path : path.parent_path(); }

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

ImagePaths find_images(const std::vector<std::string>& arguments) {
    Finder finder;
    for (const std::string& argument : arguments) finder.add(argument);
    return finder.take(arguments);
}

ImageList list_images_below(const std::vector<std::string>& arguments, const std::string& base) {
    auto [paths, notes] = find_images(arguments);
    const fs::path here = fs::current_path();
    const auto absolute = [&](const std::string& path) { return (here / path).lexically_normal(); };
    for (std::string& path : paths) path = absolute(path).string();  // a fs::path takes several times the memory
    std::error_code ignored;
    ImageList list{.base = {}, .files = {}, .notes = std::move(notes)};
    list.base = !base.empty() ? without_slash(absolute(base))
                : arguments.size() == 1 && fs::is_directory(arguments[0], ignored)
                    ? without_slash(absolute(arguments[0]))
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
