// Reads folders and CSV files into one table.
#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "base/csv.h"
#include "base/error.h"
#include "data/dataset_parts.h"
#include "data/listing.h"

namespace fs = std::filesystem;

namespace {

struct Row {
    Sample sample;
    std::string label;
};

struct Table {
    std::vector<Row> rows;
    std::set<std::string> classes;  // also those without images
    std::vector<std::string> notes;
    bool has_parts = false;  // the data set says which part an image belongs to
};

std::vector<std::string> folders_in(const fs::path& folder) {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        std::error_code ignored;
        if (!name.starts_with('.') && entry.is_directory(ignored)) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

// The folder below the class folder, if there is one: class/camera/image.jpg
std::string folder_camera(const std::string& below_class) {
    const size_t slash = below_class.find('/');
    return slash == std::string::npos ? "" : below_class.substr(0, slash);
}

void read_class_folders(const std::string& root, const std::string& prefix, Part part, Table& table) {
    const fs::path folder = fs::path(root) / prefix;
    const Listing listing = list_images(folder.string());
    for (const std::string& name : folders_in(folder)) table.classes.insert(name);
    for (const std::string& problem : listing.problems) table.notes.push_back("cannot be read: " + problem);
    for (const std::string& file : listing.files) {
        const size_t slash = file.find('/');
        if (slash == std::string::npos)
            fail(Fault::usage, "{}: {} lies in no class folder; put every image into a folder named after its class",
                 folder.string(), file);
        table.rows.push_back({.sample = {.name = prefix.empty() ? file : prefix + "/" + file,
                                         .part = part,
                                         .camera = folder_camera(file.substr(slash + 1))},
                              .label = file.substr(0, slash)});
    }
}

// A training folder has class folders in it and no images: else it is a class that happens to have this name.
bool has_part_folders(const fs::path& root, const std::vector<std::string>& folders) {
    for (const std::string& name : folders) {
        if (part_of(name) != Part::train) continue;
        bool images = false;
        for (const fs::directory_entry& entry : fs::directory_iterator(root / name))
            images = images || (!entry.is_directory() && is_image_name(entry.path().filename().string()));
        if (!images && !folders_in(root / name).empty()) return true;
    }
    return false;
}

Table read_folder(const std::string& root) {
    Table table;
    const std::vector<std::string> folders = folders_in(root);
    table.has_parts = has_part_folders(root, folders);
    if (!table.has_parts) {
        read_class_folders(root, "", Part::train, table);
        return table;
    }
    std::map<Part, std::string> seen;
    for (const std::string& name : folders) {
        const std::optional<Part> part = part_of(name);
        if (!part) {
            if (!list_images((fs::path(root) / name).string()).files.empty())
                fail(Fault::usage, "{}: folder {} stands beside {}; with parts, classes lie inside the part folders",
                     root, name, seen.empty() ? "train" : seen.begin()->second);
            continue;
        }
        if (!seen.emplace(*part, name).second)
            fail(Fault::usage, "{}: folders {} and {} both mean {}; keep one", root, seen[*part], name,
                 part_name(*part));
        read_class_folders(root, name, *part, table);
    }
    return table;
}

struct Columns {
    int path = 0, label = 1, part = 2, camera = 3;
};

std::optional<Columns> header_of(const CsvRow& row) {
    static const std::map<std::string, int Columns::*> kNames{{"path", &Columns::path},     {"file", &Columns::path},
                                                              {"filename", &Columns::path}, {"image", &Columns::path},
                                                              {"label", &Columns::label},   {"class", &Columns::label},
                                                              {"split", &Columns::part},    {"part", &Columns::part},
                                                              {"camera", &Columns::camera}, {"site", &Columns::camera}};
    Columns columns{.path = -1, .label = -1, .part = -1, .camera = -1};
    for (size_t i = 0; i < row.fields.size(); ++i) {
        const auto found = kNames.find(lower(row.fields[i]));
        if (found != kNames.end()) columns.*(found->second) = int(i);
    }
    if (columns.path < 0 || columns.label < 0) return std::nullopt;
    return columns;
}

Table read_csv(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) fail(Fault::usage, "{}: cannot be opened", file);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    std::vector<CsvRow> rows = parse_csv(text, file);
    if (rows.empty()) fail(Fault::usage, "{}: no lines; each is path,label[,split[,camera]]", file);
    Columns columns;
    if (const std::optional<Columns> header = header_of(rows[0])) {
        columns = *header;
        rows.erase(rows.begin());
    }
    Table table;
    std::map<std::string, size_t> lines;
    for (const CsvRow& row : rows) {
        auto field = [&](int column) {
            return column >= 0 && size_t(column) < row.fields.size() ? row.fields[size_t(column)] : std::string();
        };
        const std::string path = fs::path(field(columns.path)).lexically_normal().generic_string();
        const std::string label = field(columns.label), part = field(columns.part);
        if (field(columns.path).empty() || label.empty())
            fail(Fault::usage, "{}: line {}: path or label is empty; each line is path,label[,split[,camera]]", file,
                 row.line);
        if (const auto [first, is_new] = lines.emplace(path, row.line); !is_new)
            fail(Fault::usage, "{}: line {}: {} is on line {} already", file, row.line, path, first->second);
        const std::optional<Part> known = part_of(part);
        if (!part.empty() && !known)
            fail(Fault::usage, "{}: line {}: unknown split '{}'; it is train, validation or test", file, row.line,
                 part);
        if (part.empty() && table.has_parts)
            fail(Fault::usage, "{}: line {}: no split, but the lines before have one", file, row.line);
        if (!part.empty() && !table.has_parts && !table.rows.empty())
            fail(Fault::usage, "{}: line {}: split '{}', but the lines before have none", file, row.line, part);
        table.has_parts = known.has_value();
        table.classes.insert(label);
        table.rows.push_back(
            {.sample = {.name = path, .part = known.value_or(Part::train), .camera = field(columns.camera)},
             .label = label});
    }
    return table;
}

void number_classes(const std::string& path, Table& table, Dataset& data) {
    data.classes.assign(table.classes.begin(), table.classes.end());
    if (data.classes.size() == 1)
        fail(Fault::usage, "{}: only one class, '{}'; a classifier needs two or more", path, data.classes[0]);
    std::sort(table.rows.begin(), table.rows.end(),
              [](const Row& a, const Row& b) { return a.sample.name < b.sample.name; });
    for (Row& row : table.rows) {
        row.sample.label =
            uint32_t(std::lower_bound(data.classes.begin(), data.classes.end(), row.label) - data.classes.begin());
        data.samples.push_back(std::move(row.sample));
    }
}

}  // namespace

Dataset open_dataset(const std::string& path, const DatasetOptions& options) {
    std::error_code error;
    if (!fs::exists(path, error)) fail(Fault::usage, "{}: no such folder or CSV file", path);
    const bool is_folder = fs::is_directory(path);
    Table table;
    try {
        table = is_folder ? read_folder(path) : read_csv(path);
    } catch (const fs::filesystem_error& problem) {
        fail(Fault::usage, "{}: {}", problem.path1().string(), problem.code().message());
    }
    if (table.rows.empty())
        fail(Fault::usage, "{}: no images found; expected folders named after the classes, with images in them", path);

    Dataset data{.root = is_folder ? path : fs::path(path).parent_path().string(),
                 .classes = {},
                 .samples = {},
                 .notes = table.notes,
                 .fingerprint = {}};
    number_classes(path, table, data);
    std::vector<size_t> images(data.classes.size());
    for (const Sample& sample : data.samples) ++images[sample.label];
    for (size_t c = 0; c < images.size(); ++c)
        if (images[c] == 0)
            fail(Fault::usage, "{}: class '{}' has no images; fill its folder or remove it", path, data.classes[c]);
    read_all_facts(data, options, {.serial_first = is_folder});
    make_parts(table.has_parts, options, data.classes.size(), data);
    const std::vector<size_t> training = data.class_counts(Part::train);
    for (size_t c = 0; c < training.size(); ++c)
        if (options.for_training && training[c] == 0)
            fail(Fault::usage, "{}: class '{}' has no training images", path, data.classes[c]);
    data.fingerprint = fingerprint_of(data, false);
    return data;
}
