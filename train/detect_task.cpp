// The task `detect`: a YOLOv5, its loss, average precision.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/box_dataset.h"
#include "models/yolov5_start.h"
#include "predict/model_file.h"
#include "predict/precision_check.h"
#include "train/ranks.h"
#include "train/setup.h"
#include "train/task.h"

namespace {

constexpr size_t kMaxBoxes = 300;  // of one composed image

class DetectTask final : public Task {
public:
    DetectTask(const TrainConfig& config, Ranks& ranks)
        : Task(config, ranks,
               {.parts = kDetectionParts,
                .train = {"loss", "box", "objectness", "class"},
                .evaluation = {"map50", "map"},
                .objective = "validation mAP"}) {}

    Dataset open_data(bool links) override { return open_box_dataset(config_.data, dataset_options(config_, links)); }

    void build(const TaskContext& context, const Dataset& data, const Note& note) override {
        data_ = &data, device_ = &context.device, arena_ = &context.arena;
        model_ = initial_detector(config_, data.classes, note);
        fit_ = frame_for(config_, data, model_.config.largest_stride());
        model_.image_size = std::max(fit_.h(), fit_.w()), model_.size_note.clear();
        max_boxes_ = rows_for_boxes(note);
        const Model network = make_model(model_.config);
        trainer_ = std::make_unique<Trainer>(
            context.device, context.arena,
            TrainerConfig{
                .model = network,
                .batch = batch(),
                .height = fit_.h(),
                .width = fit_.w(),
                .normalize = normalize_named("unit"),
                .loss = detection_loss(network, {.height = fit_.h(), .width = fit_.w(), .max_boxes = max_boxes_}),
                .optimizer = optimizer_config(config_, context.precision),
                .trained = layers_from(config_.freeze ? 2 * model_.config.channels.size() : 0),
                .precision = context.precision,
                .eager = context.eager,
                .steps_per_graph = context.steps_per_graph,
                .ranks = ranks_.count > 1 ? &ranks_ : nullptr,
                .sync_batch_norm = config_.sync_batch_norm},
            model_.state);
        detector_ = std::make_unique<Detector>(context.device, folded(model_),
                                               DetectorOptions{.batch = batch(), .precision = kDetectorPrecision},
                                               &context.arena);
        detector_->program(fit_.h(), fit_.w());  // now, so that too little memory is known before the first step
    }

    LoaderOptions loader(bool training) const override {
        LoaderOptions o = loader_options(config_, training);
        o.fit = fit_, o.batch = batch();
        if (training) o.share = ranks_.rank, o.shares = ranks_.count;
        if (training) o.boxes = {.augment = box_augment(config_), .max_boxes = max_boxes_};
        return o;
    }

    std::vector<double> train_metrics(const StepStats& epoch) const override {
        std::vector<double> metrics = {epoch.mean(epoch.loss)};
        for (const std::string& name : names.parts) metrics.push_back(epoch.mean(epoch.part(name)));
        return metrics;
    }

    void load_result(const StateDict& result) override {
        detector_->load(folded(with(result)).state, "the network in training");
    }

    Evaluated evaluate(Part part, Cache* cache, const std::function<bool()>& keep_going) override {
        FoundBoxes& found = found_[part];
        found = find_boxes(*detector_, *data_, share_of(data_->part(part)), loader(false), cache,
                           [&](size_t) { return keep_going(); });
        if (ranks_.count > 1) found = of_all_ranks(found);
        const BoxMetrics m = measure_boxes(found.images, data_->classes.size());
        std::string note;  // the run continues, because the weights may recover
        if (found.overflown)
            note = fmt::format(
                "{}: numbers overflow in the network on {} of {} images, which count as empty; lower "
                "--lr, or --precision fp32",
                part_name(part), found.overflown, found.images.size());
        // The objective weighs the two as YOLOv5 does.
        return {.complete = keep_going(),
                .metrics = {m.map50, m.map},
                .objective = 1 - (0.1 * m.map50 + 0.9 * m.map),
                .bad_files = found.bad_files,
                .note = note};
    }

    Evaluated check_bf16(const StateDict& result, Cache* cache, const std::function<bool()>& keep_going) override {
        const FoundBoxes& own = found_.at(Part::validation);
        if (device_->kind() != "cpu" || own.images.size() < kFewestLabelled) return nothing_checked();
        DetectorOptions options = detector_->options();
        options.precision = DType::bf16;
        const DetectorModel model = folded(with(result));
        Detector detector(*device_, model, options, arena_);
        FoundBoxes others = find_boxes(detector, *data_, share_of(data_->part(Part::validation)), loader(false), cache,
                                       [&](size_t) { return keep_going(); });
        if (ranks_.count > 1) others = of_all_ranks(others);
        if (!on_all_ranks(ranks_, keep_going())) return {.complete = false};
        return checked(compare_boxes(own, others, data_->classes.size(), std::max(fit_.h(), fit_.w()), true),
                       fingerprint(model.state));
    }

    void write_model(const std::filesystem::path& path, StateDict result, uint64_t) const override {
        DetectorModel model = with(std::move(result));
        const BoxMetrics m = measure_boxes(found_.at(Part::validation).images, data_->classes.size());
        if (!std::isnan(m.map50))
            model.typical_threshold = m.best().threshold, model.conservative_threshold = m.best().threshold / 2;
        model.bf16_check = bf16_check_;
        write_detector(path, model);
    }

    void write_evaluation(const std::filesystem::path& path) const override {
        std::vector<std::pair<std::string, const FoundBoxes*>> parts;
        for (const auto& [part, found] : found_) parts.emplace_back(part_name(part), &found);
        write_box_evaluation(path, *data_, parts);
    }

private:
    // In the order of the data set. A box travels as numbers, behind those of its image.
    FoundBoxes of_all_ranks(const FoundBoxes& own) const {
        static_assert(std::is_trivially_copyable_v<FoundBox>);
        struct Row {
            uint32_t sample;
            uint8_t is_box;
            FoundBox box;
        };
        std::vector<Row> rows;
        for (size_t i = 0; i < own.images.size(); ++i) {
            rows.push_back({own.samples[i], false, {}});
            for (const FoundBox& box : own.images[i].found) rows.push_back({own.samples[i], true, box});
        }
        std::map<uint32_t, ImageBoxes> images;
        for (const std::vector<Row>& of_rank : gather(ranks_, std::span<const Row>(rows)))
            for (const Row& row : of_rank) {
                const Sample& sample = data_->samples[row.sample];
                ImageBoxes& image = images[row.sample];
                if (row.is_box)
                    image.found.push_back(row.box);
                else
                    image = {.truth = sample.boxes, .found = {}, .h = sample.h, .w = sample.w};
            }
        double overflown = double(own.overflown);
        ranks_.sum({&overflown, 1});
        FoundBoxes all{.samples = {},
                       .images = {},
                       .bad_files = ::of_all_ranks(ranks_, own.bad_files),
                       .overflown = size_t(overflown)};
        for (auto& [sample, image] : images) all.samples.push_back(sample), all.images.push_back(std::move(image));
        return all;
    }

    DetectorModel with(StateDict state) const {
        DetectorModel model = model_;
        model.state = std::move(state);
        return model;
    }

    // The most boxes that a composed image can have.
    size_t rows_for_boxes(const Note& note) const {
        std::vector<size_t> counts;
        for (const Sample& sample : data_->samples)
            if (sample.part == Part::train) counts.push_back(sample.boxes.size());
        std::ranges::sort(counts, std::greater());
        counts.resize(std::min<size_t>(counts.size(), config_.augment == "mosaic" ? 4 : 1));
        const size_t boxes = std::max<size_t>(1, std::accumulate(counts.begin(), counts.end(), size_t(0)));
        if (boxes > kMaxBoxes)
            note(fmt::format("a training image may show up to {} boxes; only the first {} count", boxes, kMaxBoxes));
        return std::min(boxes, kMaxBoxes);
    }

    const Dataset* data_ = nullptr;
    Device* device_ = nullptr;
    Arena* arena_ = nullptr;
    DetectorModel model_;  // its state is where training started
    Fit fit_;
    size_t max_boxes_ = 0;
    std::unique_ptr<Detector> detector_;
    std::map<Part, FoundBoxes> found_;
};

}  // namespace

std::unique_ptr<Task> make_detect_task(const TrainConfig& config, Ranks& ranks) {
    return std::make_unique<DetectTask>(config, ranks);
}
