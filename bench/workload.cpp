#include "bench/workload.h"

#include "models/files/weights.h"
#include "models/int8.h"
#include "models/yolov5_start.h"
#include "predict/classifier.h"
#include "predict/detector.h"
#include "predict/quantize.h"
#include "train/trainer.h"

namespace {

constexpr Normalize kImageNet{{1 / (255 * 0.229f), 1 / (255 * 0.224f), 1 / (255 * 0.225f)},
                              {-0.485f / 0.229f, -0.456f / 0.224f, -0.406f / 0.225f}};

std::vector<float> repeated(std::initializer_list<float> row, size_t n) {
    std::vector<float> result;
    for (size_t i = 0; i < n; ++i) result.insert(result.end(), row);
    return result;
}

StateDict classifier_state(const WorkloadOptions& o, const Model& model) {
    return o.weights.empty() ? initialize_state(model, 1) : read_weights(o.weights).state;
}

// The layers of a network in int8, by what it gives in float32 when `run` is called with a function for its steps.
Int8Layers measured_layers(const Model& model,
                           const std::function<void(const std::function<void(const Step&)>&)>& run) {
    RangeRecorder recorder;
    run([&](const Step& step) { recorder.add(step); });
    recorder.end_image(true);
    return layers_to_quantize(model, recorder.ranges());
}

class ClassifierStep final : public Workload {
public:
    ClassifierStep(Device& device, const WorkloadOptions& o) : device_(device), arena_(device) {
        ClassifierConfig config{.model = make_model(o.model, 1000),
                                .batch = o.batch,
                                .size = o.h,
                                .normalize = kImageNet,
                                .precision = o.precision};
        StateDict state = classifier_state(o, config.model);
        images_ = bench_images(o.batch, o.h, o.w);
        if (o.precision == DType::i8) {
            config.model.int8 = measured_layers(config.model, [&](const auto& after_step) {
                ClassifierConfig fp32 = config;
                fp32.precision = DType::f32, fp32.after_step = after_step;
                Classifier classifier(device, arena_, fp32);
                classifier.load(state, "bench");
                classifier.run(images_);
            });
            state = quantized(fold_batch_norm(std::move(state), config.model.folding), config.model.int8);
            config.model.folding.conv_bn.clear();
        }
        classifier_ = std::make_unique<Classifier>(device, arena_, config);
        classifier_->load(state, "bench");
    }
    void run() override { classifier_->run(images_); }
    Program& program() override { return classifier_->program(); }
    std::vector<float> result() override { return classifier_->run(images_); }
    size_t planned_bytes() const override { return device_.allocated(); }
    size_t arena_bytes() const override { return arena_.bytes(); }

private:
    Device& device_;
    Arena arena_;
    std::vector<uint8_t> images_{};
    std::unique_ptr<Classifier> classifier_{};
};

// A training step of either kind; `scale` times the loss of the log is what it minimises.
class TrainingStep final : public Workload {
public:
    TrainingStep(Device& device, const TrainerConfig& config, const StateDict& state, Batch batch, double scale)
        : arena_(device),
          batch_(std::move(batch)),
          scale_(scale),
          trainer_(device, arena_, config, state),
          together_(config.steps_per_graph) {}
    void run() override {
        for (size_t i = 0; i < together_; ++i) step();
        trainer_.arrived();  // one start late: a GPU goes on meanwhile
    }
    Program& program() override { return trainer_.program(); }
    std::vector<float> result() override {
        std::vector<float> losses;
        for (int i = 0; i < 3; ++i) step(), losses.push_back(float(scale_ * trainer_.stats().loss));
        return losses;
    }
    size_t planned_bytes() const override { return trainer_.memory_bytes(); }
    size_t arena_bytes() const override { return arena_.bytes(); }

private:
    void step() { trainer_.step(batch_, 0.01, 0.9, ++steps_); }

    Arena arena_;
    Batch batch_;
    double scale_;
    Trainer trainer_;
    size_t together_, steps_ = 0;
};

float loss_scale_of(const WorkloadOptions& o) { return o.precision == DType::f16 ? 1024.0f : 1.0f; }

Batch batch_of(const WorkloadOptions& o) {
    Batch batch;
    const std::vector<uint8_t> images = bench_images(o.batch, o.h, o.w);
    batch.images.assign(images.begin(), images.end());
    batch.transform = repeated({1, 0, 0, 0, 1, 0}, o.batch);
    batch.color = repeated({1, 0}, o.batch);
    return batch;
}

std::unique_ptr<Workload> classifier_training(Device& device, const WorkloadOptions& o) {
    Model model = make_model(o.model, 1000);
    const StateDict state = classifier_state(o, model);
    const TrainerConfig config{.model = model,
                               .batch = o.batch,
                               .height = o.h,
                               .width = o.w,
                               .normalize = kImageNet,
                               .loss = classification_loss(),
                               .optimizer = {.decay_vectors = true, .loss_scale = loss_scale_of(o)},
                               .precision = o.precision,
                               .join_gradients = o.join_gradients,
                               .steps_per_graph = o.steps_per_graph};
    Batch batch = batch_of(o);
    for (size_t i = 0; i < o.batch; ++i) batch.labels.push_back(int32_t(i % 1000));
    return std::make_unique<TrainingStep>(device, config, state, std::move(batch), 1);
}

// Three classes: every loss, and the average of the weights; four boxes in each image.
std::unique_ptr<Workload> detector_training(Device& device, const WorkloadOptions& o) {
    constexpr size_t kMaxBoxes = 100;
    constexpr float kUnit = 1 / 255.0f;
    const YoloConfig yolo = yolov5_config(o.model, 3);
    const Model model = make_model(yolo);
    const TrainerConfig config{.model = model,
                               .batch = o.batch,
                               .height = o.h,
                               .width = o.w,
                               .normalize = {{kUnit, kUnit, kUnit}, {0, 0, 0}},
                               .loss = detection_loss(model, {.height = o.h, .width = o.w, .max_boxes = kMaxBoxes}),
                               .optimizer = {.loss_scale = loss_scale_of(o), .ema_decay = 0.9999f},
                               .precision = o.precision};
    Batch batch = batch_of(o);
    batch.boxes.assign(o.batch * kMaxBoxes * 5, -1.0f);
    for (size_t i = 0; i < o.batch; ++i)
        for (size_t k = 0; k < 4; ++k) {
            const float side = float(std::min(o.h, o.w)), size = side * 0.08f * float(k + 1);
            const float at = side * (0.2f + 0.15f * float(k) + 0.003f * float(i % 32));
            std::ranges::copy(std::array{float(k % 3), at, at, size, 0.8f * size},
                              &batch.boxes[(i * kMaxBoxes + k) * 5]);
        }
    return std::make_unique<TrainingStep>(device, config, initialize_yolov5(yolo, 1), std::move(batch),
                                          double(o.batch));
}

DetectorModel yolo_model(Device& device, const WorkloadOptions& o) {
    DetectorModel model = o.weights.empty() ? random_detector(device, o.model) : read_detector(o.weights);
    if (o.precision == DType::i8) {
        model.int8 = measured_layers(model.network(), [&](const auto& after_step) {
            Detector(device, model, {.after_step = after_step}).run(bench_images(1, o.h, o.w), o.h, o.w);
        });
        model.state = quantized(std::move(model.state), model.int8);
    }
    return model;
}

class DetectorStep final : public Workload {
public:
    DetectorStep(Device& device, const WorkloadOptions& o) : DetectorStep(device, o, yolo_model(device, o)) {}
    void run() override { detector_.run(images_, o_.h, o_.w); }
    Program& program() override { return detector_.program(o_.h, o_.w); }
    size_t planned_bytes() const override { return device_.allocated(); }
    size_t arena_bytes() const override { return detector_.arena_bytes(); }

    // The same network once more, up to what select_boxes() gets.
    std::vector<float> result() override {
        const DetectorModel model = yolo_model(device_, o_);
        auto graph = std::make_unique<Graph>(traced_type(o_.precision));
        const Value images = graph->input("images", {o_.batch, o_.h, o_.w, 3}, DType::u8);
        const Value transform = graph->input("transform", {o_.batch, 6}, DType::f32),
                    color = graph->input("color", {o_.batch, 2}, DType::f32);
        constexpr float unit = 1 / 255.0f;
        const Value x = image_batch(images, transform, color,
                                    {.out_h = o_.h, .out_w = o_.w, .normalize = {{unit, unit, unit}, {0, 0, 0}}});
        const Model network = model.network();
        const std::vector<Value> heads = network.trace(x);
        const Values first = std::span(heads).first(network.levels.size()),
                     last = std::span(heads).subspan(first.size());
        const Value boxes = network.anchors ? decode_boxes(heads, network.levels, network.classes)
                                            : decode_distances(first, last, network.levels, 0);
        if (o_.precision == DType::i8) use_int8(*graph, network.int8);
        Parameters parameters(device_, *graph);
        upload(model.state, parameters, "bench");
        Arena arena(device_);
        Program program(arena, std::move(graph), parameters, std::array{boxes});
        program.write<uint8_t>(images, images_);
        program.write<float>(transform, repeated({1, 0, 0, 0, 1, 0}, o_.batch));
        program.write<float>(color, repeated({1, 0}, o_.batch));
        program.run();
        return program.read<float>(boxes);
    }

private:
    DetectorStep(Device& device, const WorkloadOptions& o, const DetectorModel& model)
        : device_(device),
          o_(o),
          images_(bench_images(o.batch, o.h, o.w)),
          detector_(device, model, {.batch = o.batch, .threshold = 0.2f, .precision = o.precision}) {}

    Device& device_;
    WorkloadOptions o_;
    std::vector<uint8_t> images_;
    Detector detector_;
};

}  // namespace

std::vector<uint8_t> bench_images(size_t count, size_t h, size_t w) {
    std::vector<uint8_t> bytes(count * h * w * 3);
    for (size_t n = 0, i = 0; n < count; ++n)
        for (size_t y = 0; y < h; ++y)
            for (size_t x = 0; x < w; ++x)
                for (size_t c = 0; c < 3; ++c, ++i)
                    bytes[i] = uint8_t((i * 2654435761u >> 24) % 64 +
                                       (37 * n + 91 * c + 3 * (y / 8) * (n % 7 + 1) + 5 * (x / 8) * (n % 5 + 1)) % 192);
    return bytes;
}

std::unique_ptr<Workload> open_workload(Device& device, const WorkloadOptions& o) {
    if (o.training && o.precision == DType::i8) fail(Fault::usage, "--precision int8: only with --inference");
    if (o.model.starts_with("yolo")) {
        if (o.training) {
            if (!o.model.starts_with("yolov5")) fail(Fault::usage, "--model {}: only YOLOv5 is trained here", o.model);
            if (!o.weights.empty())
                fail(Fault::usage, "--weights: a training step of {} starts from random weights", o.model);
            return detector_training(device, o);
        }
        return std::make_unique<DetectorStep>(device, o);
    }
    if (o.h != o.w) fail(Fault::usage, "{} takes square images, not {}x{}", o.model, o.h, o.w);
    if (o.training) return classifier_training(device, o);
    return std::make_unique<ClassifierStep>(device, o);
}

void parse_pixels(const std::string& text, WorkloadOptions& o) {
    char end = 0;
    if (std::sscanf(text.c_str(), "%zux%zu%c", &o.h, &o.w, &end) == 2) return;
    if (std::sscanf(text.c_str(), "%zu%c", &o.h, &end) != 1)
        fail(Fault::usage, "--size {}: must be a number or HEIGHTxWIDTH", text);
    o.w = o.h;
}

DType parse_precision(const std::string& name) {
    if (name == "fp32") return DType::f32;
    if (name == "bf16") return DType::bf16;
    if (name == "fp16") return DType::f16;
    if (name == "int8") return DType::i8;
    fail(Fault::usage, "--precision {}: must be fp32, bf16, fp16 or int8", name);
}
