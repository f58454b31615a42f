#include "app/jobs/image_list.h"

#include <glob.h>

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

#include "app/jobs/path_list.h"
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
        else if (exists && is_list_name(argument))
            add_list(argument);
        else if (exists && is_video_name(argument))
            ++videos_;
        else if (exists)
            found_.paths.push_back(argument);
        else if (is_pattern(argument))
            add_matches(argument);
        else
            throw NoImages(argument + ": no such file or folder");
    }

    ImagePaths take(const std::vector<std::string>& arguments) {
        const std::string videos = fmt::format("{} videos are skipped: tundra works on images only", videos_);
        if (found_.paths.empty())
            throw NoImages(
                fmt::format("{}: no images found{}", fmt::join(arguments, ", "), videos_ ? " (" + videos + ")" : ""));
        if (videos_) found_.notes.push_back(videos);
        if (arguments.size() > 1 || with_list_) drop_repeated();
        return std::move(found_);
    }

private:
    void add_folder(const std::string& folder) {
        Listing listing = list_images(folder);
        for (std::string& file : listing.files) file = (fs::path(folder) / file).string();
        if (found_.paths.empty())
            found_.paths = std::move(listing.files);  // the usual case, and hundreds of thousands of names
        else
            found_.paths.insert(found_.paths.end(), listing.files.begin(), listing.files.end());
        found_.notes.insert(found_.notes.end(), listing.problems.begin(), listing.problems.end());
        std::error_code error, ignored;
        for (fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error), end;
             !error && entry != end; entry.increment(error))
            if (entry->is_directory(ignored) && is_skipped_folder(entry->path()))
                entry.disable_recursion_pending();
            else
                videos_ += is_video_name(entry->path());
    }

    void add_list(const std::string& list) {
        const ListedImages listed = read_path_list(list);
        for (const std::string& path : listed.paths)
            if (is_video_name(path))
                ++videos_;
            else
                found_.paths.push_back(path);
        found_.notes.insert(found_.notes.end(), listed.notes.begin(), listed.notes.end());
        with_list_ = true;
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
        if (found_.paths.size() + videos_ == before) throw NoImages(pattern + ": no image matches this pattern");
    }

    // A path is its folder, links resolved, and its name in it: a link to an image is an image of its own, as in
    // folders.
    void drop_repeated() {
        std::unordered_map<std::string, std::string> folders;
        std::unordered_set<std::string> seen;
        std::string first;
        const size_t repeated = std::erase_if(found_.paths, [&](const std::string& text) {
            const fs::path path = text;
            const auto [folder, is_new] = folders.try_emplace(path.parent_path().string());
            if (is_new) {
                std::error_code error;
                const fs::path whole = fs::absolute(path, error).lexically_normal().parent_path();
                folder->second = fs::weakly_canonical(whole, error).string();
                if (error) folder->second = whole.string();
            }
            const bool again = !seen.insert(folder->second + "/" + path.filename().string()).second;
            if (again && first.empty()) first = text;
            return again;
        });
        if (repeated)
            found_.notes.push_back(fmt::format(
                "{} names mean an image that was named before, and count once (first: {})", repeated, first));
    }

    ImagePaths found_;
    size_t videos_ = 0;
    bool with_list_ = false;
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

std::vector<fs::path> named_files(const std::vector<std::string>& arguments) {
    std::vector<fs::path> files;
    for (const std::string& argument : arguments) files.emplace_back(argument.substr(argument.starts_with('@')));
    return files;
}

ImagePaths find_images(const std::vector<std::string>& arguments, const fs::path& journal) {
    try {
        Finder finder;
        for (const std::string& argument : arguments) finder.add(argument);
        return finder.take(arguments);
    } catch (const NoImages& e) {
        if (std::error_code ignored; !fs::exists(journal, ignored)) throw;
        fail(Fault::environment,
             "{}; an interrupted run had its images there: connect their drive and run the same command again, or "
             "delete {} to start over",
             e.what(), journal.string());
    }
}

ImageList list_images_below(const std::vector<std::string>& arguments, const fs::path& journal,
                            const std::string& base) {
    auto [paths, notes] = find_images(arguments, journal);
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

void tell_earlier(const fs::path& base, const std::set<std::string>& json_names,
                  const std::function<void(const std::string&)>& note) {
    if (json_names.empty()) return;
    std::error_code ignored;
    std::string first;
    size_t gone = 0;
    for (const std::string& name : json_names)
        if (!fs::exists(base / name_on_disk(base, name), ignored) && gone++ == 0) first = name;
    note(fmt::format("{} images of earlier runs stay in the survey{}", json_names.size(),
                     gone ? fmt::format("; {} of them are no longer at their place (first: {}): if a folder was "
                                        "renamed or moved they count twice, so begin a new --out then",
                                        gone, first)
                          : ""));
}

void leave_out(ImageList& list, const fs::path& folder, bool is_ours,
               const std::function<void(const std::string&)>& note) {
    std::error_code ignored;
    const std::string inside = fs::weakly_canonical(folder, ignored)
                                   .lexically_relative(fs::weakly_canonical(list.base, ignored))
                                   .generic_string();
    if (inside.empty() || inside == "." || inside.starts_with("..")) return;
    Names others = list.files.filtered([&](size_t i) { return !list.files[i].starts_with(inside + "/"); });
    const size_t left_out = list.files.size() - others.size();
    if (left_out && !is_ours)
        fail(Fault::usage, "--out {}: holds {} of the images; choose a folder for the results that has none",
             folder.string(), left_out);
    note(fmt::format("{} lies inside the folder of the images: the {} images in it do not count", folder.string(),
                     left_out));
    list.files = std::move(others);
}
