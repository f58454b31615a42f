// Reads YOLO label files.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#ifdef TUNDRA_YAML
#include <yaml-cpp/yaml.h>
#endif

#include "base/csv.h"
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
    Folders folders;                      // or lists of paths in .txt files
    std::vector<size_t> key_points = {};  // how many, and how many numbers each has; empty: not said
    std::vector<std::string> notes = {};
};

std::string text_of(const fs::path& path) {
    const FileBytes bytes = read_file(path, kLargestText);
    return utf8_text({reinterpret_cast<const char*>(bytes.span().data()), bytes.size}, path.string());
}

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
std::vector<std::string> class_names(const YAML::Node& names, const std::string& file) {
    std::vector<std::string> result;
    if (names && names.IsSequence())
        for (const YAML::Node& name : names) result.push_back(name.as<std::string>());
    if (!names || !names.IsMap()) return result;
    std::map<size_t, std::string> by_number;
    for (const auto& entry : names) {
        const auto number = entry.first.as<size_t>();
        if (!by_number.emplace(number, entry.second.as<std::string>()).second)
            fail(Fault::usage, "{}: names: number {} has two names", file, number);
    }
    for (const auto& [number, name] : by_number) {
        if (number != result.size())
            fail(Fault::usage, "{}: names: number {} has no name; classes are numbered from 0 without a gap", file,
                 result.size());
        result.push_back(name);
    }
    return result;
}

std::vector<std::string> paths_of(const YAML::Node& node) {
    if (!node || node.IsNull()) return {};
    std::vector<std::string> paths =
        node.IsSequence() ? node.as<std::vector<std::string>>() : std::vector{node.as<std::string>()};
    std::erase(paths, "");
    return paths;
}

// The path `text` of a data.yaml: below `base`; of a path written for another machine, as many of its last folders as
// exist.
fs::path found_path(const fs::path& base, const std::string& text) {
    const fs::path written = with_slashes(text);
    if (fs::exists(base / written)) return base / written;
    for (auto part = written.begin(); part != written.end(); ++part) {
        fs::path rest;
        for (auto p = part; p != written.end(); ++p) rest /= *p;
        if (rest.is_relative() && *part != ".." && fs::exists(base / rest)) return base / rest;
    }
    return {};
}

void read_parts(const YAML::Node& yaml, const fs::path& base, const std::string& file, Description& result) {
    for (const char* key : {"train", "val", "test"})
        for (const std::string& text : paths_of(yaml[key])) {
            const fs::path path = found_path(base, text);
            const std::string wanted =
                fmt::format("{}: {}: {} is missing", file, key, (base / with_slashes(text)).string());
            if (path.empty() && key != std::string_view("test")) fail(Fault::usage, "{}", wanted);
            if (path.empty()) {
                result.notes.push_back(wanted + "; there are no test images");
                continue;
            }
            // One exporter writes paths relative to a folder that does not exist.
            const bool exporter = text.starts_with("../") && path == base / text.substr(3);
            if (path != base / with_slashes(text) && !exporter)
                result.notes.push_back(fmt::format("{}, {} is used instead", wanted, path.string()));
            result.folders.emplace_back(path, part_of(key));
        }
}

Description read_yaml(const fs::path& file) {
    Description result;
    try {
        const YAML::Node yaml = YAML::Load(text_of(file));
        result.names = class_names(yaml["names"], file.string());
        if (const auto nc = yaml["nc"]; nc && nc.as<size_t>() != result.names.size() && !result.names.empty())
            result.notes.push_back(fmt::format("{}: says nc: {} and names {} classes; the names count", file.string(),
                                               nc.as<size_t>(), result.names.size()));
        if (yaml["kpt_shape"]) result.key_points = yaml["kpt_shape"].as<std::vector<size_t>>();
        fs::path base = file.parent_path();
        if (yaml["path"]) base /= with_slashes(yaml["path"].as<std::string>());
        if (!fs::exists(base)) base = file.parent_path();  // written for another machine
        read_parts(yaml, base, file.string(), result);
    } catch (const YAML::Exception& e) {
        fail(Fault::usage, "{}: {}", file.string(), e.what());
    }
    if (result.names.empty())
        fail(Fault::usage, "{}: has no class names, such as names: [animal, person, vehicle]", file.string());
    if (result.folders.empty())
        fail(Fault::usage, "{}: does not say where the images are, such as train: images/train", file.string());
    return result;
}
#else
Description read_yaml(const fs::path& file) {
    fail(Fault::usage, "{}: this tundra was built without yaml-cpp; put the class names into classes.txt, one per line",
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
             "{}: holds neither COCO JSON nor data.yaml nor classes.txt; a detector is trained on images with boxes in "
             "COCO JSON or YOLO label files",
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

// images/a/b.jpg has labels/a/b.txt, where `images` is a folder inside the data set, not above it. If that file does
// not exist, the label lies beside the image.
fs::path label_file(const fs::path& image, const fs::path& root) {
    // The folder of the data set counts as well: it may be called images.
    const fs::path above = fs::absolute(root / ".").lexically_normal().parent_path().parent_path();
    const fs::path inside = fs::absolute(image).lexically_normal().lexically_relative(above);
    std::vector<fs::path> parts(image.begin(), image.end());
    const auto end = parts.rbegin() + std::min(std::distance(inside.begin(), inside.end()), std::ssize(parts));
    const auto images = std::find(parts.rbegin(), end, fs::path("images"));
    const fs::path beside = fs::path(image).replace_extension(".txt");
    if (images == end) return beside;
    *images = "labels";
    fs::path label;
    for (const fs::path& part : parts) label /= part;
    label.replace_extension(".txt");
    return !fs::exists(label) && fs::exists(beside) ? beside : label;
}

struct LabelLine {
    std::vector<double> numbers;
    std::string text, where;
    size_t row;  // of the source

    [[noreturn]] void refuse(const std::string& what) const {
        fail(Fault::usage, "{}: '{}' {}", where, text.substr(0, 60), what);
    }
};

LabelLine parse_line(const std::string& text, const std::string& where, size_t row) {
    LabelLine line{.numbers = {}, .text = text, .where = where, .row = row};
    for (const char *at = text.data(), *end = at + text.size(); at < end;) {
        if (*at == ' ' || *at == '\t') {
            ++at;
            continue;
        }
        double value = 0;
        const auto [stopped, error] = std::from_chars(at, end, value);
        if (error != std::errc() || !std::isfinite(value) || (stopped != end && *stopped != ' ' && *stopped != '\t'))
            line.refuse("does not consist of numbers");
        line.numbers.push_back(value);
        at = stopped;
    }
    return line;
}

// Every side is parallel to an axis: a box that was drawn as an outline.
bool is_rectangle(const std::vector<double>& n) {
    for (size_t i = 1; i < n.size(); i += 2) {
        const size_t next = i + 2 < n.size() ? i + 2 : 1;
        if (n[i] != n[next] && n[i + 1] != n[next + 1]) return false;
    }
    return true;
}

bool in_image(double share) { return share >= -0.01 && share <= 1.01; }

// Class, box, then key points of `size` numbers (x, y and maybe 0, 1 or 2 for how visible it is), all inside the box
// unless they are 0, 0, for not labelled.
bool looks_like_key_points(const std::vector<double>& n, size_t size) {
    if (n.size() < 5 + size || (n.size() - 5) % size != 0) return false;
    const double half_w = n[3] / 2 + 0.01, half_h = n[4] / 2 + 0.01;
    if (n[3] <= 0 || n[4] <= 0 || !in_image(n[1] - n[3] / 2) || !in_image(n[1] + n[3] / 2) ||
        !in_image(n[2] - n[4] / 2) || !in_image(n[2] + n[4] / 2))
        return false;
    for (size_t i = 5; i < n.size(); i += size) {
        const bool inside = std::abs(n[i] - n[1]) <= half_w && std::abs(n[i + 1] - n[2]) <= half_h;
        if (!inside && (n[i] != 0 || n[i + 1] != 0)) return false;
        if (size == 3 && n[i + 2] != 0 && n[i + 2] != 1 && n[i + 2] != 2) return false;
    }
    return true;
}

// How many numbers of key points follow the boxes in the lines of a data set; 0: the lines are outlines.
size_t key_point_numbers(const std::vector<LabelLine>& lines, const std::vector<size_t>& said) {
    if (said.size() == 2) return said[0] * said[1];
    const LabelLine* first = nullptr;
    bool with_visibility = true, without = true;
    for (const LabelLine& line : lines) {
        if (line.numbers.size() <= 5) continue;
        if (!first) first = &line;
        const bool alike = line.numbers.size() == first->numbers.size();
        with_visibility = with_visibility && alike && looks_like_key_points(line.numbers, 3);
        without = without && alike && looks_like_key_points(line.numbers, 2) && !is_rectangle(line.numbers);
    }
    if (!first || (!with_visibility && !without)) return 0;
    if (!with_visibility)
        first->refuse(
            "is a box with key points or an outline, as all lines are; say which: kpt_shape: [" +
            fmt::format("{}, 2] in data.yaml, or kpt_shape: [0, 0] for outlines", (first->numbers.size() - 5) / 2));
    return first->numbers.size() - 5;
}

SourceBox box_around(const LabelLine& line, uint32_t category) {
    std::array<double, 2> low{INFINITY, INFINITY}, high{-INFINITY, -INFINITY};
    for (size_t i = 1; i < line.numbers.size(); ++i) {
        const size_t axis = (i + 1) % 2;
        if (!in_image(line.numbers[i])) line.refuse("is not in shares of the image's sides, 0 to 1");
        low[axis] = std::min(low[axis], line.numbers[i]);
        high[axis] = std::max(high[axis], line.numbers[i]);
    }
    return {category, low[0], low[1], high[0] - low[0], high[1] - low[1], line.where};
}

SourceBox box_of(const LabelLine& line, size_t key_points, size_t classes, Warnings& odd) {
    const std::vector<double>& n = line.numbers;
    const bool has_key_points = key_points && n.size() == 5 + key_points;
    const bool outline = !key_points && n.size() >= 7 && n.size() % 2 == 1;
    if (n.size() != 5 && !has_key_points && !outline)
        line.refuse(key_points
                        ? fmt::format("is not class, centre x, centre y, width, height, and {} numbers of key points",
                                      key_points)
                        : "is not class, centre x, centre y, width, height");
    if (n[0] < 0 || n[0] != std::floor(n[0]) || n[0] >= double(classes))
        line.refuse(fmt::format("has class {}; there are {} names, numbered from 0", n[0], classes));
    const auto category = uint32_t(n[0]);
    if (outline) {
        odd.count("outlines count as the boxes around them", line.where);
        return box_around(line, category);
    }
    if (has_key_points) odd.count("boxes have key points, which are not used", line.where);
    if (n[3] < 0 || n[4] < 0) line.refuse("has a negative side");
    for (size_t i = 1; i < 5; ++i)
        if (std::abs(n[i]) > 2) line.refuse("is not in shares of the image's sides, 0 to 1");
    return {category, n[1] - n[3] / 2, n[2] - n[4] / 2, n[3], n[4], line.where};
}

// Of a folder, or of a list of paths.
std::vector<fs::path> images_in(const fs::path& folder, BoxSource& source) {
    std::vector<fs::path> images;
    if (!fs::is_directory(folder)) {
        for (const Line& line : lines_of(folder))
            images.push_back((folder.parent_path() / with_slashes(line.text)).lexically_normal());
        return images;
    }
    const Listing listing = list_images(folder.string());
    source.notes.insert(source.notes.end(), listing.problems.begin(), listing.problems.end());
    for (const std::string& name : listing.files) images.push_back(folder / name);
    return images;
}

SourceRow row_of(const fs::path& image, const fs::path& folder, std::optional<Part> part, const fs::path& root) {
    SourceRow row{
        .sample = {.name = image.lexically_proximate(root).generic_string(), .part = part.value_or(Part::train)},
        .w = 1,
        .h = 1};
    if (const fs::path below = image.lexically_proximate(folder).parent_path();
        fs::is_directory(folder) && !below.empty())
        row.sample.camera = below.begin()->string();
    return row;
}

}  // namespace

BoxSource read_yolo_labels(const fs::path& path) {
    const Description description = describe(path);
    std::set<std::string> distinct;
    for (const std::string& name : description.names)
        if (name.empty() || !distinct.insert(name).second)
            fail(Fault::usage, "{}: {}", path.string(),
                 name.empty() ? "a class has an empty name" : "two classes are called '" + name + "'");
    BoxSource source{.root = fs::is_directory(path) ? path : path.parent_path(),
                     .classes = description.names,
                     .rows = {},
                     .odd = {},
                     .notes = description.notes};
    std::vector<LabelLine> lines;
    size_t labels = 0;
    for (const auto& [folder, part] : description.folders) {
        source.has_parts = source.has_parts || part.has_value();
        for (const fs::path& image : images_in(folder, source)) {
            const fs::path file = label_file(image, source.root);
            if (fs::exists(file)) {
                ++labels;
                for (const Line& line : lines_of(file))
                    lines.push_back(
                        parse_line(line.text, fmt::format("{}:{}", file.string(), line.number), source.rows.size()));
            } else {
                source.odd.count("images have no label file and count as empty", image.string());
            }
            source.rows.push_back(row_of(image, folder, part, source.root));
        }
    }
    if (source.rows.empty()) fail(Fault::usage, "{}: no images found", description.folders[0].first.string());
    if (!labels)
        fail(Fault::usage, "{}: no label files found; the first would be {}", path.string(),
             label_file(source.root / source.rows[0].sample.name, source.root).string());
    const size_t key_points = key_point_numbers(lines, description.key_points);
    for (const LabelLine& line : lines)
        source.rows[line.row].boxes.push_back(box_of(line, key_points, source.classes.size(), source.odd));
    return source;
}
