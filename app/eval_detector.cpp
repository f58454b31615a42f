// `tundra eval` for detectors: average precision, and precision and recall at thresholds of confidence.
#include <fmt/format.h>

#include <algorithm>

#include "app/eval.h"
#include "app/jobs/model.h"
#include "app/tables.h"
#include "base/error.h"
#include "data/box_dataset.h"
#include "predict/detect_evaluation.h"
#include "predict/model_file.h"
#include "train/setup.h"

int eval_detector(EvalOptions& o) {
    if (o.min_accuracy > 0)
        fail(Fault::usage, "--min-accuracy is for classifiers, and {} is a detector; use --min-map50", o.model);
    if (o.input != InputOptions{})
        fail(Fault::usage,
             "--image-size, --fit, --resize, --filter, --normalize and --classes are for classifiers, and {} "
             "is a detector",
             o.model);
    TrainConfig config = config_of(o.model, recipe_named("default", "detect"));
    config.threads = o.machine.threads;
    Dataset data = o.unlabelled ? images_without_labels(o) : open_data(o, config, open_box_dataset);
    const std::vector<uint32_t> numbers = images_of_part(data, o.part);
    DetectorModel model = read_detector(weight_file(o.model));
    if (!model.size_note.empty()) model.notes.push_back(model.size_note);
    match_classes(data, model.classes);
    config.image_size = model.image_size;
    LoaderOptions loader = loader_options(config, false);
    loader.fit = frame_for(config, data, model.network().stride);
    const auto device = o.machine.open();
    Progress progress(o.machine.quiet);
    for (const std::string& text : model.notes) print_note(progress, fmt::format("{}: {}", model.file_name, text));
    const auto boxes_in = [&](DType precision) {
        Detector detector(*device, model,
                          {.batch = std::clamp<size_t>(numbers.size(), 1, o.machine.detector_batch(*device)),
                           .precision = precision});
        FoundBoxes found = find_boxes(detector, data, numbers, loader, nullptr, [&](size_t done) {
            return progress.count(done, numbers.size(), "images"), true;
        });
        progress.clear();
        return found;
    };
    if (o.check_bf16) {
        refuse_check_of(model.int8_report, o.model);
        const FoundBoxes fp32 = boxes_in(DType::f32), bf16 = boxes_in(DType::bf16);
        PrecisionCheck check = compare_boxes(fp32, bf16, data.classes.size(), model.image_size, !o.unlabelled);
        check.weights = fingerprint(model.state);
        return end_check(o, progress, check);
    }
    const PrecisionChoice precision = detector_precision(o.machine, *device, model);
    if (!precision.why.empty()) print_note(progress, "precision: " + to_text(precision));
    const FoundBoxes found = boxes_in(precision.type);
    if (found.images.empty()) fail(Fault::inputs, "eval: none of {} images could be read", numbers.size());
    if (found.overflown)
        fail(Fault::not_finite, "eval: numbers overflow in the network on {} of {} images", found.overflown,
             found.images.size());
    const BoxMetrics metrics = measure_boxes(found.images, data.classes.size());
    print_notes(progress, data, found.bad_files);
    if (!o.machine.quiet) {
        print_line(progress,
                   fmt::format("{}: {} images ({}) of {}, as {} x {} pixels", o.model, count_text(found.images.size()),
                               o.part, data.root, loader.fit.w(), loader.fit.h()));
        print_box_metrics(metrics, data.classes);
    }
    if (!o.out.empty()) write_box_evaluation(o.out, data, {{o.part, &found}});
    if (o.min_map50 == 0 || metrics.map50 >= o.min_map50) return 0;  // without true boxes mAP50 is undefined
    fail(Fault::runtime, "eval: the mAP50 {:.4f} is below --min-map50 {}", metrics.map50, o.min_map50);
}
