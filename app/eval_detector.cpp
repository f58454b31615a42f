// `tundra eval` for detectors: average precision, and what each threshold gives.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "app/eval.h"
#include "app/tables.h"
#include "app/terminal.h"
#include "base/error.h"
#include "data/box_dataset.h"
#include "predict/detect_evaluation.h"
#include "predict/model_file.h"
#include "train/setup.h"

namespace {

namespace fs = std::filesystem;

// Of the run, or what the defaults of the task say.
TrainConfig config_of(const std::string& model) {
    TrainConfig config = recipe_named("default", "detect");
    if (const fs::path file = fs::path(model) / "config"; fs::exists(file)) assign(config, read_config(file.string()));
    return config;
}

// The data's categories become the model's, by name. Boxes of others could never be found: that is an error, not a
// zero.
void match_classes(Dataset& data, const std::vector<std::string>& classes) {
    std::vector<uint32_t> number;
    for (const std::string& name : data.classes) {
        const auto found = std::ranges::find(classes, name);
        if (found == classes.end())
            fail(Fault::usage, "eval: the data has a class '{}', the model knows {}", name, fmt::join(classes, ", "));
        number.push_back(uint32_t(found - classes.begin()));
    }
    for (Sample& sample : data.samples)
        for (TrueBox& box : sample.boxes) box.category = number[box.category];
    data.classes = classes;
}

}  // namespace

bool is_detector(const std::string& model) {
    if (const fs::path file = fs::path(model) / "config"; fs::exists(file)) {
        TrainConfig config;
        assign(config, read_config(file.string()));
        return config.task == "detect";
    }
    return read_weights(weight_file(model)).model.task == "detect";
}

int eval_detector(EvalOptions& o) {
    if (o.min_accuracy > 0)
        fail(Fault::usage, "--min-accuracy is for classifiers, and {} is a detector; it has --min-map50", o.model);
    TrainConfig config = config_of(o.model);
    config.threads = o.machine.threads;
    const bool of_run = !config.data.empty(),
               other_data = !o.data.empty() && !(of_run && fs::exists(config.data) && fs::exists(o.data) &&
                                                 fs::equivalent(config.data, o.data));
    if (!of_run && o.data.empty())
        fail(Fault::usage, "eval: {} does not say on which data; name DATA after it", o.model);
    Dataset data = other_data ? open_box_dataset(o.data, {.validation = 0, .test = 0, .threads = thread_count(config)})
                              : open_box_dataset(config.data, dataset_options(config));
    const std::vector<uint32_t> numbers = images_of_part(data, o.part);
    const YoloModel model = read_yolov5(weight_file(o.model));
    match_classes(data, model.classes);
    config.image_size = model.image_size;
    LoaderOptions loader = loader_options(config, false);
    loader.fit = frame_for(config, data, model.config.largest_stride());
    const auto device = open_device(o.machine.device, {.threads = int(o.machine.threads)});
    Detector detector(*device, model,
                      {.batch = std::clamp<size_t>(numbers.size(), 1, std::max<size_t>(1, o.machine.batch)),
                       .precision = device->default_precision()});
    Progress progress(o.quiet);
    const FoundBoxes found = find_boxes(detector, data, numbers, loader, nullptr, [&](size_t done) {
        return progress.count(done, numbers.size(), "pictures"), true;
    });
    progress.clear();
    if (found.images.empty()) fail(Fault::inputs, "eval: none of {} images could be read", numbers.size());
    if (found.overflown)
        fail(Fault::not_finite, "eval: numbers overflow within the network on {} of {} images", found.overflown,
             found.images.size());
    const BoxMetrics metrics = measure_boxes(found.images, data.classes.size());
    for (const std::string& text : data.notes)
        if (!o.quiet) note(progress, text);
    for (const FailedImage& file : found.bad_files)
        note(progress, fmt::format("{}: {} ({}){}", file.path, file.text, file.code,
                                   file.used ? ", used as far as it goes" : ""));
    if (!o.quiet) {
        say(progress, fmt::format("{}: {} {} images of {}, in frames of {} x {}", o.model,
                                  count_text(found.images.size()), o.part, data.root, loader.fit.w(), loader.fit.h()));
        print_box_metrics(metrics, data.classes);
    }
    if (!o.json.empty()) write_box_evaluation(o.json, data, {{o.part, &found}});
    if (o.min_map50 == 0 || metrics.map50 >= o.min_map50)
        return 0;  // without a true box there is no mAP50, and nothing is proved
    fail(Fault::runtime, "eval: the mAP50 {:.4f} is below --min-map50 {}", metrics.map50, o.min_map50);
}
