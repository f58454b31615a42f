// Reads folders and CSV files into one table.
#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/csv.h"
#include "base/error.h"
#include "data/dataset_parts.h"
#include "data/label_source.h"
#include "data/listing.h"
#include "data/unicode_names.h"

namespace fs = std::filesystem;

namespace {

struct Row {
    Sample sample;
    std::string label;
    std::string part = {};  // as in its line
};

struct Table {
    std::vector<Row> rows;
    std::set<std::string> classes;                  // also those without images
    std::map<std::string, std::string> unreadable;  // class folders, with the reason
    std::vector<std::string> notes;
    bool has_parts = false;  // the data set assigns images to parts
};

std::vector<std::string> folders_in(const fs::path& folder) {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
        std::error_code ignored;
        if (entry.is_directory(ignored) && !is_skipped_folder(entry.path()))
            names.push_back(entry.path().filename().string());
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
    for (const std::string& name : folders_in(folder)) {
        table.classes.insert(name);
        std::error_code error;
        (void)fs::directory_iterator(folder / name, error);
        if (error) table.unreadable[name] = (folder / name).string() + ": " + error.message();
    }
    table.notes.insert(table.notes.end(), listing.problems.begin(), listing.problems.end());
    for (const std::string& file : listing.files) {
        const size_t slash = file.find('/');
        if (slash == std::string::npos)
            fail(Fault::usage, "{}: {} is not in a class folder; put every image into a folder named after its class",
                 folder.string(), file);
        table.rows.push_back({.sample = {.name = prefix.empty() ? file : prefix + "/" + file,
                                         .part = part,
                                         .camera = folder_camera(file.substr(slash + 1))},
                              .label = file.substr(0, slash)});
    }
}

// A training folder contains class folders and no images; otherwise it is a class with this name.
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
                fail(Fault::usage,
                     "{}: folder {} is beside {}; with parts, class folders belong inside the part folders", root, name,
                     seen.empty() ? "train" : seen.begin()->second);
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
    int path = 0, label = 1, part = 2, camera = 3, folder = -1, site = -1, flag = -1;
};
constexpr const char* kColumns =
    "path (or file, filename, filepath, image), label (or class, species), and maybe relativepath, split, camera";

Columns named_columns(const CsvRow& row, const std::string& file) {
    static const std::map<std::string, int Columns::*> kNames{
        {"path", &Columns::path},           {"file", &Columns::path},      {"filename", &Columns::path},
        {"filepath", &Columns::path},       {"image", &Columns::path},     {"label", &Columns::label},
        {"class", &Columns::label},         {"species", &Columns::label},  {"split", &Columns::part},
        {"part", &Columns::part},           {"camera", &Columns::camera},  {"site", &Columns::site},
        {"relativepath", &Columns::folder}, {"deleteflag", &Columns::flag}};
    Columns columns{.path = -1, .label = -1, .part = -1, .camera = -1};
    for (size_t i = 0; i < row.fields.size(); ++i) {
        const auto found = kNames.find(lower(row.fields[i]));
        if (found == kNames.end()) continue;
        int& column = columns.*(found->second);
        if (column >= 0)
            fail(Fault::usage, "{}: line {}: columns '{}' and '{}' mean the same; rename the one to ignore", file,
                 row.line, row.fields[size_t(column)], row.fields[i]);
        column = int(i);
    }
    return columns;
}

// Nothing if the first line already describes an image.
std::optional<Columns> header_of(const CsvRow& row, const std::string& file) {
    const Columns columns = named_columns(row, file);
    if (columns.path >= 0 && columns.label >= 0) return columns;
    std::error_code ignored;
    if (is_image_name(row.fields[0]) || fs::is_regular_file(fs::path(file).parent_path() / row.fields[0], ignored))
        return std::nullopt;
    fail(Fault::usage, "{}: line {}: none of the columns '{}' is the {}; known columns are {}", file, row.line,
         fmt::join(row.fields, "', '"), columns.path < 0 ? "path" : "label", kColumns);
}

bool is_utf8(const std::string& text) {
    try {
        (void)nlohmann::json(text).dump();
        return true;
    } catch (const nlohmann::json::exception&) {
        return false;
    }
}

// Without the blanks around it that quotes may have kept, and without non-breaking spaces, which nobody sees: tables
// copied from a web page or a text document hold them.
std::string trimmed(std::string text) {
    constexpr std::string_view kHardSpace = "\xc2\xa0";
    const auto take = [&](std::string_view blank) {
        const bool in_front = text.starts_with(blank), behind = text.ends_with(blank);
        if (in_front || behind) text.erase(in_front ? 0 : text.size() - blank.size(), blank.size());
        return in_front || behind;
    };
    while (take(" ") || take("\t") || take(kHardSpace)) {
    }
    return text;
}

Row row_of(const CsvRow& row, const Columns& columns, const std::string& file) {
    const auto field = [&](int column) {
        return column >= 0 && size_t(column) < row.fields.size() ? row.fields[size_t(column)] : std::string();
    };
    const std::string path = with_slashes(field(columns.path)), label = trimmed(field(columns.label)),
                      part = trimmed(field(columns.part));
    if (path.empty() || label.empty())
        fail(Fault::usage, "{}: line {}: path or label is empty; each line is path,label[,split[,camera]]", file,
             row.line);
    if (!is_utf8(label))
        fail(Fault::usage, "{}: line {}: the label is not UTF-8; save the file as \"CSV UTF-8\"", file, row.line);
    if (std::ranges::any_of(label, [](char c) { return uint8_t(c) < 0x20; }))
        fail(Fault::usage, "{}: line {}: the label '{}' holds a control character", file, row.line, label);
    const std::optional<Part> known = part_of(part);
    if (!part.empty() && !known)
        fail(Fault::usage, "{}: line {}: unknown split '{}'; it is train, validation or test", file, row.line, part);
    const fs::path folder = with_slashes(field(columns.folder));
    const auto known_place = [&](int column) {
        const std::string place = trimmed(field(column));
        return is_missing(place) ? "" : place;
    };
    const std::string site = known_place(columns.site), camera = known_place(columns.camera);
    return {.sample = {.name = (folder / path).lexically_normal().generic_string(),
                       .part = known.value_or(Part::train),
                       .camera = site.empty() || camera.empty() ? site + camera : site + "/" + camera},
            .label = label,
            .part = part};
}

// Exports of Timelapse have a row for every image, also for those that nobody has labelled or that shall be deleted.
bool left_out(const CsvRow& row, const Columns& columns, Warnings& odd) {
    const auto field = [&](int column) {
        return column >= 0 && size_t(column) < row.fields.size() ? trimmed(row.fields[size_t(column)]) : std::string();
    };
    const std::string name = field(columns.path);
    if (name.empty()) return false;
    if (lower(field(columns.flag)) == "true")
        odd.count("images are flagged for deletion and were left out", name);
    else if (field(columns.label).empty())
        odd.count("images have no label and were left out", name);
    else
        return false;
    return true;
}

// Labels in the files of other programs.
Table read_label_file(const std::string& file) {
    Table table;
    LabelSource source = read_label_source(file);
    for (LabelledImage& image : source.images) {
        table.classes.insert(image.label);
        table.rows.push_back({.sample = std::move(image.sample), .label = image.label});
    }
    table.notes = source.odd.notes();
    return table;
}

bool holds_json(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    char first = 0;
    return bool(in >> first) && (first == '{' || first == '[');
}

Table read_csv(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) fail(Fault::usage, "{}: cannot be opened", file);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    std::vector<CsvRow> rows = parse_csv(text, file);
    if (rows.empty()) fail(Fault::usage, "{}: no lines; each is path,label[,split[,camera]]", file);
    Columns columns;
    size_t most = SIZE_MAX;  // fields in a line
    if (const std::optional<Columns> header = header_of(rows[0], file)) {
        columns = *header;
        most = rows[0].fields.size();
        rows.erase(rows.begin());
        if (rows.empty()) fail(Fault::usage, "{}: no lines below the names of the columns", file);
    }
    Table table;
    std::map<std::string, size_t> lines;
    UnicodeNames unicode;
    Warnings odd;
    for (const CsvRow& row : rows) {
        // Such as a label with a comma, without quotes: its first part would be taken for all of it.
        for (size_t i = most; i < row.fields.size(); ++i)
            if (!row.fields[i].empty())
                fail(Fault::usage,
                     "{}: line {}: has {} fields, the first line names {}; a field with a comma needs quotes", file,
                     row.line, row.fields.size(), most);
        if (columns.folder >= 0 && left_out(row, columns, odd)) continue;
        Row read = row_of(row, columns, file);
        read.sample.name = unicode.on_disk(fs::path(file).parent_path(), read.sample.name);
        if (const auto [first, is_new] = lines.emplace(read.sample.name, row.line); !is_new)
            fail(Fault::usage, "{}: line {}: {} is already on line {}", file, row.line, read.sample.name,
                 first->second);
        if (read.part.empty() && table.has_parts)
            fail(Fault::usage, "{}: line {}: no split, but the lines before have one", file, row.line);
        if (!read.part.empty() && !table.has_parts && !table.rows.empty())
            fail(Fault::usage, "{}: line {}: split '{}', but the lines before have none", file, row.line, read.part);
        table.has_parts = !read.part.empty();
        table.classes.insert(read.label);
        table.rows.push_back(std::move(read));
    }
    table.notes = unicode.notes();
    for (std::string& note : odd.notes()) table.notes.push_back(std::move(note));
    return table;
}

// Names of one class that was written in several ways are several classes: fox and Fox, red fox and red_fox, or with an
// accent of its own.
void note_similar_classes(Dataset& data) {
    std::map<std::string, std::string> seen;
    for (const std::string& name : data.classes) {
        std::string letters = seen_by_people(name);
        std::erase_if(letters, [](char c) { return c == ' ' || c == '_' || c == '-'; });
        if (const auto [first, is_new] = seen.emplace(letters, name); !is_new)
            data.notes.push_back(fmt::format("'{}' and '{}' are two classes; if they mean the same, give them one name",
                                             first->second, name));
    }
}

// A class NA is rather made of images without a label, in a table that R has written, than meant.
void note_missing_labels(const Table& table, Dataset& data) {
    std::map<std::string, std::pair<size_t, std::string>> images;  // and the first of them
    for (const Row& row : table.rows)
        if (is_missing(row.label)) ++images.try_emplace(row.label, 0, row.sample.name).first->second.first;
    for (const auto& [label, found] : images)
        data.notes.push_back(
            fmt::format("'{}' is a class of {} images (first: {}), and what other programs write for a missing label; "
                        "leave out these images if that is meant, and else name the class in another way",
                        label, found.first, found.second));
}

void number_classes(const std::string& path, Table& table, Dataset& data) {
    data.classes.assign(table.classes.begin(), table.classes.end());
    note_similar_classes(data);
    note_missing_labels(table, data);
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

// A class without readable images would be learned from nothing and be missing in every result.
void require_readable_classes(const std::string& path, const Dataset& data) {
    std::vector<size_t> images(data.classes.size()), readable(data.classes.size());
    std::vector<std::string> reasons(data.classes.size());
    for (const Sample& sample : data.samples) {
        ++images[sample.label];
        if (readable[sample.label]) continue;
        const Decoded header = read_header(data.path(sample));
        readable[sample.label] = header.trouble == DecodeStatus::none;
        if (reasons[sample.label].empty())
            reasons[sample.label] = fmt::format("{}: {}", data.path(sample), header.text);
    }
    for (size_t c = 0; c < images.size(); ++c)
        if (!readable[c])
            fail(Fault::usage, "{}: class '{}': none of its {} images can be read (first: {})", path, data.classes[c],
                 images[c], reasons[c]);
}

}  // namespace

Dataset open_dataset(const std::string& path, const DatasetOptions& options) {
    std::error_code error;
    if (!fs::exists(path, error)) fail(Fault::usage, "{}: no such folder or file", path);
    const bool labelled = !data_package(path).empty() || (!fs::is_directory(path) && holds_json(path));
    const bool is_folder = fs::is_directory(path);
    Table table;
    try {
        table = labelled ? read_label_file(path) : is_folder ? read_folder(path) : read_csv(path);
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
    refuse_repeated_images(path, data);
    std::vector<size_t> images(data.classes.size());
    for (const Sample& sample : data.samples) ++images[sample.label];
    for (size_t c = 0; c < images.size(); ++c)
        if (images[c] == 0) {
            const auto unreadable = table.unreadable.find(data.classes[c]);
            fail(Fault::usage, "{}: class '{}' has no images{}", path, data.classes[c],
                 unreadable == table.unreadable.end() ? "; fill its folder or remove it" : ": " + unreadable->second);
        }
    if (options.for_training) require_readable_classes(path, data);
    read_all_facts(data, options, {.serial_first = is_folder && !labelled});
    make_parts(table.has_parts, options, data.classes.size(), data);
    const std::vector<size_t> training = data.class_counts(Part::train);
    for (size_t c = 0; c < training.size(); ++c)
        if (options.for_training && training[c] == 0)
            fail(Fault::usage, "{}: class '{}' has no training images", path, data.classes[c]);
    data.fingerprint = fingerprint_of(data, false);
    data.watch_drive();
    return data;
}
