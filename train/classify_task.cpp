// The task `classify`: cross entropy, accuracy.
#include <algorithm>
#include <bit>
#include <cmath>

#include "predict/evaluation.h"
#include "predict/model_file.h"
#include "predict/precision_check.h"
#include "train/machine.h"
#include "train/ranks.h"
#include "train/setup.h"
#include "train/task.h"

namespace {

class ClassifyTask final : public Task {
public:
    ClassifyTask(const TrainConfig& config, Ranks& ranks)
        : Task(config, ranks,
               {.parts = kClassificationParts,
                .train = {"loss", "accuracy"},
                .evaluation = {"loss", "accuracy"},
                .objective = "validation loss"}) {}

    Dataset open_data(bool links) override { return open_dataset(config_.data, dataset_options(config_, links)); }

    void build(const TaskContext& context, const Dataset& data, const Note& note) override {
        data_ = &data, device_ = &context.device, arena_ = &context.arena;
        const InitialModel initial = initial_classifier(config_, data.classes.size(), note);
        model_ = initial.model;
        TrainerConfig c = trainer_config(config_, data, model_, context.precision);
        c.eager = context.eager, c.steps_per_graph = context.steps_per_graph;
        c.join_gradients = context.join_gradients;
        c.batch = batch();
        if (ranks_.count > 1) c.ranks = &ranks_, c.sync_batch_norm = config_.sync_batch_norm;
        trainer_ = std::make_unique<Trainer>(context.device, context.arena, c, initial.state);
        classifier_ = std::make_unique<Classifier>(
            context.device, context.arena,
            ClassifierConfig{model_, c.batch, c.height, c.normalize, context.precision, context.eager});
    }

    LoaderOptions loader(bool training) const override {
        LoaderOptions o = loader_options(config_, training);
        o.batch = batch();
        if (training) o.share = ranks_.rank, o.shares = ranks_.count;
        return o;
    }

    std::vector<double> train_metrics(const StepStats& epoch) const override {
        const double correct = epoch.steps ? epoch.part("correct") : 0;
        return {epoch.mean(epoch.loss), epoch.images ? correct / double(epoch.images) : std::nan("")};
    }

    void load_result(const StateDict& result) override { classifier_->load(result, "the network in training"); }

    Evaluated evaluate(Part part, Cache* cache, const std::function<bool()>& keep_going) override {
        Predictions& p = found_[part];
        p = predict(*classifier_, *data_, share_of(data_->part(part)), loader(false), cache,
                    [&](size_t) { return keep_going(); });
        if (ranks_.count > 1) p = of_all_ranks(p);
        const double accuracy = p.rows.empty() ? std::nan("") : p.metrics(*data_).all.accuracy();
        return {.complete = keep_going(),
                .metrics = {p.mean_loss(), accuracy},
                .objective = p.mean_loss(),
                .bad_files = p.bad_files};
    }

    Evaluated check_bf16(const StateDict& result, Cache* cache, const std::function<bool()>& keep_going) override {
        ClassifierConfig config = classifier_->config();
        const bool in_bf16 = config.precision == DType::bf16;
        config.precision = in_bf16 ? DType::f32 : DType::bf16;
        const Predictions& own = found_.at(Part::validation);
        if (device_->kind() != "cpu" || own.rows.size() < kFewestLabelled) return nothing_checked();
        Classifier classifier(*device_, *arena_, config);
        classifier.load(result, "the network in training");
        Predictions others = predict(classifier, *data_, share_of(data_->part(Part::validation)), loader(false), cache,
                                     [&](size_t) { return keep_going(); });
        if (ranks_.count > 1) others = of_all_ranks(others);
        if (!on_all_ranks(ranks_, keep_going())) return {.complete = false};
        return checked(in_bf16 ? compare_classes(others, own, true) : compare_classes(own, others, true),
                       fingerprint(result));
    }

    void write_model(const std::filesystem::path& path, StateDict result, uint64_t steps) const override {
        ::write_model(path, {.model = model_,
                             .classes = data_->classes,
                             .input = {fit_of(config_), config_.normalize},
                             .state = std::move(result),
                             .steps = steps,
                             .more = {{"tundra.version", this_build().version},
                                      {"tundra.data_fingerprint", data_->fingerprint.hash}},
                             .bf16_check = bf16_check_});
    }

    void write_evaluation(const std::filesystem::path& path) const override {
        std::vector<std::pair<std::string, const Predictions*>> parts;
        for (const auto& [part, predictions] : found_) parts.emplace_back(part_name(part), &predictions);
        ::write_evaluation(path, *data_, parts);
    }

private:
    // In the order of the data set. A row travels as numbers, its probabilities last.
    Predictions of_all_ranks(const Predictions& own) const {
        const size_t columns = 5 + data_->classes.size();
        std::vector<float> numbers;
        for (const Prediction& p : own.rows) {
            numbers.insert(numbers.end(), {std::bit_cast<float>(p.sample), std::bit_cast<float>(p.label),
                                           std::bit_cast<float>(p.predicted), p.confidence, p.loss});
            numbers.insert(numbers.end(), p.probabilities.begin(), p.probabilities.end());
        }
        Predictions all{.rows = {}, .bad_files = ::of_all_ranks(ranks_, own.bad_files), .counts = own.counts};
        for (const std::vector<float>& of_rank : gather(ranks_, std::span<const float>(numbers)))
            for (auto x = of_rank.begin(); x != of_rank.end(); x += ptrdiff_t(columns))
                all.rows.push_back({std::bit_cast<uint32_t>(x[0]),
                                    std::bit_cast<uint32_t>(x[1]),
                                    std::bit_cast<uint32_t>(x[2]),
                                    x[3],
                                    x[4],
                                    {x + 5, x + ptrdiff_t(columns)}});
        std::ranges::sort(all.rows, {}, &Prediction::sample);
        return all;
    }

    const Dataset* data_ = nullptr;
    Device* device_ = nullptr;
    Arena* arena_ = nullptr;
    Model model_;
    std::unique_ptr<Classifier> classifier_;
    std::map<Part, Predictions> found_;
};

}  // namespace

std::unique_ptr<Task> make_classify_task(const TrainConfig& config, Ranks& ranks) {
    return std::make_unique<ClassifyTask>(config, ranks);
}
