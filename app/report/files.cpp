// Reading a run folder that may be incomplete.
#include "app/report/files.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kEnoughTestImages = 100;  // then an accuracy of 90 % is known to about 6 points either way

// The whole file; empty, with a sentence in `missing`, if it is not there or cannot be read.
std::string content_of(RunFiles& run, const char* name) {
    std::error_code error;
    const fs::path path = run.folder / name;
    if (!fs::exists(path, error)) {
        run.missing.push_back(fmt::format("{} is not there.", name));
        return "";
    }
    try {
        return std::string(read_file(path).text());
    } catch (const Error& e) {
        run.missing.push_back(fmt::format("{} cannot be read: {}", name, e.what()));
        return "";
    }
}

json json_of(RunFiles& run, const char* name) {
    const std::string text = content_of(run, name);
    if (text.empty()) return {};
    json parsed = json::parse(text, nullptr, false);
    if (parsed.is_object()) return parsed;
    run.missing.push_back(fmt::format("{} is damaged and was left out.", name));
    return {};
}

bool is_step(double number) { return number >= 0 && number < 1e15; }

template <class Use>
void for_each_line(const std::string& text, Use use) {
    for (size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1)
        use(std::string_view(text).substr(begin, end - begin));
}

void read_config_text(RunFiles& run) {
    run.config_text = content_of(run, "config");
    if (run.config_text.empty()) return;
    try {
        assign(run.config, parse_config(run.config_text, "config"));
        run.has_config = true;
    } catch (const Error& e) {
        run.missing.push_back(fmt::format("The configuration is not understood: {}", e.what()));
    }
}

void read_log(RunFiles& run) {
    const std::string text = content_of(run, "log.jsonl");
    for_each_line(text, [&](std::string_view line) {
        const json entry = json::parse(line, nullptr, false);
        const double step = number_of(entry, "step");
        if (!is_step(step) || !entry.contains("loss")) return;
        run.steps.push_back({step, number_of(entry, "loss"), number_of(entry, "rate"), number_of(entry, "momentum"),
                             number_of(entry, "box"), number_of(entry, "objectness"), number_of(entry, "class")});
    });
    std::stable_sort(run.steps.begin(), run.steps.end(),
                     [](const StepLine& a, const StepLine& b) { return a.step < b.step; });
}

std::vector<CsvRow> csv_rows(RunFiles& run, const char* name) {
    try {
        return parse_csv(content_of(run, name), name);
    } catch (const Error& e) {
        run.missing.push_back(fmt::format("{} is damaged and was left out: {}", name, e.what()));
        return {};
    }
}

// Cells by the name of their column; NaN if a cell is not a number.
void read_metrics_table(RunFiles& run) {
    const std::vector<CsvRow> rows = csv_rows(run, "metrics.csv");
    for (size_t i = 1; i < rows.size(); ++i) {
        const auto cell = [&](std::string_view column) {
            const auto& head = rows[0].fields;
            const size_t at = size_t(std::find(head.begin(), head.end(), column) - head.begin());
            if (at >= rows[i].fields.size()) return kUnknown;
            const std::string& text = rows[i].fields[at];
            double value = kUnknown;
            const auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            return error == std::errc() && stopped == text.data() + text.size() ? value : kUnknown;
        };
        const EpochLine line{cell("step"),
                             cell("epoch"),
                             cell("train_loss"),
                             cell("train_accuracy"),
                             cell("validation_loss"),
                             cell("validation_accuracy"),
                             cell("seconds"),
                             cell("validation_map50"),
                             cell("validation_map")};
        if (is_step(line.step)) run.epochs.push_back(line);
    }
}

EvaluatedPart read_part(const std::string& name, const json& content,
                        const std::map<std::string, size_t>& class_numbers) {
    EvaluatedPart part{.name = name, .loss = number_of(content, "loss"), .images = {}, .metrics = {}, .left_out = 0};
    std::vector<LabelledPrediction> judgements;
    const json& rows = member(content, "predictions");
    if (!rows.is_array()) return part;
    for (const json& row : rows) {
        const auto label = class_numbers.find(text_of(row, "label")),
                   predicted = class_numbers.find(text_of(row, "predicted"));
        const double confidence = number_of(row, "confidence");
        if (label == class_numbers.end() || predicted == class_numbers.end() || !(confidence >= 0 && confidence <= 1)) {
            ++part.left_out;
            continue;
        }
        part.images.push_back(
            {text_of(row, "file"), label->second, predicted->second, confidence, number_of(row, "loss")});
        judgements.push_back({label->second, predicted->second, float(confidence), text_of(row, "camera")});
    }
    part.metrics = measure(judgements, class_numbers.size());
    return part;
}

// One row of truth or found boxes: class, x, y, w, h and maybe a score; nothing if it is invalid.
std::optional<FoundBox> box_of(const json& row, size_t numbers, size_t classes) {
    if (!row.is_array() || row.size() != numbers ||
        !std::ranges::all_of(row, [](const json& v) { return v.is_number(); }))
        return {};
    const auto at = [&](size_t i) { return row[i].get<float>(); };
    for (size_t i = 1; i < numbers; ++i)
        if (!(at(i) >= 0 && at(i) <= 1.001f)) return {};
    if (!(at(0) >= 0 && at(0) < float(classes))) return {};
    return FoundBox{uint32_t(at(0)), numbers > 5 ? std::min(at(5), 1.0f) : 1, at(1), at(2), at(3), at(4)};
}

EvaluatedBoxes read_boxes(const std::string& name, const json& content, size_t classes) {
    EvaluatedBoxes part{.name = name, .metrics = member(content, "metrics"), .images = {}};
    const json& rows = member(content, "pictures");
    if (!rows.is_array()) return part;
    for (const json& row : rows) {
        BoxImage image{.file = text_of(row, "file"), .camera = text_of(row, "camera"), .boxes = {}};
        const double w = number_of(row, "width"), h = number_of(row, "height");
        if (!(w >= 1 && h >= 1 && w < 1e6 && h < 1e6)) continue;
        image.boxes.w = size_t(w), image.boxes.h = size_t(h);
        if (const json& list = member(row, "truth"); list.is_array())
            for (const json& one : list)
                if (const auto b = box_of(one, 5, classes))
                    image.boxes.truth.push_back({b->category, b->x, b->y, b->w, b->h});
        if (const json& list = member(row, "found"); list.is_array())
            for (const json& one : list)
                if (const auto b = box_of(one, 6, classes)) image.boxes.found.push_back(*b);
        part.images.push_back(std::move(image));
    }
    return part;
}

void read_evaluation(RunFiles& run) {
    const json evaluation = json_of(run, "evaluation.json");
    const json& names = member(evaluation, "classes");
    if (!names.is_array()) return;
    std::map<std::string, size_t> numbers;
    for (const json& name : names) {
        if (!name.is_string() || !numbers.emplace(name.get<std::string>(), run.classes.size()).second) {
            run.classes.clear();
            run.missing.push_back("evaluation.json has invalid classes and was left out.");
            return;
        }
        run.classes.push_back(name.get<std::string>());
    }
    for (const char* name : {"validation", "test"}) {
        const json& content = member(member(evaluation, "parts"), name);
        if (run.is_detector()) {
            EvaluatedBoxes part = read_boxes(name, content, run.classes.size());
            if (!part.images.empty()) run.box_parts.push_back(std::move(part));
            continue;
        }
        EvaluatedPart part = read_part(name, content, numbers);
        if (part.left_out)
            run.missing.push_back(fmt::format(
                "evaluation.json: {} predictions on {} images are invalid and were left out.", part.left_out, name));
        if (!part.images.empty()) run.parts.push_back(std::move(part));
    }
}

void read_bad_files(RunFiles& run) {
    const std::vector<CsvRow> rows = csv_rows(run, "bad_files.csv");
    run.has_bad_files = !rows.empty();
    for (size_t i = 1; i < rows.size(); ++i)
        if (const auto& f = rows[i].fields; f.size() >= 4) run.bad_files.push_back({f[0], f[1], f[3], f[2] == "yes"});
}

}  // namespace

const json& RunFiles::last_session() const {
    static const json nothing;
    const json& sessions = member(record, "sessions");
    return sessions.is_array() && !sessions.empty() ? sessions.back() : nothing;
}

bool RunFiles::finished() const { return member(record, "finished") == json(true); }

std::string RunFiles::last_event() const {
    const json& events = member(last_session(), "events");
    return events.is_array() && !events.empty() ? text_of(events.back(), "event") : "";
}

double RunFiles::last_step() const {
    const double logged = steps.empty() ? kUnknown : steps.back().step,
                 tabled = epochs.empty() ? kUnknown : epochs.back().step;
    return std::fmax(logged, tabled);
}

double RunFiles::steps_per_epoch() const {
    const double steps = epochs.empty() ? kUnknown : epochs.back().step / epochs.back().epoch;
    return steps >= 1 && std::isfinite(steps) ? steps : kUnknown;
}

template <class Evaluation>
static const Evaluation* main_of(const std::vector<Evaluation>& parts) {
    if (parts.empty()) return nullptr;
    const Evaluation& last = parts.back();
    if (last.images.size() >= kEnoughTestImages) return &last;
    return &*std::max_element(parts.begin(), parts.end(),
                              [](auto& a, auto& b) { return a.images.size() < b.images.size(); });
}

const EvaluatedPart* RunFiles::main_part() const { return main_of(parts); }
const EvaluatedBoxes* RunFiles::main_boxes() const { return main_of(box_parts); }

RunFiles read_run_files(const fs::path& folder) {
    std::error_code error;
    if (!fs::exists(folder / "run.json", error) && !fs::exists(folder / "config", error))
        fail(Fault::usage, "{}: holds no training run (neither run.json nor config)", folder.string());
    RunFiles run;
    run.folder = folder;
    run.record = json_of(run, "run.json");
    read_config_text(run);
    read_log(run);
    read_metrics_table(run);
    read_evaluation(run);
    read_bad_files(run);
    return run;
}
