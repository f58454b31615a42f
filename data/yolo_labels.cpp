// YOLO's label files beside images.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>

#ifdef TUNDRA_YAML
#include <yaml-cpp/yaml.h>
#endif

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/box_source.h"
#include "data/dataset_parts.h"
#include "data/listing.h"

namespace fs = std::filesystem;

namespace {

constexpr size_t kLargestText = 64 << 20;

using Folders = std::vector<std::pair<fs::path, std::optional<Part>>>;  // of images

struct Description {
    std::vector<std::string> names;
    Folders folders;  // or lists of paths in .txt files
};

std::string text_of(const fs::path& path) { return std::string(without_bom(read_file(path, kLargestText).text())); }

struct Line {
    size_t number;
    std::string text;
};
std::vector<Line> lines_of(const fs::path& path) {  // those that are not empty
    std::istringstream text(text_of(path));
    std::vector<Line> lines;
    size_t number = 0;
    for (std::string line; std::getline(text, line);) {
        ++number;
        line.erase(line.find_last_not_of(" \t\r") + 1);
        if (!line.empty()) lines.push_back({number, line});
    }
    return lines;
}

#ifdef TUNDRA_YAML
Description read_yaml(const fs::path& file) {
    Description result;
    try {
        const YAML::Node yaml = YAML::Load(text_of(file));
        const YAML::Node names = yaml["names"];
        if (names && names.IsSequence()) {
            for (const YAML::Node& name : names) result.names.push_back(name.as<std::string>());
        } else if (names && names.IsMap()) {
            for (size_t i = 0; i < names.size(); ++i) result.names.push_back(names[i].as<std::string>());
        }
        fs::path base = file.parent_path();
        if (yaml["path"]) base /= yaml["path"].as<std::string>();
        if (!fs::exists(base)) base = file.parent_path();  // written for another machine
        for (const char* key : {"train", "val", "test"}) {
            const YAML::Node node = yaml[key];
            if (!node || node.IsNull()) continue;
            std::vector<std::string> paths;
            if (node.IsSequence())
                paths = node.as<std::vector<std::string>>();
            else
                paths.push_back(node.as<std::string>());
            for (const std::string& text : paths) {
                fs::path path = base / text;
                // One exporter writes paths as seen from a folder that is not there.
                if (!fs::exists(path) && text.starts_with("../")) path = base / text.substr(3);
                if (!fs::exists(path)) fail(Fault::usage, "{}: {}: there is no {}", file.string(), key, path.string());
                result.folders.emplace_back(path, part_of(key));
            }
        }
    } catch (const YAML::Exception& e) {
        fail(Fault::usage, "{}: {}", file.string(), e.what());
    }
    if (result.names.empty())
        fail(Fault::usage, "{}: has no names of classes: names: [animal, person, vehicle]", file.string());
    if (result.folders.empty())
        fail(Fault::usage, "{}: does not say where images are: train: images/train", file.string());
    return result;
}
#else
Description read_yaml(const fs::path& file) {
    fail(Fault::usage,
         "{}: this tundra was built without yaml-cpp; put the names of the classes into classes.txt, one a line",
         file.string());
}
#endif

Folders parts_below(const fs::path& folder, const std::string& inside) {
    Folders parts;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
        if (const auto part = part_of(entry.path().filename().string());
            part && fs::is_directory(entry.path() / inside))
            parts.emplace_back(entry.path() / inside, part);
    std::ranges::sort(parts);
    return parts;
}

Description look_around(const fs::path& root) {
    Description result;
    for (const fs::path& file : {root / "classes.txt", root / "labels" / "classes.txt"})
        if (fs::exists(file) && result.names.empty())
            for (const Line& line : lines_of(file)) result.names.push_back(line.text);
    result.folders = parts_below(root / "images", "");
    if (result.folders.empty()) result.folders = parts_below(root, "images");
    if (result.folders.empty())
        result.folders = {{fs::is_directory(root / "images") ? root / "images" : root, std::nullopt}};
    if (result.names.empty())
        fail(Fault::usage,
             "{}: holds neither COCO JSON nor data.yaml nor classes.txt; what a detector trains on is images with "
             "boxes in COCO JSON or YOLO label files",
             root.string());
    return result;
}

Description describe(const fs::path& path) {
    const auto is_yaml = [](const fs::path& p) { return p.extension() == ".yaml" || p.extension() == ".yml"; };
    if (!fs::is_directory(path)) {
        if (!is_yaml(path))
            fail(Fault::usage, "{}: is neither COCO JSON nor a data.yaml of YOLO labels", path.string());
        return read_yaml(path);
    }
    for (const char* name : {"data.yaml", "data.yml", "dataset.yaml", "dataset.yml"})
        if (fs::exists(path / name)) return read_yaml(path / name);
    return look_around(path);
}

// images/a/b.jpg has labels/a/b.txt; without such folders the label lies beside the image.
fs::path label_file(const fs::path& image) {
    std::vector<fs::path> parts(image.begin(), image.end());
    const auto images = std::ranges::find(parts.rbegin(), parts.rend(), fs::path("images"));
    fs::path label;
    if (images != parts.rend()) *images = "labels";
    for (const fs::path& part : parts) label /= part;
    return label.replace_extension(".txt");
}

SourceBox read_line(const std::string& line, const std::string& where, size_t classes, Warnings& odd) {
    const auto refuse = [&](const std::string& what) {
        fail(Fault::usage, "{}: '{}' {}", where, line.substr(0, 60), what);
    };
    std::vector<double> numbers;
    for (const char *at = line.data(), *end = at + line.size(); at < end;) {
        if (*at == ' ' || *at == '\t') {
            ++at;
            continue;
        }
        double value = 0;
        const auto [stopped, error] = std::from_chars(at, end, value);
        if (error != std::errc() || !std::isfinite(value) || (stopped != end && *stopped != ' ' && *stopped != '\t'))
            refuse("is not numbers");
        numbers.push_back(value);
        at = stopped;
    }
    const bool polygon = numbers.size() >= 7 && numbers.size() % 2 == 1;
    if (numbers.size() != 5 && !polygon) refuse("is not class, centre x, centre y, width, height");
    if (numbers[0] < 0 || numbers[0] != std::floor(numbers[0]) || numbers[0] >= double(classes))
        refuse(fmt::format("has class {}; there are {} names, numbered from 0", numbers[0], classes));
    const auto category = uint32_t(numbers[0]);
    if (polygon) {
        odd.count("outlines count as the boxes around them", where);
        std::array<double, 2> low{INFINITY, INFINITY}, high{-INFINITY, -INFINITY};
        for (size_t i = 1; i < numbers.size(); ++i)
            low[(i + 1) % 2] = std::min(low[(i + 1) % 2], numbers[i]),
                          high[(i + 1) % 2] = std::max(high[(i + 1) % 2], numbers[i]);
        return {category, low[0], low[1], high[0] - low[0], high[1] - low[1], where};
    }
    if (numbers[3] < 0 || numbers[4] < 0) refuse("has a negative side");
    for (size_t i = 1; i < 5; ++i)
        if (std::abs(numbers[i]) > 2) refuse("is not in shares of the image's sides, 0 to 1");
    return {category, numbers[1] - numbers[3] / 2, numbers[2] - numbers[4] / 2, numbers[3], numbers[4], where};
}

}  // namespace

BoxSource read_yolo_labels(const fs::path& path) {
    const Description description = describe(path);
    BoxSource source{.root = fs::is_directory(path) ? path : path.parent_path(),
                     .classes = description.names,
                     .rows = {},
                     .odd = {}};
    size_t labels = 0;
    for (const auto& [folder, part] : description.folders) {
        source.has_parts = source.has_parts || part.has_value();
        std::vector<fs::path> images;
        if (fs::is_directory(folder)) {
            const Listing listing = list_images(folder.string());
            for (const std::string& problem : listing.problems) source.odd.count("folders cannot be read", problem);
            for (const std::string& name : listing.files) images.push_back(folder / name);
        } else {
            for (const Line& line : lines_of(folder))
                images.push_back((folder.parent_path() / line.text).lexically_normal());
        }
        for (const fs::path& image : images) {
            SourceRow row{.sample = {.name = image.lexically_proximate(source.root).generic_string(),
                                     .part = part.value_or(Part::train)},
                          .w = 1,
                          .h = 1};
            if (const fs::path below = image.lexically_proximate(folder).parent_path();
                fs::is_directory(folder) && !below.empty())
                row.sample.camera = below.begin()->string();
            const fs::path file = label_file(image);
            if (fs::exists(file)) {
                ++labels;
                for (const Line& line : lines_of(file))
                    row.boxes.push_back(read_line(line.text, fmt::format("{}:{}", file.string(), line.number),
                                                  source.classes.size(), source.odd));
            } else {
                source.odd.count("images have no label file and count as showing nothing", image.string());
            }
            source.rows.push_back(std::move(row));
        }
    }
    if (source.rows.empty()) fail(Fault::usage, "{}: no images found", description.folders[0].first.string());
    if (!labels)
        fail(Fault::usage, "{}: not one label file found; the first would be {}", path.string(),
             label_file(source.root / source.rows[0].sample.name).string());
    return source;
}
