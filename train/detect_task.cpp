// The task `detect`: a YOLOv5, its losses, average precision.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/box_dataset.h"
#include "models/yolov5_start.h"
#include "predict/detect_evaluation.h"
#include "train/detect_trainer.h"
#include "train/setup.h"
#include "train/task.h"

namespace {

constexpr size_t kMostBoxes = 300;  // of one composed image

class DetectTask final : public Task {
public:
    explicit DetectTask(const TrainConfig& config)
        : Task(config, {.step = {"box", "objectness", "class"},
                        .train = {"loss", "box", "objectness", "class"},
                        .evaluation = {"map50", "map"},
                        .objective_name = "validation mAP"}) {}

    Dataset open_data() override { return open_box_dataset(config_.data, dataset_options(config_)); }

    void build(const TaskContext& place, const Dataset& data, const Note& note) override {
        data_ = &data;
        model_ = initial_detector(config_, data.classes, note);
        fit_ = frame_for(config_, data, model_.config.largest_stride());
        model_.image_size = std::max(fit_.h(), fit_.w());
        most_boxes_ = rows_for_boxes(note);
        trainer_ = std::make_unique<DetectTrainer>(
            place.device, place.arena,
            DetectTrainerConfig{.model = model_.config,
                                .batch = size_t(config_.batch),
                                .height = fit_.h(),
                                .width = fit_.w(),
                                .most_boxes = most_boxes_,
                                .optimizer = optimizer_config(config_, place.precision),
                                .frozen_layers = config_.freeze ? 2 * model_.config.channels.size() : 0,
                                .precision = place.precision,
                                .eager = place.eager},
            model_.state);
        detector_ = std::make_unique<Detector>(
            place.device, folded(model_), DetectorOptions{.batch = size_t(config_.batch), .precision = place.precision},
            &place.arena);
        detector_->program(fit_.h(),
                           fit_.w());  // now, so that memory which does not suffice is known before the first step
    }

    LoaderOptions loader(bool training) const override {
        LoaderOptions o = loader_options(config_, training);
        o.fit = fit_;
        if (training) o.boxes = {.augment = box_augment(config_), .max_boxes = most_boxes_};
        return o;
    }

    void step(const Batch& batch, double rate, double momentum, size_t step) override {
        trainer_->step({batch.images, batch.transform, batch.color, batch.boxes}, rate, momentum, step);
    }
    StepOutcome outcome() const override { return outcome_of(trainer_->figures()); }
    StepOutcome previous_outcome() const override { return outcome_of(trainer_->previous_figures().value()); }
    std::vector<double> train_figures(const EpochSums& sums) const override {
        std::vector<double> figures = {sums.mean(sums.loss)};
        for (size_t i = 0; i < names.step.size(); ++i)
            figures.push_back(sums.parts.empty() ? std::nan("") : sums.mean(sums.parts[i]));
        return figures;
    }

    StateDict state() const override { return trainer_->state(); }
    void load(const StateDict& state, const std::string& where) override { trainer_->load(state, where); }
    Optimizer& optimizer() override { return trainer_->optimizer(); }
    const Parameters& parameters() const override { return trainer_->parameters(); }
    Program& program() override { return trainer_->program(); }

    StateDict result() const override { return trainer_->averaged(); }
    void load_result(const StateDict& result) override {
        detector_->load(folded(with(result)).state, "the network in training");
    }

    Evaluated evaluate(Part part, Cache* cache, const std::function<bool()>& go_on) override {
        FoundBoxes& found = found_[part];
        found =
            find_boxes(*detector_, *data_, data_->part(part), loader(false), cache, [&](size_t) { return go_on(); });
        const BoxMetrics m = measure_boxes(found.images, data_->classes.size());
        std::string note;  // no reason to end a run, whose weights may come back
        if (found.overflown)
            note = fmt::format(
                "{}: numbers overflow within the network on {} of {} images, which count as without boxes; lower "
                "--lr, or --precision fp32",
                part_name(part), found.overflown, found.images.size());
        // YOLOv5's weights of the two.
        return {.whole = go_on(),
                .figures = {m.map50, m.map},
                .objective = 1 - (0.1 * m.map50 + 0.9 * m.map),
                .bad_files = found.bad_files,
                .note = note};
    }

    void write_model(const std::filesystem::path& path, StateDict result, uint64_t) const override {
        YoloModel model = with(std::move(result));
        const BoxMetrics m = measure_boxes(found_.at(Part::validation).images, data_->classes.size());
        if (!std::isnan(m.map50))
            model.typical_threshold = m.best().threshold, model.conservative_threshold = m.best().threshold / 2;
        write_yolov5(path, model);
    }

    void write_evaluation(const std::filesystem::path& path) const override {
        std::vector<std::pair<std::string, const FoundBoxes*>> parts;
        for (const auto& [part, found] : found_) parts.emplace_back(part_name(part), &found);
        write_box_evaluation(path, *data_, parts);
    }

private:
    static StepOutcome outcome_of(const DetectFigures& f) {
        return {
            double(f.box) + f.objectness + f.classes, {f.box, f.objectness, f.classes}, f.loss_scale, f.skipped_steps};
    }

    YoloModel with(StateDict state) const {
        YoloModel model = model_;
        model.state = std::move(state);
        return model;
    }

    // As many as the fullest images can bring together.
    size_t rows_for_boxes(const Note& note) const {
        std::vector<size_t> counts;
        for (const Sample& sample : data_->samples)
            if (sample.part == Part::train) counts.push_back(sample.boxes.size());
        std::ranges::sort(counts, std::greater());
        counts.resize(std::min<size_t>(counts.size(), config_.augment == "mosaic" ? 4 : 1));
        const size_t most = std::max<size_t>(1, std::accumulate(counts.begin(), counts.end(), size_t(0)));
        if (most > kMostBoxes)
            note(fmt::format("up to {} boxes may come together in a training image; the first {} count", most,
                             kMostBoxes));
        return std::min(most, kMostBoxes);
    }

    const Dataset* data_ = nullptr;
    YoloModel model_;  // its state is where training started
    Fit fit_;
    size_t most_boxes_ = 0;
    std::unique_ptr<DetectTrainer> trainer_;
    std::unique_ptr<Detector> detector_;
    std::map<Part, FoundBoxes> found_;
};

}  // namespace

std::unique_ptr<Task> make_detect_task(const TrainConfig& config) { return std::make_unique<DetectTask>(config); }
