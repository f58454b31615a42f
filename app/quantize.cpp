// `tundra quantize`: a classifier or a detector in int8, checked against float32 before it is written.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/eval.h"
#include "app/jobs/model.h"
#include "base/json.h"
#include "data/box_dataset.h"
#include "models/int8.h"
#include "predict/quantize.h"
#include "train/machine.h"
#include "train/setup.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Options {
    std::string model, images, labels, out;
    InputOptions input;
    size_t threads = 0;
    bool quiet = false;
};

// What both kinds of networks need.
class Job {
public:
    explicit Job(const Options& o)
        : o(o),
          machine{.device = "cpu", .threads = o.threads, .quiet = o.quiet},
          device(machine.open()),
          progress(o.quiet) {}

    void open(const TrainConfig& config, Dataset (*open)(const std::string&, const DatasetOptions&),
              const std::vector<std::string>& classes) {
        if (labelled() && !o.images.empty() && !fs::is_directory(o.images))
            fail(Fault::usage, "--images {}: beside --labels it must be a folder", o.images);
        EvalOptions from;
        from.model = o.model, from.data = labelled() ? o.labels : o.images, from.machine = machine;
        data = labelled() ? open_data(from, config, open) : images_without_labels(from);
        match_classes(data, classes);
        std::vector<uint32_t> numbers;
        for (uint32_t i = 0; i < data.samples.size(); ++i)
            if (!labelled() || o.images.empty() || lies_in(data.path(data.samples[i]), o.images)) numbers.push_back(i);
        const size_t needed = images_needed(labelled() ? kFewestLabelled : kFewestUnlabelled);
        if (numbers.size() < needed)
            fail(Fault::usage,
                 "quantize: {}{} has {} images; {} are needed, {} to set the ranges and {} to check the result",
                 from.data, labelled() && !o.images.empty() ? " in " + o.images : "", numbers.size(), needed,
                 split_of(needed).calibration.size(), split_of(needed).holdout.size());
        split = calibration_split(labelled() ? unseen(numbers, needed, same_place(config.data, o.labels)) : numbers);
    }

    // What `network` (float32, with `recorder` after its steps) gives on the images that set the ranges.
    std::map<std::string, Range> ranges(const std::function<void(std::span<const uint8_t>)>& network,
                                        RangeRecorder& recorder, const LoaderOptions& loader) {
        const size_t total = split.calibration.size();
        print_notes(progress, {},
                    calibrate(network, recorder, data, split.calibration, loader, counting(total, "for the ranges")));
        if (!recorder.images())
            fail(Fault::inputs, "quantize: none of the {} images that were to set the ranges could be read", total);
        return recorder.ranges();
    }

    std::function<bool(size_t)> counting(size_t total, const char* what) {
        return [this, total, what](size_t done) { return progress.count(done, total, what), true; };
    }

    // Prints the check; the report for the file. Errors if it may not be written.
    std::string report(const PrecisionCheck& check, const Model& model, size_t calibrated) {
        if (!o.quiet) {
            print_line(progress,
                       fmt::format("{} images set the ranges, {} others check the result:", calibrated, check.images));
            for (const std::string& line : check.lines()) print_line(progress, line);
        }
        if (check.images < check.fewest)
            fail(Fault::inputs, "quantize: only {} of {} images for the check could be read; {} are needed",
                 check.images, split.holdout.size(), check.fewest);
        if (check.rows.empty())
            fail(Fault::usage,
                 "quantize: {} no object on the {} images for the check; name images with animals on them",
                 labelled() ? "the labels have" : "float32 finds", check.images);
        if (!check.passed())
            fail(Fault::runtime, "quantize: int8 does not pass its check on {} images, so {} was not written",
                 check.images, out_file().string());
        json about = {{"format", kInt8Format},
                      {"tundra", this_build().version},
                      {"original", as_utf8(original())},
                      {"calibration_images", calibrated},
                      {"labelled", labelled()},
                      {"float32", kept(model)},
                      {"check", json::parse(to_text(check))}};
        return one_line(about);
    }

    void written(const Model& model) {
        const std::vector<std::string> in_float = kept(model);
        if (!o.quiet)
            print_line(progress,
                       fmt::format("{}: {} convolutions in int8, {} in float32 ({})", out_file().string(),
                                   model.int8.convolutions.size(), in_float.size(), fmt::join(in_float, ", ")));
    }

    bool labelled() const { return !o.labels.empty(); }
    fs::path out_file() const {
        if (!o.out.empty()) return o.out;
        const fs::path from = weight_file(o.model);
        return from.parent_path() / (from.stem().string() + ".int8.safetensors");
    }
    std::string original() const {
        const fs::path from = weight_file(o.model).lexically_normal();
        return (fs::is_directory(o.model) ? from.parent_path().filename() / from.filename() : from.filename()).string();
    }

    const Options& o;
    const MachineOptions machine;
    const std::unique_ptr<Device> device;
    Progress progress;
    Dataset data{};
    CalibrationSplit split{};

private:
    static CalibrationSplit split_of(size_t n) { return calibration_split(std::vector<uint32_t>(n)); }
    static bool lies_in(const fs::path& file, const fs::path& folder) {
        const fs::path at = fs::weakly_canonical(fs::absolute(file).parent_path());  // the file may be a link
        const fs::path from = at.lexically_relative(fs::weakly_canonical(folder));
        return !from.empty() && *from.begin() != "..";
    }
    static bool same_place(const fs::path& a, const fs::path& b) {
        return fs::exists(a) && fs::exists(b) && fs::equivalent(a, b);
    }
    // Those of the test and validation parts if they suffice. `trained`: the model has seen the training part even
    // where there is no other.
    std::vector<uint32_t> unseen(const std::vector<uint32_t>& numbers, size_t needed, bool trained) {
        std::vector<uint32_t> others;
        for (const uint32_t i : numbers)
            if (data.samples[i].part != Part::train) others.push_back(i);
        if (others.size() >= needed) return others;
        if (const size_t seen = numbers.size() - others.size(); seen && (trained || !others.empty()))
            data.notes.push_back(
                fmt::format("{} of the {} images are images of the training: on them int8 loses less than on others; "
                            "better name images the model has not seen",
                            seen, numbers.size()));
        return numbers;
    }
    // The convolutions left in float32.
    static std::vector<std::string> kept(const Model& model) {
        std::vector<std::string> names;
        for (const auto& [name, shape] : parameter_shapes(model, false))
            if (const std::string layer = name.substr(0, name.rfind('.'));
                shape.size() == 4 && !model.int8.convolutions.contains(layer))
                names.push_back(layer);
        return names;
    }
};

void quantize_classifier(Job& job, const WeightFile& file) {
    ModelFile m = read_model(job.o.model, {.input = job.o.input});
    check_numbers(m.model, m.state, file.path);
    job.open(config_of(job.o.model, {}), open_dataset, m.classes);
    for (const std::string& text : m.notes) print_note(job.progress, text);
    const LoaderOptions loader{.fit = m.input.fit, .threads = job.machine.thread_count(), .accept_damaged = true};
    Arena arena(*job.device);
    const auto classifier = [&](DType precision, size_t batch, const std::function<void(const Step&)>& after_step) {
        auto made = std::make_unique<Classifier>(*job.device, arena,
                                                 ClassifierConfig{.model = m.model,
                                                                  .batch = batch,
                                                                  .size = m.input.fit.size,
                                                                  .normalize = normalize_named(m.input.normalize),
                                                                  .precision = precision,
                                                                  .after_step = after_step});
        made->load(m.state, file.path);
        return made;
    };
    const std::vector<uint32_t>& holdout = job.split.holdout;
    const auto answers = [&](DType precision) {
        const auto network = classifier(precision, job.machine.classifier_batch(holdout.size()), {});
        Predictions found = predict(*network, job.data, holdout, loader, nullptr,
                                    job.counting(holdout.size(), precision == DType::i8 ? "in int8" : "in float32"));
        job.progress.clear();
        return found;
    };
    RangeRecorder recorder;
    auto measured = classifier(DType::f32, 1, [&](const Step& step) { recorder.add(step); });
    const auto ranges = job.ranges([&](std::span<const uint8_t> pixels) { measured->run(pixels); }, recorder, loader);
    measured.reset();
    const Predictions fp32 = answers(DType::f32);
    m.model.int8 = layers_to_quantize(m.model, ranges);
    m.state = quantized(fold_batch_norm(std::move(m.state), m.model.folding), m.model.int8);
    m.model.folding.conv_bn.clear();
    const Predictions int8 = answers(DType::i8);
    print_notes(job.progress, job.data, fp32.bad_files);
    PrecisionCheck check = compare_classes(fp32, int8, job.labelled(), DType::i8);
    check.weights = fingerprint(m.state);
    m.int8_report = job.report(check, m.model, recorder.images());
    for (const auto& [key, value] : file.metadata) m.more[as_utf8(key)] = as_utf8(value);
    for (const char* key : {kBf16Check, "activation"}) m.more.erase(key);  // of the original; read_model() has used it
    m.bf16_check.clear();
    write_model(job.out_file(), m);
    job.written(m.model);
}

void quantize_detector(Job& job, WeightFile file) {
    if (job.o.input != InputOptions{})
        fail(Fault::usage,
             "--image-size, --fit, --resize, --filter, --normalize and --classes are for classifiers, and {} is a "
             "detector",
             job.o.model);
    std::map<std::string, std::string> metadata;
    if (file.layout == "safetensors") metadata = file.metadata;
    DetectorModel model = detector_model(std::move(file));
    TrainConfig config = config_of(job.o.model, recipe_named("default", "detect"));
    config.threads = job.o.threads;
    job.open(config, open_box_dataset, model.classes);
    if (!model.size_note.empty()) print_note(job.progress, fmt::format("{}: {}", model.file_name, model.size_note));
    for (const std::string& text : model.notes) print_note(job.progress, text);
    config.image_size = model.image_size;
    LoaderOptions loader = loader_options(config, false);
    loader.fit = frame_for(config, job.data, model.network().stride);
    const std::vector<uint32_t>& holdout = job.split.holdout;
    const auto answers = [&](DType precision) {
        Detector detector(*job.device, model, {.precision = precision});
        FoundBoxes found = find_boxes(detector, job.data, holdout, loader, nullptr,
                                      job.counting(holdout.size(), precision == DType::i8 ? "in int8" : "in float32"));
        job.progress.clear();
        if (found.overflown)
            fail(Fault::not_finite, "quantize: numbers overflow in the network on {} of {} images", found.overflown,
                 found.images.size());
        return found;
    };
    RangeRecorder recorder;
    const auto ranges = [&] {
        Detector measured(*job.device, model, {.after_step = [&](const Step& step) { recorder.add(step); }});
        return job.ranges(
            [&](std::span<const uint8_t> pixels) { measured.run(pixels, loader.fit.h(), loader.fit.w()); }, recorder,
            loader);
    }();
    const FoundBoxes fp32 = answers(DType::f32);
    model.int8 = layers_to_quantize(model.network(), ranges);
    model.state = quantized(std::move(model.state), model.int8);
    const FoundBoxes int8 = answers(DType::i8);
    print_notes(job.progress, job.data, fp32.bad_files);
    PrecisionCheck check = compare_boxes(fp32, int8, model.classes.size(), model.image_size, job.labelled(), DType::i8);
    check.weights = fingerprint(model.state);
    model.int8_report = job.report(check, model.network(), recorder.images());
    metadata.erase(kBf16Check);
    model.more = std::move(metadata);
    model.bf16_check.clear();
    write_detector(job.out_file(), model);
    job.written(model.network());
}

int run(const Options& o) {
    if (o.images.empty() && o.labels.empty())
        fail(Fault::usage, "quantize: name images of yours with --images, or with --labels if they have labels");
    Job job(o);
    check_output("--out", job.out_file(), {weight_file(o.model), o.images, o.labels});
    WeightFile file = read_weights(weight_file(o.model));
    if (!file.int8.empty()) fail(Fault::usage, "{}: is quantized already; quantize its original", file.path);
    file.model.task == "detect" ? quantize_detector(job, std::move(file)) : quantize_classifier(job, file);
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("MODEL", o->model, "a run folder or a weight file of a classifier or a detector")->required();
    app.add_option("--images", o->images, "images like those that the model will see: a folder, a pattern or a list")
        ->type_name("IMAGES");
    app.add_option("--labels", o->labels,
                   "labelled images, as `tundra eval` takes them, instead; with --images only those in that folder")
        ->type_name("DATA");
    app.add_option("-o,--out", o->out, "file to write [MODEL.int8.safetensors beside MODEL]")->type_name("FILE");
    add_input_options(app, o->input);
    add_threads_option(app, o->threads);
    add_quiet_option(app, o->quiet);
    return [o] { return run(*o); };
}

}  // namespace

Command quantize_command() {
    return {.name = "quantize",
            .summary = "Make a smaller and faster model for a CPU: int8, checked on your images.",
            .examples = {"tundra quantize runs/quality --labels more-shots       a classifier",
                         "tundra quantize md_v5a.0.0.pt --images cards/2025      a detector; at least 1,200 images",
                         "tundra quantize mine.pt --labels labels.json -o mine.int8.safetensors"},
            .add = add,
            .short_help = {"--images", "--labels", "--out"}};
}
