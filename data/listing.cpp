// The walk through folders.
#include "data/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>
#include <utility>

#include "base/text.h"

namespace fs = std::filesystem;

namespace {

bool is_system_folder(const std::string& name) {
    static constexpr std::array kNames{"@eadir",
                                       "@recycle",
                                       "@recently-snapshot",
                                       "#recycle",
                                       "#snapshot",
                                       "~snapshot",
                                       "$recycle.bin",
                                       "recycler",
                                       "recycled",
                                       "system volume information",
                                       "lost+found",
                                       "__macosx",
                                       "@tmp",
                                       "@__thumb",
                                       "@sharebin",
                                       "found.000",
                                       "@synoeastream",
                                       "network trash folder"};
    return std::ranges::find(kNames, lower(name)) != kNames.end();
}

bool is_run_folder(const fs::path& folder) {
    std::error_code ignored;
    return fs::exists(folder / "run.json", ignored) && fs::exists(folder / "config", ignored);
}

struct Walk {
    fs::path root;
    Listing listing = {};
    std::set<fs::path> visited = {}, links = {};
    std::vector<std::string> system_folders = {}, linked_files = {};

    void everything() {
        folder("");
        while (!links.empty()) folder(links.extract(links.begin()).value());
        std::ranges::sort(listing.files);
        std::ranges::sort(listing.problems);
        note_links();
        if (!system_folders.empty())
            listing.problems.push_back(fmt::format("{} system folders were left out (first: {})", system_folders.size(),
                                                   std::ranges::min(system_folders)));
    }

private:
    void folder(const fs::path& relative) {
        std::error_code error;
        const fs::path here = root / relative, real = fs::canonical(here, error);
        if (error || !visited.insert(real).second) return;
        fs::directory_iterator entry(here, error);
        for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
            const std::string name = entry->path().filename().string();
            if (name.starts_with('.')) continue;
            std::error_code ignored;
            if (entry->is_directory(ignored))
                folder_inside(*entry, relative / name);
            else if (is_image_name(name)) {
                listing.files.push_back((relative / name).string());
                if (entry->is_symlink(ignored)) linked_files.push_back(listing.files.back());
            }
        }
        if (error) listing.problems.push_back(here.string() + ": cannot be read: " + error.message());
    }

    // A folder of favourites, for one: results are per name, so whoever counts animals has to know.
    void note_links() {
        const fs::path here = fs::weakly_canonical(root);
        std::vector<std::pair<std::string, const std::string*>> outside;  // the file, and a name that leads there
        std::string first;
        size_t links = 0;
        const auto found = [&](const std::string& name, const std::string& other) {
            if (links++ == 0) first = fmt::format("{} is {}", name, other);
        };
        std::ranges::sort(linked_files);
        for (const std::string& name : linked_files) {
            std::error_code error;
            const std::string real = fs::canonical(root / name, error).string(),
                              inside = fs::path(real).lexically_relative(here).string();
            if (error) continue;
            if (std::ranges::binary_search(listing.files, inside))
                found(name, inside);
            else
                outside.emplace_back(real, &name);
        }
        std::ranges::stable_sort(
            outside, {}, [](auto& link) -> auto& { return link.first; });
        for (size_t i = 1; i < outside.size(); ++i)
            if (outside[i].first == outside[i - 1].first) found(*outside[i].second, *outside[i - 1].second);
        if (links)
            listing.problems.push_back(fmt::format(
                "{} images are links to others of them, and count as images of their own (first: {})", links, first));
    }

    void folder_inside(const fs::directory_entry& entry, const fs::path& relative) {
        std::error_code ignored;
        if (is_system_folder(entry.path().filename().string()))
            system_folders.push_back(entry.path().string());
        else if (is_run_folder(entry.path()))
            listing.problems.push_back(entry.path().string() + ": is a run folder of tundra and was left out");
        else if (entry.is_symlink(ignored))
            links.insert(relative);
        else
            folder(relative);
    }
};

}  // namespace

bool is_image_name(const std::string& name) {
    static constexpr std::array kExtensions{".jpg", ".jpeg", ".jpe",  ".jfif", ".png",  ".bmp", ".gif",
                                            ".tif", ".tiff", ".webp", ".heic", ".heif", ".avif"};
    const std::string base = name.substr(name.rfind('/') + 1);
    if (base.starts_with('.')) return false;
    const size_t dot = base.rfind('.');
    if (dot == std::string::npos) return false;
    return std::ranges::find(kExtensions, lower(base.substr(dot))) != kExtensions.end();
}

bool is_jpeg_name(const std::string& name) {
    const std::string end = lower(name.substr(name.size() - std::min<size_t>(5, name.size())));
    return end.ends_with(".jpg") || end == ".jpeg";
}

Listing list_images(const std::string& folder) {
    Walk walk{.root = folder};
    walk.everything();
    return walk.listing;
}

bool is_skipped_folder(const fs::path& folder) {
    const std::string name = folder.filename().string();
    return name.starts_with('.') || is_system_folder(name) || is_run_folder(folder);
}
