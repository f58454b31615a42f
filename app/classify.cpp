// `tundra classify`: what a trained classifier says about each of many images.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/detect/detection.h"
#include "app/detect/result_file.h"
#include "app/jobs/inputs.h"
#include "app/jobs/journal.h"
#include "app/jobs/model.h"
#include "app/terminal.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/signals.h"
#include "data/loader.h"
#include "predict/evaluation.h"
#include "train/config.h"

namespace {

using nlohmann::ordered_json;

struct Options {
    std::vector<std::string> images, thresholds;
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
            } catch (const std::exception&) {
            }
        if (!(value > 0 && value <= 1))
            fail(Fault::usage, "--threshold {}: must be CLASS=X with X above 0 and at most 1", text);
        if (found == classes.end())
            fail(Fault::usage, "--threshold {}: the model has no class '{}', it knows {}", text, name,
                 fmt::join(classes, ", "));
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
    std::string reason = {}, detail = {};   // of an image with a problem
    std::vector<float> probabilities = {};  // empty where it could not be read
};

// What is known so far: the answers of whole batches, in the order of the images, in a journal beside the result.
// Classes are told apart only when the table is written, so thresholds are no settings.
class PredictionLog {
public:
    PredictionLog(const std::string& path, const std::string& settings)
        : journal_(path, settings, [this](std::string_view, uint64_t offset) { batches_.push_back(offset); }) {}

    size_t batches() const { return batches_.size(); }

    void add(const std::vector<Answer>& batch) {
        ordered_json line = ordered_json::array();
        for (const Answer& a : batch) line.push_back({a.reason, a.detail, a.probabilities});
        batches_.push_back(journal_.append(one_line(line)));
    }

    std::vector<Answer> batch(size_t i) const {
        std::vector<Answer> batch;
        for (const ordered_json& a : ordered_json::parse(journal_.line(batches_[i])))
            batch.push_back({a[0].get<std::string>(), a[1].get<std::string>(), a[2].get<std::vector<float>>()});
        return batch;
    }

    void remove() { journal_.remove(); }

private:
    std::vector<uint64_t> batches_;  // offsets in the journal
    Journal journal_;
};

class Table {
public:
    Table(FileWriter& out, const std::vector<std::string>& classes, bool as_csv)
        : out_(out), classes_(classes), as_csv_(as_csv) {
        if (!as_csv_) return;
        std::string head = "path,predicted,confidence";
        for (const std::string& name : classes_) head += "," + csv_field("p_" + name);
        out_.write(head + ",reason,detail\n");
    }

    void write(const std::string& path, const Answer& a, size_t predicted) {
        out_.write(as_csv_ ? csv_line(path, a, predicted) : json_line(path, a, predicted));
    }

private:
    std::string csv_line(const std::string& path, const Answer& a, size_t predicted) const {
        std::string line = csv_field(path);
        if (a.probabilities.empty())
            line += "," + std::string(1 + classes_.size(), ',');
        else
            line += fmt::format(",{},{:.6f}", csv_field(classes_[predicted]), a.probabilities[predicted]);
        for (const float p : a.probabilities) line += fmt::format(",{:.6f}", p);
        return line + fmt::format(",{},{}\n", a.reason, csv_field(a.detail));
    }
    std::string json_line(const std::string& path, const Answer& a, size_t predicted) const {
        ordered_json line = {{"path", path}};
        if (!a.probabilities.empty()) {
            line["predicted"] = classes_[predicted];
            line["confidence"] = a.probabilities[predicted];
            for (size_t c = 0; c < classes_.size(); ++c) line["probabilities"][classes_[c]] = a.probabilities[c];
        }
        if (!a.reason.empty()) line["reason"] = a.reason, line["detail"] = a.detail;
        return one_line(line) + "\n";
    }

    FileWriter& out_;
    const std::vector<std::string>& classes_;
    bool as_csv_;
};

struct Counts {
    size_t images = 0, failures = 0;
    std::vector<size_t> of_class;
};

// What makes the answers.
std::string settings(const ReadyModel& model, const Dataset& data) {
    const Fit& fit = model.file.fit;
    return one_line(
        {{"model", model.fingerprint},
         {"classes", model.file.classes},
         {"input", fmt::format("{} {} {} {}", fit.size, int(fit.mode), int(fit.filter), model.file.normalize)},
         {"device", model.device->kind()},
         {"batch", model.classifier->config().batch},
         {"pictures", data.samples.size()},
         {"list", list_hash(data.samples.size(), [&](size_t i) { return data.samples[i].name; })}});
}

// The answers that are still missing; false if a signal stopped that.
bool classify(ReadyModel& model, const Dataset& data, PredictionLog& answers, Progress& progress,
              const StopSignals& signals) {
    const size_t batch_size = model.classifier->config().batch, classes = model.file.classes.size();
    std::vector<uint32_t> numbers;
    for (size_t i = answers.batches() * batch_size; i < data.samples.size(); ++i) numbers.push_back(uint32_t(i));
    if (numbers.empty()) return true;
    size_t done = data.samples.size() - numbers.size();
    if (done) note(progress, fmt::format("going on after {} of {} images", done, data.samples.size()));
    Loader loader(
        data, std::move(numbers),
        {.batch = batch_size, .fit = model.file.fit, .epochs = 1, .threads = model.threads, .accept_damaged = true});
    for (size_t step = 0; step < loader.steps(); ++step) {
        if (signals.received()) {
            note(progress, fmt::format("stopped after {} of {} images; the same command goes on from there", done,
                                       data.samples.size()));
            return false;
        }
        const Batch& batch = loader.next();
        const std::vector<float> probabilities = model.ready().run(batch.images);
        std::vector<Answer> found;
        for (size_t row = 0; row < batch.samples.size() && batch.samples[row] >= 0; ++row) {
            const auto sample = uint32_t(batch.samples[row]);
            Answer& answer = found.emplace_back();
            if (const std::optional<FailedImage> problem = loader.bad_file(sample))
                answer.reason = problem->code, answer.detail = problem->text;
            if (batch.labels[row] < 0) continue;
            const auto p = std::span(probabilities).subspan(row * classes, classes);
            if (!std::ranges::all_of(p, [](float x) { return std::isfinite(x); }))
                fail(Fault::not_finite, "{}: the network's answer is not finite", data.samples[sample].name);
            answer.probabilities.assign(p.begin(), p.end());
        }
        answers.add(found);
        progress.count(done += found.size(), data.samples.size(), "pictures");
    }
    return true;
}

Counts write_table(Table& table, const PredictionLog& answers, const Dataset& data, std::span<const float> thresholds) {
    Counts counts{.of_class = std::vector<size_t>(data.classes.size())};
    for (size_t i = 0; i < answers.batches(); ++i)
        for (const Answer& answer : answers.batch(i)) {
            const size_t predicted = predicted_class(answer.probabilities, thresholds);
            table.write(data.samples[counts.images++].name, answer, predicted);
            if (answer.probabilities.empty())
                ++counts.failures;
            else
                ++counts.of_class[predicted];
        }
    return counts;
}

int run(const Options& o) {
    const bool as_csv = o.out.ends_with(".csv");
    if (!as_csv && !o.out.ends_with(".jsonl")) fail(Fault::usage, "--out {}: must end in .csv or .jsonl", o.out);
    Inputs inputs = collect_inputs(o.images);
    Dataset data;
    for (std::string& path : inputs.paths) data.samples.push_back({.name = std::move(path)});
    ReadyModel model = open_model(o.model, o.machine, data.samples.size());
    data.classes = model.file.classes;
    const std::vector<float> thresholds = class_thresholds(o.thresholds, data.classes);
    Progress progress(o.quiet);
    for (const std::string& text : inputs.notes) note(progress, text);
    const StopSignals signals;
    PredictionLog answers(o.out + ".journal", settings(model, data));
    if (!classify(model, data, answers, progress, signals)) return signals.exit_code();
    Counts counts;
    write_file_durably(o.out, [&](FileWriter& out) {
        Table table(out, data.classes, as_csv);
        counts = write_table(table, answers, data, thresholds);
    });
    answers.remove();
    progress.clear();
    if (!o.quiet) {
        for (size_t c = 0; c < counts.of_class.size(); ++c)
            if (counts.of_class[c])
                say(progress, fmt::format("{:>9} {}", count_text(counts.of_class[c]), data.classes[c]));
        say(progress,
            fmt::format("{} images, {} failed: {}", count_text(counts.images), count_text(counts.failures), o.out));
    }
    if (counts.failures > o.max_failures)
        fail(Fault::inputs, "classify: {} of {} images failed, --max-failures is {}; {} has the reasons",
             counts.failures, counts.images, o.max_failures, o.out);
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("PICTURES", o->images, "folders, files, or lists of files (@LIST, LIST.txt)")->required();
    app.add_option("--model", o->model, "run folder or weight file")->required()->type_name("MODEL");
    app.add_option("--out", o->out, "one line per image: FILE.csv or FILE.jsonl; rerun to resume a stopped run")
        ->required()
        ->type_name("FILE");
    app.add_option("--threshold", o->thresholds,
                   "say CLASS only from this probability on, else the next best; for several, repeat")
        ->type_name("CLASS=X")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_option("--max-failures", o->max_failures, "exit with 3 if more images cannot be read [no limit]")
        ->type_name("N");
    add_machine_options(app, o->machine);
    app.add_flag("-q,--quiet", o->quiet, "no progress, no counts");
    return [o] { return run(*o); };
}

}  // namespace

Command classify_command() {
    return {.name = "classify",
            .summary = "Say what is on each of many images.",
            .examples = {"tundra classify new/ --model runs/quality --out new.csv",
                         "tundra classify a.jpg b.jpg --model model.safetensors --out two.jsonl",
                         "tundra classify @list.txt --model runs/q --out out.csv --threshold bad=0.95"},
            .add = add};
}
