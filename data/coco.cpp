// COCO's object detection format and its camera-trap variant.
#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "data/box_source.h"
#include "data/dataset_parts.h"
#include "data/exif.h"
#include "data/label_source.h"
#include "data/unicode_names.h"

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr size_t kLargestFile = size_t(4) << 30;
constexpr size_t kLookedFor = 20;  // images tried to find the folder of a file's images

std::string said(const json& value) { return one_line(value).substr(0, 80); }

const json& list_at(const json& content, const char* key, const std::string& file) {
    const auto found = content.find(key);
    if (found == content.end() || !found->is_array())
        fail(Fault::usage, "{}: has no list \"{}\"; COCO JSON has images, annotations and categories", file, key);
    return *found;
}

// Ids may be numbers or texts: 7 and "7" mean the same.
std::string text_at(const json& object, const char* key) {
    const json& value = member(object, key);
    return value.is_null() ? "" : value.is_string() ? value.get<std::string>() : said(value);
}

double side_of(const json& image, const char* key) {
    const double pixels = number_of(image, key);
    return std::isnan(pixels) ? 0 : pixels;
}

bool means_empty(const std::string& category) {
    const std::string name = lower(category);
    return name == "empty" || name == "blank" || name == "none" || name == "background";
}

json read(const std::string& file) {
    const FileBytes bytes = read_file(file, kLargestFile);
    json content;
    try {
        content = json::parse(bytes.span().begin(), bytes.span().end());
    } catch (const json::exception& e) {
        fail(Fault::usage, "{}: is not JSON: {}", file, e.what());
    }
    if (content.is_object() && content.contains("detection_categories"))
        fail(Fault::usage,
             "{}: holds the results of a detector, not labels; check them in a labelling program and train on its COCO "
             "export",
             file);
    if (content.is_array())
        fail(Fault::usage, "{}: is a list of {}", file,
             content.empty() || content.front().contains("image_id")
                 ? "COCO results; training needs annotations made by people"
                 : "records, one per image; save it as CSV with the columns file and label, or as COCO JSON");
    if (!content.is_object()) fail(Fault::usage, "{}: is not COCO JSON", file);
    return content;
}

// The folder below which some of the names exist, relative to that of the file.
fs::path folder_of_images(const fs::path& file, const std::vector<std::string>& names) {
    for (const char* base : {"", "images", "..", "../images"})
        for (const std::string& name : names)
            if (std::error_code error; fs::exists(file.parent_path() / base / name, error)) return base;
    return "";
}

class Reader {
public:
    Reader(BoxSource& source, const std::string& file, std::optional<Part> part)
        : source_(source), file_(file), part_(part), content_(read(file)) {}

    std::map<std::string, std::string> category_names;  // by id

    void read_categories(std::vector<std::pair<std::string, std::string>>& in_order) {
        std::set<std::string> names;
        std::vector<std::pair<std::string, std::string>> here;
        for (const json& c : list_at(content_, "categories", file_)) {
            const std::string id = text_at(c, "id"), name = c.is_object() ? text_at(c, "name") : "";
            if (id.empty() || name.empty()) fail(Fault::usage, "{}: category {} has no id or no name", file_, said(c));
            if (!category_names.emplace(id, name).second)
                fail(Fault::usage, "{}: category id {} occurs twice", file_, id);
            if (!names.insert(name).second) fail(Fault::usage, "{}: two categories are called '{}'", file_, name);
            here.emplace_back(id, name);
        }
        std::ranges::stable_sort(here, [](const auto& a, const auto& b) {
            return std::pair(a.first.size(), a.first) < std::pair(b.first.size(), b.first);
        });
        if (in_order.empty()) in_order = here;
        if (in_order != here) fail(Fault::usage, "{}: its categories are not those of the files before", file_);
    }

    void read_images() {
        for (const json& image : list_at(content_, "images", file_)) {
            const std::string id = text_at(image, "id");
            const std::string name = with_slashes(image.is_object() ? text_at(image, "file_name") : "");
            if (id.empty() || name.empty())
                fail(Fault::usage, "{}: image {} has no id or no file_name", file_, said(image));
            if (!rows_.emplace(id, rows_.size()).second)
                fail(Fault::usage, "{}: image id {} occurs twice", file_, said(image["id"]));
            SourceRow row{.sample = {.name = name,
                                     .part = part_.value_or(Part::train),
                                     .camera = text_at(image, "location"),
                                     .sequence = text_at(image, "seq_id")},
                          .w = side_of(image, "width"),
                          .h = side_of(image, "height")};
            if (row.w < 0 || row.h < 0) fail(Fault::usage, "{}: image {} has a negative size", file_, id);
            if (row.w == 0 || row.h == 0) row.w = row.h = 0;
            own_.push_back(std::move(row));
        }
        labelled_only_.resize(own_.size());
    }

    void read_annotations(std::set<std::string>& with_boxes) {
        for (const json& a : list_at(content_, "annotations", file_)) {
            const std::string where = "annotation " + (a.is_object() && a.contains("id") ? said(a["id"]) : said(a));
            const auto refuse = [&](const std::string& what) { fail(Fault::usage, "{}: {}: {}", file_, where, what); };
            if (!a.is_object()) refuse("is not an object");
            if (a.contains("id") && !ids_.insert(said(a["id"])).second)
                source_.odd.count("annotation ids occur twice", file_ + ", " + where);
            const auto row = rows_.find(text_at(a, "image_id"));
            if (row == rows_.end())
                refuse(a.contains("image_id") ? fmt::format("image {} is not listed", said(a["image_id"]))
                                              : "has no image_id");
            const std::string category = a.contains("category_id") ? text_at(a, "category_id") : "none";
            if (!category_names.contains(category))
                refuse(fmt::format("category {} is not in the list of categories", category));
            const json box = a.value("bbox", json());
            if (box.is_null() || (box.is_array() && box.empty())) {
                if (!means_empty(category_names.at(category)))
                    labelled_only_[row->second] = member(a, "segmentation").empty() ? "label" : "mask";
                continue;
            }
            if (!box.is_array() || box.size() != 4 || !std::ranges::all_of(box, [](const json& v) {
                    return v.is_number() && std::isfinite(v.get<double>());
                }))
                refuse(fmt::format("bbox {} is not four numbers", said(box)));
            if (box[2] < 0 || box[3] < 0)
                refuse(fmt::format("bbox {} has a negative side; it is left, top, width, height", said(box)));
            if (const json crowd = a.value("iscrowd", json(0)); crowd == 1 || crowd == true) {
                source_.odd.count("boxes are around crowds and were left out", file_ + ", " + where);
                continue;
            }
            with_boxes.insert(category);
            boxes_.push_back({row->second, category, {0, box[0], box[1], box[2], box[3], file_ + ", " + where}});
        }
    }

    // `numbers`: of the classes, by category id.
    void finish(const std::map<std::string, uint32_t>& numbers) {
        const auto in_first_pixel = [](const Placed& b) {
            return b.box.w > 0 && b.box.x + b.box.w <= 1.01 && b.box.y + b.box.h <= 1.01;
        };
        if (!boxes_.empty() && std::ranges::all_of(boxes_, in_first_pixel))
            fail(Fault::usage,
                 "{}: all boxes lie within the first pixel; COCO's bbox is left, top, width, height in pixels, not in "
                 "shares of the sides",
                 file_);
        for (auto& [row, category, box] : boxes_) {
            box.category = numbers.at(category);
            own_[row].boxes.push_back(std::move(box));
        }
        std::vector<std::string> names;
        for (size_t i = 0; i < std::min(kLookedFor, own_.size()); ++i) names.push_back(own_[i].sample.name);
        const fs::path base = folder_of_images(file_, names);
        UnicodeNames unicode;
        for (size_t i = 0; i < own_.size(); ++i) {
            if (labelled_only_[i]) {
                source_.odd.count(fmt::format("images have a {} but no box and were left out", labelled_only_[i]),
                                  file_ + ", " + own_[i].sample.name);
                continue;
            }
            own_[i].sample.name = unicode.on_disk(fs::path(file_).parent_path(),
                                                  (base / own_[i].sample.name).lexically_normal().generic_string());
            source_.rows.push_back(std::move(own_[i]));
        }
        for (const std::string& text : unicode.notes()) source_.notes.push_back(text);
    }

private:
    struct Placed {
        size_t row;
        std::string category;
        SourceBox box;
    };

    BoxSource& source_;
    const std::string file_;
    const std::optional<Part> part_;
    const json content_;
    std::vector<SourceRow> own_;
    std::unordered_map<std::string, size_t> rows_;  // by image id
    std::vector<const char*> labelled_only_;        // what they have instead of boxes, or null
    std::set<std::string> ids_;
    std::vector<Placed> boxes_;
};

bool is_json(const fs::path& path) { return lower(path.extension().string()) == ".json"; }

// "annotations_train", "instances_val2017", "test" name a part.
std::optional<Part> part_in(const fs::path& file) {
    std::string name = file.stem().string();
    name.erase(name.find_last_not_of("0123456789") + 1);
    const size_t begin = name.find_last_of("_-. ");
    return part_of(begin == name.npos ? name : name.substr(begin + 1));
}

}  // namespace

std::vector<std::pair<fs::path, std::optional<Part>>> coco_files(const fs::path& path) {
    if (!fs::is_directory(path)) {
        if (is_json(path)) return {{path, std::nullopt}};
        return {};
    }
    for (const fs::path& folder : {path, path / "annotations"}) {
        std::map<Part, fs::path> parts;
        std::vector<fs::path> files;
        std::error_code ignored;
        for (const auto& entry : fs::directory_iterator(folder, ignored))
            if (is_json(entry.path())) files.push_back(entry.path());
        std::ranges::sort(files);
        for (const fs::path& file : files)
            if (const auto part = part_in(file); part && !parts.emplace(*part, file).second)
                fail(Fault::usage, "{}: {} and {} both look like the {} part; name the file to train on",
                     folder.string(), parts.at(*part).filename().string(), file.filename().string(), part_name(*part));
        if (parts.contains(Part::train)) {
            std::vector<std::pair<fs::path, std::optional<Part>>> result;
            for (const auto& [part, file] : parts) result.emplace_back(file, part);
            return result;
        }
        if (fs::exists(folder / "annotations.json")) return {{folder / "annotations.json", std::nullopt}};
        if (files.size() == 1) return {{files[0], std::nullopt}};
        if (files.size() > 1)
            fail(Fault::usage, "{}: has {} JSON files; name the one to train on", folder.string(), files.size());
    }
    return {};
}

BoxSource read_coco(const std::vector<std::pair<fs::path, std::optional<Part>>>& files) {
    BoxSource source{.root = files[0].first.parent_path(),
                     .classes = {},
                     .rows = {},
                     .has_parts = files[0].second.has_value(),
                     .odd = {}};
    std::vector<std::pair<std::string, std::string>> categories;
    std::set<std::string> with_boxes;
    std::vector<std::unique_ptr<Reader>> readers;
    for (const auto& [file, part] : files) {
        readers.push_back(std::make_unique<Reader>(source, file.string(), part));
        readers.back()->read_categories(categories);
        readers.back()->read_images();
        readers.back()->read_annotations(with_boxes);
    }
    std::map<std::string, uint32_t> numbers;
    for (const auto& [id, name] : categories) {
        if (means_empty(name) && !with_boxes.contains(id)) continue;
        numbers.emplace(id, uint32_t(source.classes.size()));
        source.classes.push_back(name);
    }
    for (const auto& reader : readers) reader->finish(numbers);
    if (source.rows.empty())
        fail(Fault::usage, "{}: has no images that can be used{}", files[0].first.string(), source.odd.in_brackets());
    return source;
}

LabelSource read_coco_labels(const fs::path& path) {
    const std::string file = path.string();
    const json content = read(file);
    LabelSource source{.root = path.parent_path(), .images = {}, .odd = {}};
    std::map<std::string, std::string> categories;
    for (const json& category : list_at(content, "categories", file))
        if (!categories.emplace(text_at(category, "id"), text_at(category, "name")).second)
            fail(Fault::usage, "{}: category id {} occurs twice", file, text_at(category, "id"));
    std::map<std::string, std::set<std::string>> labels;  // by image id
    const json& images = list_at(content, "images", file);
    for (const json& image : images)
        if (!labels.try_emplace(text_at(image, "id")).second)
            fail(Fault::usage, "{}: image id {} occurs twice", file, text_at(image, "id"));
    for (const json& annotation : list_at(content, "annotations", file)) {
        const auto image = labels.find(text_at(annotation, "image_id"));
        const auto category = categories.find(text_at(annotation, "category_id"));
        if (image == labels.end() || category == categories.end())
            fail(Fault::usage, "{}: annotation {}: {} is not listed", file, said(annotation),
                 image == labels.end() ? "its image_id" : "its category_id");
        image->second.insert(category->second);
    }
    std::vector<std::string> names;
    for (const json& image : images)
        if (names.size() < kLookedFor) names.push_back(with_slashes(text_at(image, "file_name")));
    const fs::path base = folder_of_images(path, names);
    UnicodeNames unicode;
    for (const json& image : images) {
        const std::string name = with_slashes(text_at(image, "file_name"));
        if (name.empty()) fail(Fault::usage, "{}: image {} has no file_name", file, said(image));
        std::set<std::string>& of_image = labels.at(text_at(image, "id"));
        if (of_image.size() > 1) std::erase_if(of_image, means_empty);
        if (of_image.empty())
            source.odd.count("images have no annotation and were left out", name);
        else if (of_image.size() > 1)
            source.odd.count("images show several classes and were left out", name);
        else
            source.images.push_back(
                {{.name = unicode.on_disk(path.parent_path(), (base / name).lexically_normal().generic_string()),
                  .camera = text_at(image, "location"),
                  .sequence = text_at(image, "seq_id"),
                  .time =
                      exif_seconds(text_at(image, text_at(image, "datetime").empty() ? "date_captured" : "datetime"))},
                 *of_image.begin()});
    }
    return source;
}
