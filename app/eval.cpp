// `tundra eval`: measures a trained network on labelled images. Classifiers; detectors are in eval_detector.cpp.
#include "app/eval.h"

#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "app/command.h"
#include "app/jobs/image_list.h"
#include "app/jobs/model.h"
#include "app/tables.h"
#include "base/error.h"
#include "base/file.h"
#include "data/dataset_parts.h"
#include "predict/evaluation.h"
#include "train/setup.h"

namespace {

namespace fs = std::filesystem;

bool is_detector(const std::string& model) {
    if (fs::exists(fs::path(model) / "config")) return config_of(model, {}).task == "detect";
    return read_weights(weight_file(model)).model.task == "detect";
}

int run(EvalOptions& o) {
    if (o.unlabelled && !(o.check_bf16 && !o.data.empty()))
        fail(Fault::usage,
             "--unlabelled: goes with --check-bf16 and names the images, as in `tundra eval MODEL IMAGES "
             "--check-bf16 --unlabelled`");
    if (o.check_bf16 && (!o.out.empty() || o.min_accuracy > 0 || o.min_map50 > 0))
        fail(Fault::usage,
             "--check-bf16: goes without --out, --min-accuracy and --min-map50; evaluate in a second run");
    if (!o.out.empty()) check_output("--out", o.out, {o.model, o.data});
    if (fs::exists(fs::path(o.model) / "survey.json")) return eval_survey(o);
    if (is_detector(o.model)) return eval_detector(o);
    if (o.min_map50 > 0)
        fail(Fault::usage, "--min-map50 is for detectors, and {} is a classifier; use --min-accuracy", o.model);
    Dataset data = o.unlabelled ? images_without_labels(o) : open_data(o, config_of(o.model, {}), open_dataset);
    const std::vector<uint32_t> numbers = images_of_part(data, o.part);
    if (o.check_bf16) {
        refuse_check_of(read_model(o.model, {.mapped = true, .input = o.input}).int8_report, o.model);
        o.machine.precision = "fp32";
    }
    ReadyModel model = open_model(o.model, o.machine, numbers.size(), o.input);
    match_classes(data, model.file.classes);
    Progress progress(o.machine.quiet);
    const auto predictions_of = [&](ReadyModel& m) {
        Predictions found =
            predict(m.ready(), data, numbers, {.fit = m.file.input.fit, .threads = m.threads, .accept_damaged = true},
                    nullptr, [&](size_t done) { return progress.count(done, numbers.size(), "images"), true; });
        progress.clear();
        return found;
    };
    if (!model.precision.why.empty()) print_note(progress, "precision: " + to_text(model.precision));
    const Predictions predictions = predictions_of(model);
    if (predictions.rows.empty()) fail(Fault::inputs, "eval: none of {} images could be read", numbers.size());
    if (o.check_bf16) {
        o.machine.precision = "bf16";
        ReadyModel other = open_model(o.model, o.machine, numbers.size(), o.input);
        PrecisionCheck check = compare_classes(predictions, predictions_of(other), !o.unlabelled);
        check.weights = model.fingerprint;
        return end_check(o, progress, check);
    }
    const Metrics metrics = predictions.metrics(data);
    for (const std::string& text : model.file.notes) print_note(progress, text);
    print_notes(progress, data, predictions.bad_files);
    if (!o.machine.quiet) {
        print_line(progress, fmt::format("{}: {} images ({}) of {}", o.model, count_text(predictions.rows.size()),
                                         o.part, data.root));
        print_metrics(metrics, data.classes);
    }
    if (!o.out.empty()) write_evaluation(o.out, data, {{o.part, &predictions}}, input_text(model.file.input));
    if (metrics.all.accuracy() >= o.min_accuracy) return 0;
    fail(Fault::runtime, "eval: the accuracy {:.4f} is below --min-accuracy {}", metrics.all.accuracy(),
         o.min_accuracy);
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<EvalOptions>();
    app.add_option("MODEL", o->model, "a run folder, a weight file, or a reviewed survey")->required();
    app.add_option("DATA", o->data, "labelled images, as for `tundra train` [the data of the run]");
    app.add_option("--part", o->part, "part of the data: test, validation, train or all [test if there is one]")
        ->check(CLI::IsMember({"test", "validation", "train", "all"}))
        ->type_name("PART");
    app.add_option("-o,--out,--json", o->out, "write metrics and predictions to this JSON file")->type_name("FILE");
    app.add_option("--min-accuracy", o->min_accuracy, "exit with code 1 if a classifier's accuracy is lower")
        ->type_name("X")
        ->check(CLI::Range(0.0, 1.0));
    app.add_option("--min-map50", o->min_map50, "exit with code 1 if a detector's mAP50 is lower")
        ->type_name("X")
        ->check(CLI::Range(0.0, 1.0));
    app.add_flag(
           "--check-bf16", o->check_bf16,
           "compare the answers in bf16 with those in fp32 and store in MODEL whether `--precision auto` may take "
           "bf16 on the device cpu")
        ->group("Machine");
    app.add_flag("--unlabelled", o->unlabelled, "for --check-bf16: DATA are images without labels, at least 1000")
        ->group("Machine");
    add_input_options(app, o->input);
    add_machine_options(app, o->machine, "classifier 16; detector: cpu 1, cuda 8");
    return [o] { return run(*o); };
}

}  // namespace

TrainConfig config_of(const std::string& model, TrainConfig config) {
    if (const fs::path file = fs::path(model) / "config"; fs::exists(file)) assign(config, read_config(file.string()));
    return config;
}

Dataset open_data(const EvalOptions& o, TrainConfig config,
                  Dataset (*open)(const std::string&, const DatasetOptions&)) {
    if (config.data.empty() && o.data.empty())
        fail(Fault::usage, "eval: {} does not name its data; give DATA after it", o.model);
    config.threads = o.machine.threads;
    DatasetOptions options = dataset_options(config);
    options.for_training = false;
    const bool same = o.data.empty() || (!config.data.empty() && fs::exists(config.data) && fs::exists(o.data) &&
                                         fs::equivalent(config.data, o.data));
    if (!same) options.validation = options.test = 0;
    Dataset data = open(same ? config.data : o.data, options);
    const fs::path record = fs::path(o.model) / "run.json";
    if (!same || !fs::exists(record)) return data;
    const auto trained = nlohmann::json::parse(read_file(record).text(), nullptr, false);
    const auto hash = trained.is_object() ? trained.value("/data/fingerprint"_json_pointer, std::string()) : "";
    if (!hash.empty() && hash != data.fingerprint.hash)
        data.notes.push_back(
            fmt::format("{}: the images, or what is known of them, are not those of the training; the "
                        "parts may differ, and images of training may be among these",
                        config.data));
    return data;
}

std::vector<uint32_t> images_of_part(const Dataset& data, std::string& part) {
    if (part.empty())
        part = data.part(Part::test).empty() ? data.part(Part::validation).empty() ? "all" : "validation" : "test";
    std::vector<uint32_t> numbers;
    for (uint32_t i = 0; i < data.samples.size(); ++i)
        if (part == "all" || part == part_name(data.samples[i].part)) numbers.push_back(i);
    if (numbers.empty()) fail(Fault::usage, "eval: there are no {} images; choose another part with --part", part);
    return numbers;
}

void match_classes(Dataset& data, const std::vector<std::string>& classes) {
    std::vector<uint32_t> number;
    for (const std::string& name : data.classes) {
        const auto found = std::ranges::find(classes, name);
        if (found == classes.end())
            fail(Fault::usage, "the data has a class '{}'; the model knows {}", name, fmt::join(classes, ", "));
        number.push_back(uint32_t(found - classes.begin()));
    }
    for (Sample& sample : data.samples) {
        if (!number.empty()) sample.label = number[sample.label];
        for (TrueBox& box : sample.boxes) box.category = number[box.category];
    }
    data.classes = classes;
}

Dataset images_without_labels(const EvalOptions& o) {
    Dataset data{.root = {}, .classes = {}, .samples = {}, .notes = {}, .fingerprint = {}};
    ImagePaths images = find_images({o.data}, {});
    for (std::string& path : images.paths) {
        const Decoded header = read_header(path);  // a detector's boxes are shares of the sides
        data.samples.push_back({.name = std::move(path), .h = header.full_h, .w = header.full_w});
    }
    data.notes = std::move(images.notes);
    data.watch_drive();
    return data;
}

void refuse_check_of(const std::string& int8_report, const std::string& model) {
    if (!int8_report.empty())
        fail(Fault::usage, "--check-bf16: {} is quantized and runs in int8 only; check its original", model);
}

int end_check(const EvalOptions& o, Progress& progress, const PrecisionCheck& check) {
    if (!o.machine.quiet)
        for (const std::string& line : check.lines()) print_line(progress, line);
    if (!check.images) fail(Fault::inputs, "eval: no image could be read");
    if (check.images < check.fewest)  // says nothing about the model: what is stored stays
        fail(Fault::runtime, "eval: {} images are too few for a check of bf16; {} are needed", check.images,
             check.fewest);
    if (check.rows.empty())  // nor does this
        fail(Fault::usage, "eval: {} no object on the {} images; name images with animals on them",
             o.unlabelled ? "float32 finds" : "the labels have", check.images);
    store_check(weight_file(o.model), check);
    if (check.passed()) return 0;
    fail(Fault::runtime, "eval: bf16 does not pass on {} images of {}: --precision auto stays with fp32", check.images,
         o.data.empty() ? "the run's data" : o.data);
}

void print_notes(Progress& progress, const Dataset& data, const std::vector<FailedImage>& bad_files) {
    for (const std::string& text : data.notes) print_note(progress, text);
    for (const FailedImage& file : bad_files) print_note(progress, file.note());
}

Command eval_command() {
    return {.name = "eval",
            .summary = "Measure a classifier, a detector or a reviewed survey.",
            .examples = {"tundra eval runs/quality                          the test images of its data",
                         "tundra eval runs/quality --part validation -o metrics.json",
                         "tundra eval model.safetensors other-shots --min-accuracy 0.9",
                         "tundra eval runs/my-cameras --min-map50 0.7        a detector",
                         "tundra eval md_v5a.0.0.pt labels.json              MegaDetector on your labels",
                         "tundra eval season                                 a survey, against its review"},
            .add = add,
            .short_help = {"--part", "--out", "--min-accuracy", "--min-map50", "--image-size", "--fit", "--normalize",
                           "--classes", "--device", "--batch", "--threads", "--quiet"}};
}
