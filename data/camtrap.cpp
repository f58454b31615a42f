// Camtrap DP 1.0 (https://camtrap-dp.tdwg.org): media and observations of a Camera Trap Data Package.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "data/dataset_parts.h"
#include "data/exif.h"
#include "data/label_source.h"

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::string cell(const CsvTable& table, size_t row, const char* column) {
    const std::string& text = table.has(column) ? table.at(row, column) : "";
    return is_missing(text) ? "" : text;
}

json package_in(const fs::path& file) {
    json content = parse_foreign(read_file(file, size_t(1) << 30).text());
    if (!content.is_object() || !member(content, "resources").is_array())
        fail(Fault::usage, "{}: is not a data package: it is no JSON object with a list \"resources\"", file.string());
    return content;
}

// The parts of a table whose file is divided are read one after the other; each has the header.
std::vector<CsvTable> tables_of(const json& package, const fs::path& file, const char* name) {
    std::vector<CsvTable> tables;
    for (const json& resource : package["resources"]) {
        if (text_of(resource, "name") != name) continue;
        const json& path = member(resource, "path");
        std::vector<std::string> parts;
        if (path.is_string()) parts.push_back(path);
        for (const json& part : path.is_array() ? path : json::array())
            if (part.is_string()) parts.push_back(part);
        if (parts.empty()) fail(Fault::usage, "{}: its table '{}' has no path", file.string(), name);
        for (const std::string& part : parts) {
            if (part.ends_with(".gz") || part.ends_with(".zip") || part.find("://") != part.npos)
                fail(Fault::usage, "{}: its table '{}' is {}; unpack or download it, and name the CSV file as its path",
                     file.string(), name, part);
            const fs::path table = file.parent_path() / part;
            tables.emplace_back(utf8_text(read_file(table).text(), table.string()), table.string(), Fault::usage);
        }
    }
    if (tables.empty())
        fail(Fault::usage, "{}: has no table '{}'; a Camera Trap Data Package has deployments, media and observations",
             file.string(), name);
    return tables;
}

struct Observation {
    std::string type, species, where;
    bool has_box = false, by_machine = false;
    double x = 0, y = 0, w = 0, h = 0;
};

struct Medium {
    Sample sample;
    std::vector<Observation> observations = {};
};

double share(const CsvTable& table, size_t row, const char* column) {
    const std::string text = cell(table, row, column);
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || end != text.c_str() + text.size() || !std::isfinite(value))
        fail(Fault::usage, "{}: line {}: {} '{}' is not a number", table.name(), table.line(row), column, text);
    return value;
}

// Where the file is: below the package, or beside it under its own name if the path is an address.
std::string file_of(const CsvTable& table, size_t row, const fs::path& folder) {
    const std::string path = with_slashes(cell(table, row, "filePath")), name = cell(table, row, "fileName");
    if (path.find("://") == path.npos) return path;
    for (const char* beside : {"media", ""})
        if (std::error_code none; !name.empty() && fs::exists(folder / beside / name, none))
            return (fs::path(beside) / name).generic_string();
    return "";
}

// Images of the package with what was seen on each. `left`: images that are not at hand.
std::vector<Medium> read_media(const fs::path& file, Warnings& odd) {
    const json package = package_in(file);
    std::vector<Medium> media;
    std::map<std::string, size_t> by_id;
    constexpr size_t kElsewhere = SIZE_MAX;
    for (const CsvTable& table : tables_of(package, file, "media"))
        for (size_t row = 0; row < table.size(); ++row) {
            const std::string id = table.at(row, "mediaID"),
                              where = table.name() + ":" + std::to_string(table.line(row));
            const std::string name = file_of(table, row, file.parent_path());
            if (by_id.contains(id))
                fail(Fault::usage, "{}: line {}: mediaID '{}' is there twice", table.name(), table.line(row), id);
            if (name.empty()) {
                odd.count("images are on the network only and were left out", where);
                by_id.emplace(id, kElsewhere);
                continue;
            }
            if (cell(table, row, "fileMediatype").starts_with("video/") ||
                cell(table, row, "fileMediatype").starts_with("audio/")) {
                odd.count("videos and sounds were left out", where);
                by_id.emplace(id, kElsewhere);
                continue;
            }
            by_id.emplace(id, media.size());
            const std::string date = cell(table, row, "timestamp");
            media.push_back({.sample = {.name = fs::path(name).lexically_normal().generic_string(),
                                        .camera = cell(table, row, "deploymentID"),
                                        .time = date.size() < 19 ? -1 : exif_seconds(date.substr(0, 19))}});
        }
    for (const CsvTable& table : tables_of(package, file, "observations"))
        for (size_t row = 0; row < table.size(); ++row) {
            const std::string id = cell(table, row, "mediaID");
            if (cell(table, row, "observationLevel") == "event" || id.empty()) continue;
            const auto found = by_id.find(id);
            const std::string where = table.name() + ":" + std::to_string(table.line(row));
            if (found == by_id.end())
                fail(Fault::usage, "{}: line {}: there is no medium '{}'", table.name(), table.line(row), id);
            if (found->second == kElsewhere) continue;
            Medium& medium = media[found->second];
            if (medium.sample.sequence.empty()) medium.sample.sequence = cell(table, row, "eventID");
            Observation seen{.type = cell(table, row, "observationType"),
                             .species = cell(table, row, "scientificName"),
                             .where = where,
                             .has_box = !cell(table, row, "bboxWidth").empty() || !cell(table, row, "bboxX").empty(),
                             .by_machine = cell(table, row, "classificationMethod") == "machine"};
            if (seen.has_box) {
                seen.x = share(table, row, "bboxX"), seen.y = share(table, row, "bboxY");
                seen.w = share(table, row, "bboxWidth"), seen.h = share(table, row, "bboxHeight");
            }
            medium.observations.push_back(std::move(seen));
        }
    return media;
}

std::string class_of(const Observation& seen) {
    if (seen.type == "animal") return seen.species;
    return seen.type == "human" || seen.type == "vehicle" || seen.type == "blank" ? seen.type : "";
}

LabelSource read_camtrap_labels(const fs::path& file) {
    LabelSource source{.root = file.parent_path(), .images = {}, .odd = {}};
    for (Medium& medium : read_media(file, source.odd)) {
        std::set<std::string> labels;
        bool by_machine = false;
        for (const Observation& seen : medium.observations)
            labels.insert(class_of(seen)), by_machine |= seen.by_machine;
        labels.erase("");
        const std::string& name = medium.sample.name;
        if (labels.size() > 1 && labels.erase("blank")) source.odd.count("images are blank and not", name);
        if (labels.empty())
            source.odd.count("images have no observation of their own that names a class and were left out", name);
        else if (labels.size() > 1)
            source.odd.count("images show several classes and were left out", name);
        else {
            if (by_machine) source.odd.count("images were labelled by a machine", name);
            source.images.push_back({std::move(medium.sample), *labels.begin()});
        }
    }
    return source;
}

}  // namespace

fs::path data_package(const fs::path& path) {
    std::error_code none;
    const fs::path file = fs::is_directory(path, none) ? path / "datapackage.json" : path;
    return file.filename() == "datapackage.json" && fs::is_regular_file(file, none) ? file : fs::path();
}

LabelSource read_label_source(const fs::path& path) {
    const fs::path package = data_package(path);
    LabelSource source = package.empty() ? read_coco_labels(path) : read_camtrap_labels(package);
    if (source.images.empty())
        fail(Fault::usage, "{}: has no images that can be used{}", path.string(), source.odd.in_brackets());
    return source;
}

BoxSource read_camtrap_boxes(const fs::path& file) {
    BoxSource source{.root = file.parent_path(), .classes = {"animal", "person", "vehicle"}, .rows = {}, .odd = {}};
    static const std::map<std::string, uint32_t> kClasses{{"animal", 0}, {"human", 1}, {"vehicle", 2}};
    for (Medium& medium : read_media(file, source.odd)) {
        SourceRow row{.sample = std::move(medium.sample), .w = 1, .h = 1};
        size_t without = 0;
        for (const Observation& seen : medium.observations) {
            const auto found = kClasses.find(seen.type);
            if (!seen.has_box || found == kClasses.end()) {
                without += seen.type != "blank";
                continue;
            }
            if (seen.by_machine) source.odd.count("boxes were made by a machine", seen.where);
            row.boxes.push_back({found->second, seen.x, seen.y, seen.w, seen.h, seen.where});
        }
        if (without || medium.observations.empty())
            source.odd.count(medium.observations.empty() ? "images have no observations of their own and were left out"
                                                         : "images have an observation without a box and were left out",
                             row.sample.name);
        else
            source.rows.push_back(std::move(row));
    }
    if (source.rows.empty())
        fail(Fault::usage, "{}: has no images that can be used{}", file.string(), source.odd.in_brackets());
    return source;
}
