// The walk through folders.
#include "data/listing.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "base/text.h"

namespace fs = std::filesystem;

namespace {

struct Walk {
    fs::path root;
    Listing listing;
    std::set<fs::path> visited;

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
                folder(relative / name);
            else if (is_image_name(name))
                listing.files.push_back((relative / name).string());
        }
        if (error) listing.problems.push_back(here.string() + ": " + error.message());
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
    Walk walk{.root = folder, .listing = {}, .visited = {}};
    walk.folder("");
    std::sort(walk.listing.files.begin(), walk.listing.files.end());
    return walk.listing;
}
