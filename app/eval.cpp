// `tundra eval`: how good a trained network is on images whose truth is known. Here classifiers; detectors:
// eval_detector.cpp.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "app/command.h"
#include "app/eval.h"
#include "app/tables.h"
#include "app/terminal.h"
#include "base/error.h"
#include "predict/evaluation.h"
#include "train/config.h"

namespace {

namespace fs = std::filesystem;

using Options = EvalOptions;

// With the parts of the run, or for other data with the parts that the data itself has.
Dataset open_data(const Options& o) {
    const fs::path config_file = fs::path(o.model) / "config";
    const bool of_run = fs::exists(config_file);
    if (!of_run && o.data.empty())
        fail(Fault::usage, "eval: {} does not say on which data; name DATA after it", o.model);
    TrainConfig config;
    if (of_run) assign(config, read_config(config_file.string()));
    const bool other_data = !o.data.empty() && (!of_run || !fs::exists(config.data) || !fs::exists(o.data) ||
                                                !fs::equivalent(config.data, o.data));
    if (other_data) return open_dataset(o.data, {.validation = 0, .test = 0});
    return open_dataset(config.data, {.seed = config.seed,
                                      .split_by = config.split_by == "camera" ? SplitBy::camera : SplitBy::sequence,
                                      .validation = config.validation,
                                      .test = config.test});
}

// The data's classes become the model's, by name.
void match_classes(Dataset& data, const std::vector<std::string>& classes) {
    std::vector<uint32_t> number;
    for (const std::string& name : data.classes) {
        const auto found = std::ranges::find(classes, name);
        if (found == classes.end())
            fail(Fault::usage, "eval: the data has a class '{}', the model knows {}", name, fmt::join(classes, ", "));
        number.push_back(uint32_t(found - classes.begin()));
    }
    for (Sample& sample : data.samples) sample.label = number[sample.label];
    data.classes = classes;
}

}  // namespace

std::vector<uint32_t> images_of_part(const Dataset& data, std::string& part) {
    if (part.empty())
        part = data.part(Part::test).empty() ? data.part(Part::validation).empty() ? "all" : "validation" : "test";
    std::vector<uint32_t> numbers;
    for (uint32_t i = 0; i < data.samples.size(); ++i)
        if (part == "all" || part == part_name(data.samples[i].part)) numbers.push_back(i);
    if (numbers.empty()) fail(Fault::usage, "eval: there are no {} images; --part names another part", part);
    return numbers;
}

namespace {

int run(Options& o) {
    if (is_detector(o.model)) return eval_detector(o);
    if (o.min_map50 > 0)
        fail(Fault::usage, "--min-map50 is for detectors, and {} is a classifier; it has --min-accuracy", o.model);
    Dataset data = open_data(o);
    const std::vector<uint32_t> numbers = images_of_part(data, o.part);
    ReadyModel model = open_model(o.model, o.machine, numbers.size());
    match_classes(data, model.file.classes);
    Progress progress(o.quiet);
    const Predictions predictions =
        predict(model.ready(), data, numbers, {.fit = model.file.fit, .threads = model.threads, .accept_damaged = true},
                nullptr, [&](size_t done) { return progress.count(done, numbers.size(), "pictures"), true; });
    progress.clear();
    if (predictions.rows.empty()) fail(Fault::inputs, "eval: none of {} images could be read", numbers.size());
    const Metrics metrics = predictions.metrics(data);
    for (const FailedImage& file : predictions.bad_files)
        note(progress, fmt::format("{}: {} ({}){}", file.path, file.text, file.code,
                                   file.used ? ", used as far as it goes" : ""));
    if (!o.quiet) {
        say(progress,
            fmt::format("{}: {} {} images of {}", o.model, count_text(predictions.rows.size()), o.part, data.root));
        print_metrics(metrics, data.classes);
    }
    if (!o.json.empty()) write_evaluation(o.json, data, {{o.part, &predictions}});
    if (metrics.all.accuracy() >= o.min_accuracy) return 0;
    fail(Fault::runtime, "eval: the accuracy {:.4f} is below --min-accuracy {}", metrics.all.accuracy(),
         o.min_accuracy);
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("MODEL", o->model, "run folder or weight file")->required();
    app.add_option("DATA", o->data, "what `tundra train` takes; left out: the data of the run");
    app.add_option("--part", o->part, "test, validation, train or all [test where there is one]")
        ->check(CLI::IsMember({"test", "validation", "train", "all"}))
        ->type_name("PART");
    app.add_option("--json", o->json, "write figures and predictions to this file")->type_name("FILE");
    app.add_option("--min-accuracy", o->min_accuracy, "exit with 1 below this share")
        ->type_name("X")
        ->check(CLI::Range(0.0, 1.0));
    app.add_option("--min-map50", o->min_map50, "the same for the mAP50 of a detector")
        ->type_name("X")
        ->check(CLI::Range(0.0, 1.0));
    add_machine_options(app, o->machine);
    app.add_flag("-q,--quiet", o->quiet, "no table");
    return [o] { return run(*o); };
}

}  // namespace

Command eval_command() {
    return {.name = "eval",
            .summary = "Measure a trained classifier or detector on images whose truth is known.",
            .examples = {"tundra eval runs/quality                          the test images of its data",
                         "tundra eval runs/quality --part validation --json figures.json",
                         "tundra eval model.safetensors other-shots --min-accuracy 0.9",
                         "tundra eval runs/own-cameras --min-map50 0.7       a detector",
                         "tundra eval md_v5a.0.0.pt labels.json              what MegaDetector makes of your labels"},
            .add = add};
}
