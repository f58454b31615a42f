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
#include "predict/quantize_search.h"
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

// The run folder that MODEL is or lies in, which knows what was trained on; else MODEL.
std::string run_of(const std::string& model) {
    const fs::path folder = fs::absolute(model).parent_path();
    return !fs::is_directory(model) && fs::exists(folder / "run.json") ? folder.string() : model;
}

constexpr size_t kImagesForErrors = 16;  // of those that set the ranges

class Subject : public QuantizedSubject {
public:
    virtual const LoaderOptions& loader() const = 0;
    // In float32 on these images, for check(); how many of them could be read, and which not.
    virtual std::pair<size_t, std::vector<FailedImage>> answer_in_float(const std::vector<uint32_t>& samples) = 0;
    virtual void write(const fs::path& out, const Int8Layers&, const std::string& report) = 0;
};

// What does not depend on the kind of network.
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
        from.model = run_of(o.model), from.data = labelled() ? o.labels : o.images, from.machine = machine;
        data = labelled() ? open_data(from, config, open) : images_without_labels(from);
        match_classes(data, classes);
        std::vector<uint32_t> numbers;
        for (uint32_t i = 0; i < data.samples.size(); ++i)
            if (!labelled() || o.images.empty() || lies_in(data.path(data.samples[i]), o.images)) numbers.push_back(i);
        const size_t needed = images_needed(fewest());
        if (numbers.size() < needed)
            fail(Fault::usage,
                 "quantize: {}{} has {} images; {} are needed, {} to set the ranges and {} to check the result",
                 from.data, labelled() && !o.images.empty() ? " in " + o.images : "", numbers.size(), needed,
                 split_of(needed).calibration.size(), split_of(needed).holdout.size());
        split = calibration_split(labelled() ? unseen(numbers, needed, same_place(config.data, o.labels)) : numbers);
    }

    void quantize(Subject& subject) {
        const Int8Layers all = measured(subject);
        const auto [checked, bad_files] = subject.answer_in_float(split.holdout);
        progress.clear();
        print_notes(progress, data, bad_files);
        say("{} images set the ranges, {} others check the result:", calibrated_, checked);
        const ChosenLayers result = chosen(subject, all);
        const Int8Layers& layers = result.layers;
        const Model model = subject.model();
        const std::vector<std::string> in_float = kept(model, layers);
        const double share = float32_share(model, layers);
        subject.write(out_file(), layers,
                      one_line(json{{"format", kInt8Format},
                                    {"tundra", this_build().version},
                                    {"original", as_utf8(original())},
                                    {"calibration_images", calibrated_},
                                    {"labelled", labelled()},
                                    {"float32", in_float},
                                    {"float32_share", share},
                                    {"checks", result.checks},
                                    {"check", json::parse(to_text(result.check))}}));
        say("{}: {} convolutions in int8, {} in float32 ({}), which are {:.1f} % of the arithmetic",
            out_file().string(), layers.convolutions.size(), in_float.size(), fmt::join(in_float, ", "), 100 * share);
    }

    std::function<bool(size_t)> counting(size_t total, const char* what) {
        return [this, total, what](size_t done) { return progress.count(done, total, what), true; };
    }
    bool labelled() const { return !o.labels.empty(); }
    fs::path out_file() const {
        if (!o.out.empty()) return o.out;
        const fs::path from = weight_file(o.model);
        return from.parent_path() / (from.stem().string() + ".int8.safetensors");
    }

    const Options& o;
    const MachineOptions machine;
    const std::unique_ptr<Device> device;
    Progress progress;
    Dataset data{};
    CalibrationSplit split{};

private:
    // All layers that can be quantized, with the ranges of float32 on the images that set them.
    Int8Layers measured(Subject& subject) {
        const size_t total = split.calibration.size(), step = std::max<size_t>(1, total / kImagesForErrors);
        RangeRecorder recorder;
        const auto network = subject.open({}, [&](const Step& one) { recorder.add(one); });
        size_t seen = 0;
        print_notes(progress, {},
                    calibrate(
                        [&](std::span<const uint8_t> pixels) {
                            network(pixels);
                            if (seen++ % step == 0 && images_for_errors_.size() < kImagesForErrors)
                                images_for_errors_.emplace_back(pixels.begin(), pixels.end());
                        },
                        recorder, data, split.calibration, subject.loader(), counting(total, "for the ranges")));
        if (!recorder.images())
            fail(Fault::inputs, "quantize: none of the {} images that were to set the ranges could be read", total);
        calibrated_ = recorder.images();
        return layers_to_quantize(subject.model(), recorder.ranges());
    }

    ChosenLayers chosen(Subject& subject, const Int8Layers& all) {
        const ChosenLayers chosen = choose_layers(
            subject, all, images_for_errors_, split.holdout, [&](const std::string& line) { say("{}", line); },
            counting(all.convolutions.size(), "layers, each alone in int8"));
        const PrecisionCheck& check = chosen.check;
        if (chosen.passed) return chosen;
        if (chosen.checks == 1 && check.images < check.fewest)
            fail(Fault::inputs, "quantize: only {} of {} images for the check could be read; {} are needed",
                 check.images, split.holdout.size(), check.fewest);
        if (chosen.checks == 1 && check.rows.empty())
            fail(Fault::usage,
                 "quantize: {} no object on the {} images for the check; name images with animals on them",
                 labelled() ? "the labels have" : "float32 finds", check.images);
        const size_t more = images_needed(2 * check.fewest);
        fail(Fault::runtime, "quantize: int8 does not pass its check on {} images{}, so {} was not written",
             split.holdout.size(),
             chosen.checks > 1 ? ", nor do more layers in float32 help"
             : check.images < 2 * check.fewest
                 ? fmt::format(" ({} or more let it try with more layers in float32)", more)
                 : "",
             out_file().string());
    }

    template <class... Parts>
    void say(fmt::format_string<Parts...> text, Parts&&... parts) {
        if (!o.quiet) print_line(progress, fmt::format(text, std::forward<Parts>(parts)...));
    }
    size_t fewest() const { return labelled() ? kFewestLabelled : kFewestUnlabelled; }
    std::string original() const {
        const fs::path from = weight_file(o.model).lexically_normal();
        return (fs::is_directory(o.model) ? from.parent_path().filename() / from.filename() : from.filename()).string();
    }
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
    static std::vector<std::string> kept(const Model& model, const Int8Layers& layers) {
        std::vector<std::string> names;
        for (const auto& [name, shape] : parameter_shapes(model, false))
            if (const std::string layer = name.substr(0, name.rfind('.'));
                shape.size() == 4 && !layers.convolutions.contains(layer))
                names.push_back(layer);
        return names;
    }

    std::vector<std::vector<uint8_t>> images_for_errors_{};  // some of those that set the ranges
    size_t calibrated_ = 0;
};

class QuantizedClassifier : public Subject {
public:
    QuantizedClassifier(Job& job, const WeightFile& file)
        : job_(job), file_(read_model(job.o.model, {.input = job.o.input})), arena_(*job.device) {
        check_numbers(file_.model, file_.state, file.path);
        file_.state = fold_batch_norm(std::move(file_.state), file_.model.folding);
        file_.model.folding.conv_bn.clear();
        for (const auto& [key, value] : file.metadata) file_.more[as_utf8(key)] = as_utf8(value);
        for (const char* key : {kBf16Check, "activation"})
            file_.more.erase(key);  // of the original; the latter is used
        file_.bf16_check.clear();
        job.open(config_of(run_of(job.o.model), {}), open_dataset, file_.classes);
        for (const std::string& text : file_.notes) print_note(job.progress, text);
        loader_ = {.fit = file_.input.fit, .threads = job.machine.thread_count(), .accept_damaged = true};
    }
    Model model() const override { return file_.model; }
    const LoaderOptions& loader() const override { return loader_; }
    std::function<void(std::span<const uint8_t>)> open(const Int8Layers& layers,
                                                       const std::function<void(const Step&)>& after_step) override {
        return
            [network = std::shared_ptr(classifier(with(layers), 1, after_step))](auto pixels) { network->run(pixels); };
    }
    std::pair<size_t, std::vector<FailedImage>> answer_in_float(const std::vector<uint32_t>& samples) override {
        fp32_ = answers(file_, samples);
        return {fp32_.rows.size(), fp32_.bad_files};
    }
    PrecisionCheck check(const Int8Layers& layers, const std::vector<uint32_t>& samples) override {
        Predictions fp32 = fp32_;
        std::erase_if(fp32.rows, [&](const Prediction& p) { return !std::ranges::binary_search(samples, p.sample); });
        const ModelFile quantized = with(layers);
        PrecisionCheck check = compare_classes(fp32, answers(quantized, samples), job_.labelled(), DType::i8);
        check.weights = fingerprint(quantized.state);
        return check;
    }
    void write(const fs::path& out, const Int8Layers& layers, const std::string& report) override {
        ModelFile file = with(layers);
        file.int8_report = report;
        write_model(out, file);
    }

private:
    ModelFile with(const Int8Layers& layers) const {
        ModelFile file = file_;
        if (layers.empty()) return file;
        file.model.int8 = layers;
        file.state = quantized(std::move(file.state), layers);
        return file;
    }
    std::unique_ptr<Classifier> classifier(const ModelFile& file, size_t batch,
                                           const std::function<void(const Step&)>& after_step = {}) {
        auto network =
            std::make_unique<Classifier>(*job_.device, arena_,
                                         ClassifierConfig{.model = file.model,
                                                          .batch = batch,
                                                          .size = file.input.fit.size,
                                                          .normalize = normalize_named(file.input.normalize),
                                                          .precision = file.model.int8.empty() ? DType::f32 : DType::i8,
                                                          .after_step = after_step});
        network->load(file.state, job_.o.model);
        return network;
    }
    Predictions answers(const ModelFile& file, const std::vector<uint32_t>& samples) {
        const auto network = classifier(file, job_.machine.classifier_batch(samples.size()));
        return predict(*network, job_.data, samples, loader_, nullptr,
                       job_.counting(samples.size(), file.model.int8.empty() ? "in float32" : "in int8"));
    }

    Job& job_;
    ModelFile file_;  // folded
    Arena arena_;
    LoaderOptions loader_{};
    Predictions fp32_{};
};

class QuantizedDetector : public Subject {
public:
    QuantizedDetector(Job& job, WeightFile file) : job_(job) {
        if (job.o.input != InputOptions{})
            fail(Fault::usage,
                 "--image-size, --fit, --resize, --filter, --normalize and --classes are for classifiers, and {} is a "
                 "detector",
                 job.o.model);
        std::map<std::string, std::string> metadata;
        if (file.layout == "safetensors") metadata = file.metadata;
        metadata.erase(kBf16Check);
        model_ = detector_model(std::move(file));
        TrainConfig config = config_of(run_of(job.o.model), recipe_named("default", "detect"));
        config.threads = job.o.threads;
        job.open(config, open_box_dataset, model_.classes);
        if (!model_.size_note.empty())
            print_note(job.progress, fmt::format("{}: {}", model_.file_name, model_.size_note));
        for (const std::string& text : model_.notes) print_note(job.progress, text);
        config.image_size = model_.image_size;
        loader_ = loader_options(config, false);
        loader_.fit = frame_for(config, job.data, model_.network().stride);
        model_.more = std::move(metadata);
        model_.bf16_check.clear();
    }
    Model model() const override { return model_.network(); }
    const LoaderOptions& loader() const override { return loader_; }
    std::function<void(std::span<const uint8_t>)> open(const Int8Layers& layers,
                                                       const std::function<void(const Step&)>& after_step) override {
        const DType precision = layers.empty() ? DType::f32 : DType::i8;
        auto network = std::make_shared<Detector>(*job_.device, with(layers),
                                                  DetectorOptions{.precision = precision, .after_step = after_step});
        return [network, h = loader_.fit.h(), w = loader_.fit.w()](auto pixels) { network->run(pixels, h, w); };
    }
    std::pair<size_t, std::vector<FailedImage>> answer_in_float(const std::vector<uint32_t>& samples) override {
        fp32_ = answers(model_, samples);
        return {fp32_.images.size(), fp32_.bad_files};
    }
    PrecisionCheck check(const Int8Layers& layers, const std::vector<uint32_t>& samples) override {
        FoundBoxes fp32;
        for (size_t i = 0; i < fp32_.images.size(); ++i)
            if (std::ranges::binary_search(samples, fp32_.samples[i])) fp32.images.push_back(fp32_.images[i]);
        const DetectorModel quantized = with(layers);
        PrecisionCheck check = compare_boxes(fp32, answers(quantized, samples), model_.classes.size(),
                                             model_.image_size, job_.labelled(), DType::i8);
        check.weights = fingerprint(quantized.state);
        return check;
    }
    void write(const fs::path& out, const Int8Layers& layers, const std::string& report) override {
        DetectorModel model = with(layers);
        model.int8_report = report;
        write_detector(out, model);
    }

private:
    DetectorModel with(const Int8Layers& layers) const {
        DetectorModel model = model_;
        if (layers.empty()) return model;
        model.int8 = layers;
        model.state = quantized(std::move(model.state), layers);
        return model;
    }
    FoundBoxes answers(const DetectorModel& model, const std::vector<uint32_t>& samples) {
        const bool int8 = !model.int8.empty();
        Detector detector(*job_.device, model, {.precision = int8 ? DType::i8 : DType::f32});
        FoundBoxes found = find_boxes(detector, job_.data, samples, loader_, nullptr,
                                      job_.counting(samples.size(), int8 ? "in int8" : "in float32"));
        if (found.overflown)
            fail(Fault::not_finite, "quantize: numbers overflow in the network on {} of {} images", found.overflown,
                 found.images.size());
        return found;
    }

    Job& job_;
    DetectorModel model_{};
    LoaderOptions loader_{};
    FoundBoxes fp32_{};
};

int run(const Options& o) {
    if (o.images.empty() && o.labels.empty())
        fail(Fault::usage, "quantize: name images of yours with --images, or with --labels if they have labels");
    Job job(o);
    check_output("--out", job.out_file(), {weight_file(o.model), o.images, o.labels});
    WeightFile file = read_weights(weight_file(o.model));
    if (!file.int8.empty()) fail(Fault::usage, "{}: is quantized already; quantize its original", file.path);
    std::unique_ptr<Subject> subject;
    if (file.model.task == "detect")
        subject = std::make_unique<QuantizedDetector>(job, std::move(file));
    else
        subject = std::make_unique<QuantizedClassifier>(job, file);
    job.quantize(*subject);
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
