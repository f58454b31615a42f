#include "app/export/survey_files.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <set>
#include <tuple>

#include "app/detect/result_file.h"
#include "app/jobs/names.h"
#include "app/review/corrections.h"
#include "app/survey/survey.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "data/exif.h"

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double kDoubtful = 0.05;  // boxes below it mean nothing

CsvTable table_at(const fs::path& path) {
    return CsvTable(utf8_text(read_file(path).text(), path.string()), path.string(), Fault::damaged);
}

double number_in(const CsvTable& table, size_t row, const std::string& column) {
    const std::string& text = table.at(row, column);
    char* end = nullptr;
    const double value = text.empty() ? 0 : std::strtod(text.c_str(), &end);
    if ((!text.empty() && end != text.c_str() + text.size()) || !std::isfinite(value) || value < 0)
        fail(Fault::damaged, "{}: line {}: '{}' in column '{}' is not a number from 0", table.name(), table.line(row),
             text, column);
    return value;
}

std::vector<std::string> parts_of(const std::string& text) {
    std::vector<std::string> parts;
    for (size_t start = 0; !text.empty() && start <= text.size();) {
        const size_t end = std::min(text.find('|', start), text.size());
        parts.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    return parts;
}

// What reviewers said of a box, and when an image was last reviewed.
struct Said {
    std::map<std::pair<std::string, std::string>, std::map<std::string, std::string>> boxes;  // (file, box) to fields
    std::map<std::string, std::string> times;                                                 // by file
};

Said said_in(const fs::path& path, const ResultFile& results, std::vector<std::string>& notes) {
    Said said;
    CorrectionLog log(path);
    log.match([&](const std::string& file) -> std::optional<std::vector<BoxPlace>> {
        const auto image = results.images.find(file);
        if (image == results.images.end() || !member(image->second, "failure").is_null()) return {};
        std::vector<BoxPlace> places;
        for (const Json& d : member(image->second, "detections")) places.push_back(d["bbox"].get<BoxPlace>());
        return places;
    });
    notes = log.notes;
    for (const auto& [name, rows] : log.all())
        for (const Correction& row : rows) {
            const std::string file = json_name(name);
            said.times[file] = std::max(said.times[file], row.time);
            if (!row.box.empty()) said.boxes[{file, row.box}][row.field] = row.value;
        }
    return said;
}

void apply(const std::map<std::string, std::string>& fields, AnsweredBox& box) {
    for (const auto& [field, value] : fields) {
        if (field == "category") box.category = value;
        if (field == "species") box.best = value, box.species.clear();
        if (field == "bbox" && std::sscanf(value.c_str(), "%lf %lf %lf %lf", &box.x, &box.y, &box.w, &box.h) != 4)
            fail(Fault::damaged, "corrections.csv: box '{}' is not four numbers", value);
    }
    box.by_person = box.by_person || !fields.empty();
}

AnsweredBox box_of(const Json& detection, const Json& head, const Json& classes) {
    AnsweredBox box{
        .category = head.value(text_of(detection, "category"), ""), .confidence = detection["conf"], .species = {}};
    if (const std::string earlier = text_of(member(detection, "repeat"), "category"); !earlier.empty())
        box.category = head.value(earlier, "");
    box.x = detection["bbox"][0], box.y = detection["bbox"][1], box.w = detection["bbox"][2],
    box.h = detection["bbox"][3];
    for (const Json& one : member(detection, "classifications"))
        if (one.is_array() && one.size() == 2 && one[0].is_string() && one[1].is_number()) {
            const std::string name = text_of(classes, one[0]);
            if (box.best.empty()) box.best = name;
            box.species.emplace(name, one[1].get<double>());
        }
    return box;
}

// The boxes that the table counts: of each category as many as it says, the surest first; all that a person drew.
std::vector<AnsweredBox> counted_boxes(const CsvTable& table, size_t row, const ResultFile& results,
                                       const std::set<std::pair<std::string, std::string>>& repeated,
                                       const Said& said) {
    const std::string file = json_name(table.at(row, "file"));
    const auto image = results.images.find(file);
    if (image == results.images.end()) fail(Fault::damaged, "results.json: has no image {}", file);
    const Json& classes = results.head.classes;
    std::map<std::string, double> room;
    for (const Json& category : results.head.categories)
        if (const std::string name = category; table.has(name)) room[name] = number_in(table, row, name);
    std::vector<AnsweredBox> boxes;
    size_t number = 0;
    for (const Json& detection : member(image->second, "detections")) {
        const std::string id = std::to_string(++number);
        AnsweredBox box = box_of(detection, results.head.categories, classes);
        if (const auto fields = said.boxes.find({file, id}); fields != said.boxes.end()) apply(fields->second, box);
        if (box.category == "none") continue;
        box.counts = (box.by_person || !repeated.contains({file, id})) && room[box.category]-- >= 1;
        if (box.counts || box.confidence >= kDoubtful) boxes.push_back(std::move(box));
    }
    for (auto at = said.boxes.lower_bound({file, "+"}); at != said.boxes.end() && at->first.first == file; ++at) {
        AnsweredBox box;
        apply(at->second, box);
        if (!at->first.second.starts_with("+") || box.category == "none" || !(box.w > 0 && box.h > 0)) continue;
        box.counts = room[box.category]-- >= 1;
        boxes.push_back(std::move(box));
    }
    return boxes;
}

}  // namespace

SurveyAnswers read_survey(const fs::path& folder) {
    refresh_survey(folder);
    for (const char* name : {"images.csv", "results.json"})
        if (!fs::exists(folder / name))
            fail(Fault::usage, "{}: is not the folder of a survey: it has no {}", folder.string(), name);
    const CsvTable table = table_at(folder / "images.csv");
    const ResultFile results = read_results(folder / "results.json");
    SurveyAnswers answers{.images = {},
                          .detector = text_of(results.head.info, "detector"),
                          .classifier = text_of(results.head.info, "classifier")};
    const Said said = said_in(folder / "corrections.csv", results, answers.notes);
    std::set<std::pair<std::string, std::string>> repeated;
    if (fs::exists(folder / "repeats.csv")) {
        const CsvTable repeats = table_at(folder / "repeats.csv");
        for (size_t i = 0; i < repeats.size(); ++i)
            repeated.emplace(json_name(repeats.at(i, "file")), repeats.at(i, "box"));
    }
    for (const Json& category : results.head.categories) answers.categories.insert(category.get<std::string>());
    if (fs::exists(folder / "survey.json")) {
        const Json record = parse_foreign<Json>(read_file(folder / "survey.json").text());
        answers.base = text_of(record, "base");
        if (const double gap = number_of(member(record, "table"), "event_seconds"); gap >= 0)
            answers.event_seconds = int64_t(gap);
    }
    for (size_t i = 0; i < table.size(); ++i) {
        AnsweredImage image{.file = table.at(i, "file"),
                            .site = table.at(i, "site"),
                            .camera = table.at(i, "camera"),
                            .sequence = table.at(i, "sequence"),
                            .time = exif_seconds(table.at(i, "date")),
                            .final = table.at(i, "final"),
                            .reviewer = table.at(i, "reviewed"),
                            .reviewed = "",
                            .species = {},
                            .boxes = counted_boxes(table, i, results, repeated, said)};
        if (const auto time = said.times.find(json_name(image.file));
            !image.reviewer.empty() && time != said.times.end())
            image.reviewed = time->second;
        image.has_problem = !table.at(i, "problem").empty();
        const std::vector<std::string> names = parts_of(table.at(i, "species")),
                                       counts = parts_of(table.at(i, "counts")),
                                       scores = parts_of(table.at(i, "scores"));
        for (size_t k = 0; k < names.size(); ++k) {
            const size_t count = k < counts.size() ? size_t(std::max(1, std::atoi(counts[k].c_str()))) : 1;
            image.species.push_back({names[k], count, k < scores.size() ? std::atof(scores[k].c_str()) : 0});
        }
        answers.images.push_back(std::move(image));
    }
    return answers;
}

SurveyAnswers read_answers(const fs::path& path) {
    if (fs::is_directory(path)) return read_survey(path);
    const ResultFile results = read_results(path);
    const std::set<std::string> damaged = damaged_images(results.head);
    SurveyAnswers answers;
    for (const Json& category : results.head.categories) answers.categories.insert(category.get<std::string>());
    for (const std::string& name : results.order) {
        const Json& entry = results.images.at(name);
        AnsweredImage image;
        image.file = name;
        image.has_problem = damaged.contains(name);
        if (!member(entry, "failure").is_null()) image.final = "failed";
        for (const Json& detection : member(entry, "detections")) {
            AnsweredBox box = box_of(detection, results.head.categories, results.head.classes);
            if (box.confidence >= kDoubtful) image.boxes.push_back(std::move(box));
        }
        answers.images.push_back(std::move(image));
    }
    return answers;
}
