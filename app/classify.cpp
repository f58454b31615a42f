// `tundra classify`: what a trained classifier says about each of many pictures.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/inputs.h"
#include "app/model.h"
#include "app/terminal.h"
#include "data/csv.h"
#include "data/loader.h"
#include "engine/file.h"
#include "engine/require.h"
#include "train/config.h"
#include "train/evaluation.h"
#include "train/signals.h"

namespace {

using nlohmann::ordered_json;

struct Options {
    std::vector<std::string> pictures, thresholds;
    std::string model, out;
    size_t max_failures = SIZE_MAX;
    MachineOptions machine;
    bool quiet = false;
};

// What --threshold asks for: 0 where a class has none.
std::vector<float> class_thresholds(const std::vector<std::string>& texts, const std::vector<std::string>& classes) {
    std::vector<float> thresholds(classes.size(), 0);
    for (const std::string& text : texts) {
        const size_t equals = text.rfind('=');
        const std::string name = text.substr(0, equals);
        const auto found = std::ranges::find(classes, name);
        float value = -1;
        if (equals != std::string::npos) try {
                size_t used = 0;
                value = std::stof(text.substr(equals + 1), &used);
                if (used + equals + 1 != text.size()) value = -1;
            } catch (const std::exception&) {}
        if (!(value > 0 && value <= 1)) fail(Fault::usage, "--threshold {}: must be CLASS=X with X above 0 and at most 1", text);
        if (found == classes.end())
            fail(Fault::usage, "--threshold {}: the model has no class '{}', it knows {}", text, name, fmt::join(classes, ", "));
        thresholds[size_t(found - classes.begin())] = value;
    }
    if (std::ranges::find(thresholds, 0.0f) == thresholds.end())
        fail(Fault::usage, "--threshold: one class must have none, to be the answer where no other reaches its own");
    return thresholds;
}

// The most probable class among those that reach their threshold.
size_t predicted_class(std::span<const float> probabilities, std::span<const float> thresholds) {
    size_t best = SIZE_MAX;
    for (size_t c = 0; c < probabilities.size(); ++c)
        if (probabilities[c] >= thresholds[c] && (best == SIZE_MAX || probabilities[c] > probabilities[best])) best = c;
    return best;
}

struct Answer {
    const std::string& path;
    const BadFile* problem;                // null: none
    std::span<const float> probabilities;  // empty: none
    size_t predicted;
};

class Table {
public:
    Table(FileWriter& out, const std::vector<std::string>& classes, bool as_csv) : out_(out), classes_(classes), as_csv_(as_csv) {
        if (!as_csv_) return;
        std::string head = "path,predicted,confidence";
        for (const std::string& name : classes_) head += "," + csv_field("p_" + name);
        out_.write(head + ",reason,detail\n");
    }

    void write(const Answer& a) { out_.write(as_csv_ ? csv_line(a) : json_line(a)); }

private:
    std::string csv_line(const Answer& a) const {
        std::string line = csv_field(a.path);
        if (a.probabilities.empty()) line += "," + std::string(1 + classes_.size(), ',');
        else line += fmt::format(",{},{:.6f}", csv_field(classes_[a.predicted]), a.probabilities[a.predicted]);
        for (const float p : a.probabilities) line += fmt::format(",{:.6f}", p);
        return line + (a.problem ? fmt::format(",{},{}\n", a.problem->code, csv_field(a.problem->text)) : ",,\n");
    }
    std::string json_line(const Answer& a) const {
        ordered_json line = {{"path", a.path}};
        if (!a.probabilities.empty()) {
            line["predicted"] = classes_[a.predicted];
            line["confidence"] = a.probabilities[a.predicted];
            for (size_t c = 0; c < classes_.size(); ++c) line["probabilities"][classes_[c]] = a.probabilities[c];
        }
        if (a.problem) line["reason"] = a.problem->code, line["detail"] = a.problem->text;
        return line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
    }

    FileWriter& out_;
    const std::vector<std::string>& classes_;
    bool as_csv_;
};

struct Stopped {
    int exit_code;
};

struct Counts {
    size_t pictures = 0, failures = 0;
    std::vector<size_t> of_class;
};

Counts classify(ReadyModel& model, const Dataset& data, std::span<const float> thresholds, Table& table, Progress& progress) {
    std::vector<uint32_t> numbers(data.samples.size());
    for (uint32_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
    const size_t classes = model.file.classes.size();
    Loader loader(data, std::move(numbers), {.batch = model.classifier->config().batch, .fit = model.file.fit, .epochs = 1,
                                             .threads = model.threads, .accept_damaged = true});
    const StopSignals signals;
    Counts counts{.of_class = std::vector<size_t>(classes)};
    for (size_t step = 0; step < loader.steps(); ++step) {
        const Batch& batch = loader.next();
        const std::vector<float> probabilities = model.classifier->run(batch.pictures);
        for (size_t row = 0; row < batch.samples.size() && batch.samples[row] >= 0; ++row) {
            const auto sample = uint32_t(batch.samples[row]);
            const std::optional<BadFile> problem = loader.bad_file(sample);
            const bool readable = batch.labels[row] >= 0;
            Answer answer{data.samples[sample].name, problem ? &*problem : nullptr, {}, 0};
            if (readable) {
                answer.probabilities = std::span(probabilities).subspan(row * classes, classes);
                answer.predicted = predicted_class(answer.probabilities, thresholds);
                ++counts.of_class[answer.predicted];
            }
            table.write(answer);
            ++counts.pictures;
            counts.failures += !readable;
        }
        progress.count(counts.pictures, data.samples.size(), "pictures");
        if (signals.received()) throw Stopped{signals.exit_code()};
    }
    return counts;
}

int run(const Options& o) {
    const bool as_csv = o.out.ends_with(".csv");
    if (!as_csv && !o.out.ends_with(".jsonl")) fail(Fault::usage, "--out {}: must end in .csv or .jsonl", o.out);
    Inputs inputs = collect_inputs(o.pictures);
    Dataset data;
    for (std::string& path : inputs.paths) data.samples.push_back({.name = std::move(path)});
    ReadyModel model = open_model(o.model, o.machine, data.samples.size());
    data.classes = model.file.classes;
    const std::vector<float> thresholds = class_thresholds(o.thresholds, data.classes);
    Progress progress(o.quiet);
    for (const std::string& text : inputs.notes) note(progress, text);
    Counts counts;
    try {
        write_file_durably(o.out, [&](FileWriter& out) {
            Table table(out, data.classes, as_csv);
            counts = classify(model, data, thresholds, table, progress);
        });
    } catch (const Stopped& stopped) {
        note(progress, fmt::format("stopped; {} was not written", o.out));
        return stopped.exit_code;
    }
    progress.clear();
    if (!o.quiet) {
        for (size_t c = 0; c < counts.of_class.size(); ++c)
            if (counts.of_class[c]) say(progress, fmt::format("{:>9} {}", count_text(counts.of_class[c]), data.classes[c]));
        say(progress, fmt::format("{} pictures, {} failed: {}", count_text(counts.pictures), count_text(counts.failures), o.out));
    }
    if (counts.failures > o.max_failures)
        fail(Fault::inputs, "classify: {} of {} pictures failed, --max-failures is {}; {} has the reasons", counts.failures,
             counts.pictures, o.max_failures, o.out);
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("PICTURES", o->pictures, "folders, files, or lists of files (@LIST, LIST.txt)")->required();
    app.add_option("--model", o->model, "run folder or weight file")->required()->type_name("MODEL");
    app.add_option("--out", o->out, "one line per picture: FILE.csv or FILE.jsonl")->required()->type_name("FILE");
    app.add_option("--threshold", o->thresholds, "say CLASS only from this probability on, else the next best; for several, repeat")
        ->type_name("CLASS=X")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_option("--max-failures", o->max_failures, "exit with 3 if more pictures cannot be read [no limit]")->type_name("N");
    add_machine_options(app, o->machine);
    app.add_flag("-q,--quiet", o->quiet, "no progress, no counts");
    return [o] { return run(*o); };
}

}  // namespace

Command classify_command() {
    return {.name = "classify",
            .summary = "Say what is on each of many pictures.",
            .examples = {"tundra classify new/ --model runs/quality --out new.csv",
                         "tundra classify a.jpg b.jpg --model model.safetensors --out two.jsonl",
                         "tundra classify @list.txt --model runs/q --out out.csv --threshold bad=0.95"},
            .add = add};
}
