// The task `classify`: a ResNet, cross entropy, accuracy.
#include <cmath>

#include "predict/evaluation.h"
#include "predict/model_file.h"
#include "train/machine.h"
#include "train/setup.h"
#include "train/task.h"

namespace {

class ClassifyTask final : public Task {
public:
    explicit ClassifyTask(const TrainConfig& config)
        : Task(config, {.step = {"correct"},
                        .train = {"loss", "accuracy"},
                        .evaluation = {"loss", "accuracy"},
                        .objective_name = "validation loss"}) {}

    Dataset open_data() override { return open_dataset(config_.data, dataset_options(config_)); }

    void build(const TaskContext& place, const Dataset& data, const Note& note) override {
        data_ = &data;
        how_ = trainer_config(config_, data, place.precision);
        how_.eager = place.eager;
        std::string about_init;
        const StateDict initial = initial_state(config_, how_.model, about_init);
        if (!about_init.empty()) note(about_init);
        trainer_ = std::make_unique<Trainer>(place.device, place.arena, how_, initial);
        classifier_ = std::make_unique<Classifier>(
            place.device, place.arena,
            ClassifierConfig{how_.model, how_.batch, how_.size, how_.normalize, place.precision, place.eager});
    }

    LoaderOptions loader(bool training) const override { return loader_options(config_, training); }

    void step(const Batch& batch, double rate, double momentum, size_t step) override {
        trainer_->step({batch.images, batch.transform, batch.color, batch.labels}, rate, momentum, step);
    }
    StepOutcome outcome() const override { return outcome_of(trainer_->figures()); }
    StepOutcome previous_outcome() const override { return outcome_of(trainer_->previous_figures().value()); }
    std::vector<double> train_figures(const EpochSums& sums) const override {
        const double correct = sums.parts.empty() ? 0 : sums.parts[0];
        return {sums.mean(sums.loss), sums.images ? correct / double(sums.images) : std::nan("")};
    }

    StateDict state() const override { return trainer_->state(); }
    void load(const StateDict& state, const std::string& where) override { trainer_->load(state, where); }
    Optimizer& optimizer() override { return trainer_->optimizer(); }
    const Parameters& parameters() const override { return trainer_->parameters(); }
    Program& program() override { return trainer_->program(); }

    StateDict result() const override { return trainer_->state(); }
    void load_result(const StateDict& result) override { classifier_->load(result, "the network in training"); }

    Evaluated evaluate(Part part, Cache* cache, const std::function<bool()>& go_on) override {
        Predictions& p = found_[part];
        p = predict(*classifier_, *data_, data_->part(part), loader_options(config_, false), cache,
                    [&](size_t) { return go_on(); });
        const double accuracy = p.rows.empty() ? std::nan("") : p.metrics(*data_).all.accuracy();
        return {.whole = go_on(),
                .figures = {p.mean_loss(), accuracy},
                .objective = p.mean_loss(),
                .bad_files = p.bad_files};
    }

    void write_model(const std::filesystem::path& path, StateDict result, uint64_t steps) const override {
        ::write_model(path, {.model = how_.model,
                             .classes = data_->classes,
                             .fit = fit_of(config_),
                             .normalize = config_.normalize,
                             .state = std::move(result),
                             .steps = steps,
                             .more = {{"tundra.version", this_build().version},
                                      {"tundra.data_fingerprint", data_->fingerprint.hash}}});
    }

    void write_evaluation(const std::filesystem::path& path) const override {
        std::vector<std::pair<std::string, const Predictions*>> parts;
        for (const auto& [part, predictions] : found_) parts.emplace_back(part_name(part), &predictions);
        ::write_evaluation(path, *data_, parts);
    }

private:
    static StepOutcome outcome_of(const StepFigures& f) { return {f.loss, {f.correct}, f.loss_scale, f.skipped_steps}; }

    const Dataset* data_ = nullptr;
    TrainerConfig how_;
    std::unique_ptr<Trainer> trainer_;
    std::unique_ptr<Classifier> classifier_;
    std::map<Part, Predictions> found_;
};

}  // namespace

std::unique_ptr<Task> make_classify_task(const TrainConfig& config) { return std::make_unique<ClassifyTask>(config); }
