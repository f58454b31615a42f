#include "app/detect/result_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <optional>
#include <set>
#include <unordered_map>

#include "app/detect/shard.h"
#include "app/jobs/names.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

using nlohmann::ordered_json;

namespace {

// Collects many small texts into few writes.
class Text {
public:
    explicit Text(FileWriter& file) : file_(file) {}
    void add(std::string_view text) {
        buffer_ += text;
        if (buffer_.size() >= size_t(1) << 16) flush();
    }
    void flush() {
        file_.write(buffer_);
        buffer_.clear();
    }

private:
    FileWriter& file_;
    std::string buffer_;
};

void write_megadetector(Text& text, const ResultHead& head, const EntryOptions& options, const ResultEntries& entries) {
    text.add("{\n \"images\": [");
    for (size_t i = 0; i < entries.count; ++i) {
        const ResultEntry entry = entries.at(i);
        const auto* result = std::get_if<ImageResult>(&entry);
        text.add((i ? ",\n  " : "\n  ") +
                 one_line(result ? megadetector_entry(*result, options) : std::get<ordered_json>(entry)));
    }
    ordered_json info{{"format_version", "1.6"}};
    info.update(head.info);
    text.add("\n ],\n \"detection_categories\": " + one_line(head.categories));
    if (!head.classes.empty()) text.add(",\n \"classification_categories\": " + one_line(head.classes));
    text.add(",\n \"info\": " + one_line(info) + "\n}\n");
}

// The number that a file's name is, without folder and extension.
std::optional<int64_t> number_in(const std::string& file) {
    const std::string stem = std::filesystem::path(file).stem().string();
    const bool number = !stem.empty() && stem.size() < 18 && stem.find_first_not_of("0123456789") == std::string::npos;
    return number ? std::optional<int64_t>(std::stoll(stem)) : std::nullopt;
}

// Boxes in pixels of the image; image_id is a number if the file's name is one, as in YOLOv5's val.py, and the name
// itself if another file, in another folder, has the same number.
void write_coco(Text& text, const ResultEntries& entries) {
    std::unordered_map<int64_t, size_t> files;
    for (size_t i = 0; i < entries.count; ++i)
        if (const auto number = number_in(entries.name_of(i))) ++files[*number];
    bool first = true;
    text.add("[");
    for (size_t i = 0; i < entries.count; ++i) {
        const auto r = std::get<ImageResult>(entries.at(i));
        const std::optional<int64_t> number = number_in(r.file);
        const ordered_json id = number && files[*number] == 1 ? ordered_json(*number) : ordered_json(r.file);
        for (const Detection& d : r.detections) {
            const double w = double(r.w), h = double(r.h);
            // Boxes are whole pixels, which the four truncated digits determine on sides below 10,000.
            const auto pixels = [](double v, double side) { return std::round((v + 0.5e-4) * side); };
            const ordered_json row{{"image_id", id},
                                   {"category_id", d.category},
                                   {"bbox", {pixels(d.x, w), pixels(d.y, h), pixels(d.w, w), pixels(d.h, h)}},
                                   {"score", d.confidence}};
            text.add((first ? "\n " : ",\n ") + one_line(row));
            first = false;
        }
    }
    text.add("\n]\n");
}

void write_csv(Text& text, const ResultHead& head, const ResultEntries& entries) {
    text.add("file,failure,category,confidence,x_min,y_min,width,height\n");
    for (size_t i = 0; i < entries.count; ++i) {
        const auto r = std::get<ImageResult>(entries.at(i));
        const std::string start = csv_field(r.file) + "," + csv_field(r.failure);
        if (r.detections.empty()) text.add(start + ",,,,,,\n");
        for (const Detection& d : r.detections) {
            const std::string name = head.categories.value(std::to_string(d.category), std::to_string(d.category));
            text.add(fmt::format("{},{},{},{},{},{},{}\n", start, csv_field(name), d.confidence, d.x, d.y, d.w, d.h));
        }
    }
}

// The fault of the entry of an image, or "". Whole numbers become floats, as the format requires.
std::string entry_trouble(ordered_json& image, const ordered_json& categories) {
    const bool failed = image.contains("failure") && !image["failure"].is_null();
    if (failed && !image["failure"].is_string()) return "has a failure that is not a string";
    if (!image.contains("detections") || image["detections"].is_null())
        return failed ? "" : "has neither detections nor a failure";
    if (failed) image["detections"] = nullptr;  // older writers put an empty list there
    if (failed) return "";
    if (!image["detections"].is_array()) return "has detections that are not a list";
    for (ordered_json& d : image["detections"]) {
        if (!d.is_object() || !d.contains("category") || !d["category"].is_string() ||
            !categories.contains(d["category"].get<std::string>()))
            return "has a detection of an unknown category";
        if (!d.contains("conf") || !d["conf"].is_number()) return "has a detection without a confidence";
        const double confidence = d["conf"].get<double>();
        if (confidence < 0 || confidence > 1) return "has a confidence that is not from 0 to 1";
        d["conf"] = confidence;
        if (!d.contains("bbox") || !d["bbox"].is_array() || d["bbox"].size() != 4)
            return "has a detection without a box";
        for (ordered_json& v : d["bbox"]) {
            if (!v.is_number()) return "has a box that is not four numbers";
            v = v.get<double>();
            if (std::abs(v.get<double>()) > 2) return "has a box in pixels, not in shares of the image's sides";
        }
    }
    return "";
}

}  // namespace

std::filesystem::path folder_of_images(const std::filesystem::path& file, const std::string& given,
                                       const std::string& first, const char* help) {
    const std::filesystem::path here = file.parent_path();
    std::vector<std::filesystem::path> folders{given};
    if (given.empty()) folders = {here, here / "images", ""};
    for (const auto& folder : folders)
        if (std::error_code none; std::filesystem::exists(folder / first, none)) return folder;
    fail(Fault::usage, "{}: the images are not in {} (first: {}); {}", file.string(),
         given.empty() ? "the folder of the file" : given, first, help);
}

std::set<std::string> damaged_images(const ResultHead& head) {
    std::set<std::string> names;
    const ordered_json& settings = member(member(head.info, "custom_metadata"), "tundra");
    for (const auto& name : member(settings, "damaged_pictures"))
        if (name.is_string()) names.insert(name.get<std::string>());
    return names;
}

namespace {

ordered_json shard_settings(const ResultFile& file, const std::string& path) {
    ordered_json settings = member(member(file.head.info, "custom_metadata"), "tundra");
    if (!member(settings, "shard").is_string())
        fail(Fault::usage,
             "{}: does not say which part of the images it holds; merge takes files that `tundra detect --shard` "
             "wrote",
             path);
    if (!member(settings, "pictures").is_number_unsigned() || !member(settings, "list").is_string())
        fail(Fault::damaged, "{}: says which shard it is, but not of which list of images", path);
    settings["damaged_pictures"] = damaged_images(file.head);
    return settings;
}

}  // namespace

ResultFormat result_format(const std::string& name, const std::filesystem::path& path) {
    static constexpr std::array kOthers{".jsonl", ".tsv",  ".xls", ".xlsx", ".ods",
                                        ".xml",   ".yaml", ".yml", ".gz",   ".zip"};
    const std::string end = lower(path.extension().string());
    const bool table = name == "csv" || (name.empty() && end == ".csv");
    if (std::ranges::find(kOthers, end) != kOthers.end() || (table ? end == ".json" : end == ".csv"))
        fail(Fault::usage,
             "--out {}: would hold {}, which its name does not say; name a .json file, or a .csv file for a table",
             path.string(), table ? "a CSV table" : "JSON");
    if (table) return ResultFormat::csv;
    if (name == "coco") return ResultFormat::coco;
    if (name.empty() || name == "megadetector") return ResultFormat::megadetector;
    fail(Fault::usage, "--format {}: must be megadetector, coco or csv", name);
}

void write_results(const std::filesystem::path& path, ResultFormat format, const ResultHead& head,
                   const EntryOptions& options, const ResultEntries& entries) {
    write_file_durably(path, [&](FileWriter& file) {
        Text text(file);
        switch (format) {
            case ResultFormat::megadetector: write_megadetector(text, head, options, entries); break;
            case ResultFormat::coco: write_coco(text, entries); break;
            case ResultFormat::csv: write_csv(text, head, entries); break;
        }
        text.flush();
    });
}

ResultFile read_results(const std::filesystem::path& path) {
    const FileBytes bytes = read_file(path, size_t(8) << 30);
    return parse_results(ordered_json::parse(bytes.text(), nullptr, false), path.string());
}

ResultFile parse_results(ordered_json json, const std::string& path) {
    const auto wrong = [&](const std::string& what) {
        fail(Fault::damaged, "{}: is not a MegaDetector result file: {}", path, what);
    };
    if (!json.is_object()) wrong("it is not a JSON object");
    for (const char* key : {"images", "detection_categories", "info"})
        if (!json.contains(key)) wrong(fmt::format("it has no \"{}\"", key));
    if (!json["images"].is_array() || !json["detection_categories"].is_object() || !json["info"].is_object())
        wrong("its parts have the wrong types");
    const ordered_json& info = json["info"];
    if (info.contains("detector") && !info["detector"].is_string()) wrong("\"detector\" is not a string");
    for (const auto& category : json["detection_categories"])
        if (!category.is_string()) wrong("a category's name is not a string");
    ResultFile file{.head = {json["detection_categories"], info}, .images = {}};
    if (json.contains("classification_categories")) file.head.classes = json["classification_categories"];
    for (const auto& name : file.head.classes)
        if (!name.is_string()) wrong("a class's name is not a string");
    for (ordered_json& image : json["images"]) {
        if (!image.is_object() || !image.contains("file") || !image["file"].is_string())
            wrong("an image has no \"file\"");
        const std::string name = image["file"];
        if (const std::string trouble = entry_trouble(image, file.head.categories); !trouble.empty())
            wrong(fmt::format("'{}' {}", name, trouble));
        file.order.push_back(name);
        if (!file.images.try_emplace(name, std::move(image)).second) wrong(fmt::format("'{}' occurs twice", name));
    }
    return file;
}

size_t merge_results(const std::vector<std::string>& paths, const std::filesystem::path& out) {
    if (paths.empty()) fail(Fault::usage, "merge: name the result files of all shards");
    check_output("--out", out, {paths.begin(), paths.end()});
    ResultFile all;
    std::map<size_t, std::string> seen;
    ordered_json first;
    std::set<std::string> damaged;
    for (const std::string& path : paths) {
        ResultFile part = read_results(path);
        ordered_json settings = shard_settings(part, path);
        const Shard shard = parse_shard(settings["shard"].get<std::string>());
        damaged.merge(damaged_images(part.head));
        settings.erase("shard");
        settings.erase("damaged_pictures");
        settings["shards"] = shard.of;
        if (first.is_null()) first = settings, all.head = part.head;
        if (settings != first || part.head.categories != all.head.categories || part.head.classes != all.head.classes ||
            part.head.info.value("detector", "") != all.head.info.value("detector", ""))
            fail(Fault::usage,
                 "{}: was made by another model, with other settings or from another list of images than {}", path,
                 paths[0]);
        if (const auto [other, added] = seen.try_emplace(shard.number, path); !added)
            fail(Fault::usage, "{} and {} are both shard {} of {}", other->second, path, shard.number, shard.of);
        for (auto& [name, image] : part.images)
            if (!all.images.try_emplace(name, std::move(image)).second)
                fail(Fault::damaged, "{}: '{}' is also in another shard", path, name);
    }
    for (size_t i = 1; i <= first["shards"].get<size_t>(); ++i)
        if (!seen.contains(i)) fail(Fault::usage, "merge: shard {} of {} is missing", i, first["shards"].get<size_t>());
    std::vector<std::string> names;
    std::vector<ordered_json> images;
    for (auto& [name, image] : all.images) names.push_back(name), images.push_back(std::move(image));
    if (names.size() != first.value("pictures", size_t(0)) ||
        list_hash(names.size(), [&](size_t i) { return names[i]; }) != first.value("list", ""))
        fail(Fault::damaged, "merge: the shards hold {} images, which are not the {} of the list", names.size(),
             first.value("pictures", size_t(0)));
    first.erase("shards");
    if (!damaged.empty()) first["damaged_pictures"] = damaged;
    all.head.info["custom_metadata"]["tundra"] = first;
    all.head.info["detection_completion_time"] = completion_time();
    write_results(out, ResultFormat::megadetector, all.head, {}, {images.size(), [&](size_t i) { return images[i]; }});
    return names.size();
}

std::string completion_time() {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
    return text;
}
