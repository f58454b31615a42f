#include "app/detect/earlier.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "app/jobs/journal.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"

using nlohmann::ordered_json;

namespace {

// The name that this run gives an image of an earlier file: there it may be absolute, have backslashes, or begin at
// another folder, `levels` above the base of this run. "" if no image of this run is meant.
std::string name_here(const ImageList& list, const std::string& name, size_t levels) {
    const auto known = [&](const std::string& text) { return list.files.find(text) < list.files.size(); };
    if (levels == 0 && known(name)) return name;
    std::string slashed = name;
    std::ranges::replace(slashed, '\\', '/');
    std::filesystem::path start = list.base;
    for (; levels > 0; --levels) start = start.parent_path();
    const std::filesystem::path whole = (start / slashed).lexically_normal();
    std::string here = whole.lexically_relative(list.base).generic_string();
    if (levels == 0 && !known(here) && std::filesystem::path(slashed).is_absolute()) {  // through links to folders
        std::error_code ignored;
        here = (std::filesystem::weakly_canonical(whole.parent_path(), ignored) / whole.filename())
                   .lexically_relative(std::filesystem::weakly_canonical(list.base, ignored))
                   .generic_string();
    }
    return known(here) ? here : "";
}

}  // namespace

void use_names_of(const ImageList& list, const std::string& option, const std::string& file, ResultFile& old) {
    constexpr size_t kMostLevels = 8;
    const auto any = [&](const auto& good) { return std::ranges::any_of(old.images, good); };
    // The level at which most names fit: cameras use the same few names in every folder.
    size_t levels = kMostLevels, most = 0;
    for (size_t level = 0; level < kMostLevels && most < old.images.size(); ++level) {
        const auto fits = [&](const auto& entry) { return !name_here(list, entry.first, level).empty(); };
        const size_t count = size_t(std::ranges::count_if(old.images, fits));
        if (count > 0 && count == most)
            fail(Fault::usage,
                 "{} {}: its names fit these images in two ways; name the folder where its names begin with "
                 "--base",
                 option, file);
        if (count > most) most = count, levels = level;
    }
    std::error_code ignored;
    if (levels == kMostLevels) {
        if (old.images.empty() || !list.files.size() ||
            any([&](const auto& entry) { return std::filesystem::exists(list.base / entry.first, ignored); }))
            return;
        fail(Fault::usage,
             "{} {}: none of its {} images is among these {}; its first is called {}, here the first is {}: name "
             "the folder where its names begin with --base",
             option, file, old.images.size(), list.files.size(), old.images.begin()->first, json_name(list.files[0]));
    }
    std::set<std::string> damaged;
    for (const std::string& name : damaged_images(old.head)) {
        const std::string here = name_here(list, name, levels);
        damaged.insert(here.empty() ? name : here);
    }
    if (!damaged.empty()) old.head.info["custom_metadata"]["tundra"]["damaged_pictures"] = damaged;
    std::map<std::string, ordered_json> renamed;
    for (auto& [name, image] : old.images) {
        const std::string here = name_here(list, name, levels);
        if (here.empty() && list.files.find(name) < list.files.size())
            fail(Fault::usage,
                 "{} {}: its '{}' is another image than the one of that name here; name the folder where its "
                 "names "
                 "begin with --base",
                 option, file, name);
        if (!here.empty()) image["file"] = here;
        if (!renamed.try_emplace(here.empty() ? name : here, std::move(image)).second)
            fail(Fault::damaged, "{} {}: '{}' and another of its names mean the same image", option, file, name);
    }
    old.images = std::move(renamed);
}

bool is_result_name(const std::string& model) {
    return lower(std::filesystem::path(model).extension().string()) == ".json";
}

namespace {

// "uuid;class;order;family;genus;species;common name": the common name, else the last part that is not empty.
std::string short_label(std::string label) {
    while (!label.empty() && label.back() == ';') label.pop_back();
    const std::string name = label.substr(label.rfind(';') + 1);
    return name.empty() ? "unknown" : name;
}

// SpeciesNet's predictions as a MegaDetector file.
class SpeciesNetFile {
public:
    explicit SpeciesNetFile(const std::string& path) : path_(path) {}

    ordered_json converted(const ordered_json& file) {
        ordered_json result{{"images", ordered_json::array()},
                            {"detection_categories", {{"1", "animal"}, {"2", "person"}, {"3", "vehicle"}}},
                            {"info", {{"format_version", "1.6"}, {"detector", "SpeciesNet"}}}};
        if (!file["predictions"].is_array()) wrong("\"predictions\" is not a list");
        for (const ordered_json& prediction : file["predictions"]) {
            const std::string name = text_of(prediction, "filepath");
            if (name.empty()) wrong("a prediction has no \"filepath\"");
            ordered_json image{{"file", name}};
            if (!member(prediction, "detections").is_array()) {
                image["failure"] = "inference failure";
                image["detections"] = nullptr;
            } else {
                image["detections"] = boxes(prediction);
            }
            result["images"].push_back(std::move(image));
        }
        for (const auto& [name, id] : ids_) result["classification_categories"][id] = name;
        return result;
    }

private:
    [[noreturn]] void wrong(const std::string& what) {
        fail(Fault::damaged, "{}: is not a SpeciesNet result file: {}", path_, what);
    }
    std::string id_of(const std::string& label) {
        return ids_.try_emplace(short_label(label), std::to_string(ids_.size())).first->second;
    }
    // The answer, then what the classifier says below it.
    ordered_json answers(const std::string& answer, double score, const ordered_json& raw) {
        ordered_json list = ordered_json::array();
        if (!answer.empty() && std::isfinite(score)) list.push_back({id_of(answer), score});
        const ordered_json &classes = member(raw, "classes"), &scores = member(raw, "scores");
        for (size_t i = 0; i < std::min(classes.size(), scores.size()); ++i) {
            if (!classes[i].is_string() || !scores[i].is_number()) wrong("a class or score has the wrong type");
            const std::string id = id_of(classes[i]);
            const bool known = std::ranges::any_of(list, [&](const auto& entry) { return entry[0] == id; });
            if (!known && (answer.empty() || scores[i] <= score)) list.push_back({id, scores[i]});
        }
        return list;
    }
    ordered_json boxes(const ordered_json& prediction) {
        ordered_json list = ordered_json::array();
        const std::string of_image = text_of(prediction, "prediction");
        for (ordered_json d : prediction["detections"]) {
            const std::string category = text_of(d, "category");
            if (category == "0") continue;  // SpeciesNet 5: the whole image, not a box
            const ordered_json answer = member(d, "processed_classification"), raw = member(d, "raw_classifications");
            ordered_json classes = answers(text_of(answer, "class"), number_of(answer, "score"), raw);
            if (classes.empty() && category == "1" && short_label(of_image) != "human" &&
                short_label(of_image) != "vehicle")
                classes =
                    answers(of_image, number_of(prediction, "prediction_score"), member(prediction, "classifications"));
            ordered_json box{{"category", category}, {"conf", member(d, "conf")}, {"bbox", member(d, "bbox")}};
            if (!classes.empty()) box["classifications"] = std::move(classes);
            list.push_back(std::move(box));
        }
        return list;
    }

    std::string path_;
    std::map<std::string, std::string> ids_;  // short label -> id
};

double iou(const Detection& a, const Detection& b) {
    const double w = std::min(a.x + a.w, b.x + b.w) - std::max(a.x, b.x),
                 h = std::min(a.y + a.h, b.y + b.h) - std::max(a.y, b.y);
    return w <= 0 || h <= 0 ? 0 : w * h / (a.w * a.h + b.w * b.h - w * h);
}

}  // namespace

GivenResults read_given(const std::string& option, const std::string& path, const ImageList& list) {
    const FileBytes bytes = read_file(path, size_t(8) << 30);
    auto json = parse_foreign<ordered_json>(bytes.text());
    if (json.is_object() && json.contains("predictions")) json = SpeciesNetFile(path).converted(json);
    ResultFile file = parse_results(std::move(json), path);
    use_names_of(list, option, path, file);
    GivenResults given{.head = file.head, .hash = hash_hex(bytes.text())};
    std::map<std::string, int> categories;
    given.head.categories = ordered_json::object();
    given.head.classes = ordered_json::object();
    for (const auto& [id, name] : file.head.categories.items()) {
        const auto number = int(categories.size()) + 1;
        categories[id] = number;
        given.head.categories[std::to_string(number)] = name;
    }
    std::map<std::string, std::string> classes;
    for (const auto& [id, name] : file.head.classes.items()) {
        classes[id] = std::to_string(given.species.size());
        given.species.push_back(name);
    }
    const ordered_json& about = member(file.head.info, "detector_metadata");
    if (const double typical = number_of(about, "typical_detection_threshold"); typical >= 0 && typical <= 1)
        given.typical_threshold = typical;
    std::string first;
    size_t lacking = 0;
    for (size_t i = 0; i < list.files.size(); ++i) {
        const std::string name = json_name(list.files[i]);
        const auto found = file.images.find(name);
        if (found == file.images.end()) {
            if (lacking++ == 0) first = name;
            continue;
        }
        ordered_json& image = found->second;
        for (ordered_json& d : image["detections"]) {
            d["category"] = std::to_string(categories.at(d["category"].get<std::string>()));
            if (!d.contains("classifications")) continue;
            ordered_json known = ordered_json::array();
            for (const ordered_json& c : d["classifications"]) {
                if (!c.is_array() || c.size() != 2 || !c[0].is_string() || !c[1].is_number() ||
                    !classes.contains(c[0].get<std::string>()))
                    fail(Fault::damaged, "{}: '{}' has a class that classification_categories lacks", path, name);
                known.push_back({classes.at(c[0].get<std::string>()), c[1]});
            }
            d["classifications"] = std::move(known);
        }
        ImageResult result = result_from_json(image);
        if (!result.failure.empty()) result.reason = fmt::format("{} says: {}", path, result.failure);
        for (Detection& d : result.detections)
            std::ranges::stable_sort(d.classes, std::ranges::greater(), &ClassScores::value_type::second);
        std::ranges::stable_sort(result.detections, std::ranges::greater(), &Detection::confidence);
        given.images.emplace(name, std::move(result));
    }
    if (lacking)
        fail(Fault::usage, "{} {}: lacks {} of these {} images, the first is {}; complete it, or name only its images",
             option, path, lacking, list.files.size(), first);
    return given;
}

void take_classes(const ImageResult& given, ImageResult& result) {
    for (Detection& d : result.detections) {
        double best = 0;
        for (const Detection& other : given.detections)
            if (const double overlap = iou(d, other); overlap >= 0.5 && overlap > best && !other.classes.empty())
                best = overlap, d.classes = other.classes;
    }
}

std::vector<std::string> survey_names(const std::filesystem::path& journal, const std::string& key) {
    std::vector<std::string> names;
    Journal(journal, kSurveyJournal, [&](std::string_view line, uint64_t) {
        const ordered_json record = ordered_json::parse(line);
        if (record.value("key", "") == key) names.push_back(record.at("file"));
    });
    return names;
}
