#include "train/run.h"

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/hash.h"
#include "models/weights.h"
#include "train/checkpoint.h"
#include "train/evaluation.h"
#include "train/model_file.h"
#include "train/record.h"
#include "train/signals.h"
#include "train/trainer.h"

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr size_t kNotFiniteInARow = 20;  // steps with a lost loss or gradient before the run gives up
const double kNone = std::nan("");

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

AugmentRanges augment_named(const std::string& name) {
    if (name == "standard") return {.flip = 0.5, .rotate = 5, .crop = 0.5, .brightness = 0.2, .contrast = 0.2};
    if (name == "keras") return {.flip = 0.5, .rotate = 40, .shear = 0.2, .shift = 0.2, .zoom = 0.2};
    return {};
}

DType precision_named(const std::string& name, const Device& device) {
    const bool cpu = device.kind() == "cpu";
    if (cpu && name != "auto" && name != "fp32")
        fail(Fault::usage, "--precision {}: the device cpu computes in fp32", name);
    if (name == "auto") return device.kind() == "cuda" ? DType::bf16 : DType::f32;
    return name == "bf16" ? DType::bf16 : name == "fp16" ? DType::f16 : DType::f32;
}

OptimizerConfig optimizer_config(const TrainConfig& c, DType precision) {
    OptimizerConfig o{.kind = c.optimizer == "sgd" ? OptimizerConfig::Kind::sgd : OptimizerConfig::Kind::adam,
                      .weight_decay = float(c.weight_decay),
                      .decay_vectors = c.decay_norm_and_bias,
                      .nesterov = c.nesterov,
                      .form = c.adam_form == "keras" ? AdamForm::keras : AdamForm::torch,
                      .beta2 = float(c.beta2),
                      .epsilon = float(c.epsilon),
                      .decoupled = c.optimizer == "adamw"};
    if (precision == DType::f16) o.loss_scale = 65536, o.growth_interval = 2000;
    return o;
}

class Run {
public:
    Run(TrainConfig config, const RunOptions& options, const RunEvents& events)
        : config_(std::move(config)), options_(options), events_(events), folder_(options.folder) {}

    RunResult operator()() {
        open_data();
        const bool again = meets_folder();
        if (again && finished()) return {RunEnd::already_finished, 0, 0, kNone, kNone, 0};
        std::string reason;
        device_ = open_device(config_.device, {.threads = int(config_.threads), .deterministic = options_.deterministic}, &reason);
        if (!reason.empty()) note(fmt::format("device: {} ({})", device_->kind(), reason));
        arena_ = std::make_unique<Arena>(*device_);
        precision_ = precision_named(config_.precision, *device_);
        build();
        if (events_.planned) events_.planned(plan());
        if (options_.plan_only) return {RunEnd::planned, 0, 0, kNone, kNone, 0};
        return train();
    }

private:
    void note(const std::string& text) const {
        if (events_.note) events_.note(text);
    }

    void open_data() {
        data_ = open_dataset(config_.data, {.seed = config_.seed,
                                            .split_by = config_.split_by == "camera" ? SplitBy::camera : SplitBy::sequence,
                                            .validation = config_.validation,
                                            .test = config_.test,
                                            .threads = threads()});
        if (!config_.classes.empty() && config_.classes != data_.classes)
            fail(Fault::usage, "{}: its classes are {}, the configuration names {}", config_.data, fmt::join(data_.classes, ", "),
                 fmt::join(config_.classes, ", "));
        config_.classes = data_.classes;
        fit_ = {.size = size_t(config_.image_size),
                .mode = config_.fit == "crop" ? FitMode::crop : FitMode::stretch,
                .filter = config_.filter == "nearest" ? Filter::nearest : config_.filter == "linear" ? Filter::linear : Filter::antialias};
        steps_per_epoch_ = loader_options(true).drop_last ? std::max<size_t>(1, train_samples().size() / config_.batch)
                                                          : (train_samples().size() + config_.batch - 1) / config_.batch;
        total_steps_ = steps_per_epoch_ * config_.epochs;
    }

    int threads() const { return config_.threads ? int(config_.threads) : int(std::thread::hardware_concurrency()); }
    std::vector<uint32_t> train_samples() const { return data_.part(Part::train); }

    LoaderOptions loader_options(bool training) const {
        LoaderOptions o{.batch = size_t(config_.batch), .fit = fit_, .seed = config_.seed, .threads = threads(),
                        .accept_damaged = config_.accept_damaged};
        if (training) {
            o.augment = augment_named(config_.augment);
            o.shuffle = true;
            o.drop_last = config_.drop_last;
        }
        return o;
    }

    // True if the folder holds this run; with another configuration or other data that is an error.
    bool meets_folder() {
        const fs::path file = folder_ / "config";
        if (options_.fresh || !fs::exists(file)) return false;
        TrainConfig before;
        assign(before, read_config(file.string()));
        if (const auto lines = config_differences(before, config_); !lines.empty())
            fail(Fault::usage, "{}: holds a run with another configuration; use --fresh to start over, or another --out\n  {}",
                 folder_.string(), fmt::join(lines, "\n  "));
        return true;
    }

    bool finished() const {
        if (!fs::exists(folder_ / "run.json")) return false;
        const FileBytes bytes = read_file(folder_ / "run.json");
        const json record = json::parse(std::string_view(reinterpret_cast<const char*>(bytes.span().data()), bytes.size), nullptr, false);
        return record.is_object() && record.value("finished", false) && fs::exists(folder_ / "model.safetensors");
    }

    State initial_state() {
        const ResNetConfig& model = trainer_config_.model;
        State state = initialize_state(model, config_.seed);
        if (config_.init.empty()) return state;
        const ModelFile file = read_model(config_.init);
        if (file.model.depth != model.depth || file.model.keras != model.keras)
            fail(Fault::usage, "--init {}: holds {}, the run trains {}", config_.init, model_name(file.model), config_.model);
        const bool same_head = file.model.classes == model.classes;
        for (const auto& [name, tensor] : file.state)
            if (state.contains(name) && (same_head || !name.starts_with("fc."))) state[name] = tensor;
        if (!same_head)
            note(fmt::format("{} has {} classes, the data {}: the last layer starts anew", config_.init, file.model.classes, model.classes));
        return state;
    }

    void build() {
        trainer_config_ = {.model = resnet_config(config_.model, data_.classes.size()),
                           .batch = size_t(config_.batch),
                           .size = fit_.size,
                           .normalize = normalize_named(config_.normalize),
                           .optimizer = optimizer_config(config_, precision_),
                           .label_smoothing = float(config_.label_smoothing),
                           .class_weights = class_weight_values(config_, data_.class_counts(Part::train)),
                           .precision = precision_,
                           .freeze_backbone = config_.freeze,
                           .eager = options_.eager};
        trainer_ = std::make_unique<Trainer>(*device_, *arena_, trainer_config_, initial_state());
        classifier_ = std::make_unique<Classifier>(
            *device_, *arena_,
            ClassifierConfig{trainer_config_.model, size_t(config_.batch), fit_.size, trainer_config_.normalize, precision_, options_.eager});
        schedule_ = std::make_unique<Schedule>(schedule_options(config_), total_steps_);
    }

    RunPlan plan() const {
        const size_t pictures = data_.samples.size(), parameters = trainer_->parameters().scalar_count();
        return {.classes = data_.classes,
                .train_pictures = train_samples().size(),
                .validation_pictures = data_.part(Part::validation).size(),
                .test_pictures = data_.part(Part::test).size(),
                .parameters = parameters,
                .steps_per_epoch = steps_per_epoch_,
                .total_steps = total_steps_,
                .memory_bytes = device_->allocated(),
                .cache_bytes = config_.cache == "off" ? 0 : pictures * fit_.size * fit_.size * 3,
                .disk_bytes = (config_.keep + 2) * 2 * 4 * parameters,
                .device = device_->description(),
                .precision = precision_ == DType::f32 ? "fp32" : precision_ == DType::bf16 ? "bf16" : "fp16",
                .schedule = schedule_->describe(),
                .notes = data_.notes};
    }

    void start_folder() {
        if (options_.fresh && fs::exists(folder_ / "config"))
            for (const char* part : {"config", "run.json", "log.jsonl", "metrics.csv", "model.safetensors", "evaluation.json",
                                     "bad_files.csv", "report.html", "checkpoints"})
                fs::remove_all(folder_ / part);
        std::error_code error;
        fs::create_directories(folder_, error);
        if (error) fail(Fault::environment, "{}: cannot make the run folder: {}", folder_.string(), error.message());
        write_file_durably(folder_ / "config", [&](FileWriter& out) { out.write(write_config(config_)); });
    }

    RunResult train() {
        start_folder();
        CacheMode mode = config_.cache == "off"      ? CacheMode::off
                         : config_.cache == "memory" ? CacheMode::memory
                         : config_.cache == "disk"   ? CacheMode::disk
                                                     : CacheMode::automatic;
        cache_ = std::make_unique<Cache>(data_, fit_, mode, (folder_ / "cache").string());
        resume();
        RunRecord record(folder_ / "run.json", {{"device", device_->description()}, {"precision", plan().precision}, {"threads", threads()}});
        record.fact("seed", config_.seed);
        record.fact("model", config_.model);
        record.fact("classes", data_.classes);
        record.fact("data", {{"path", config_.data}, {"pictures", data_.fingerprint.pictures}, {"bytes", data_.fingerprint.bytes},
                             {"fingerprint", data_.fingerprint.hash}});
        record.fact("config_hash", config_hash(config_));
        record.fact("finished", false);
        record.event(state_.step ? "resume" : "start", {{"step", state_.step}});
        RunLog log(folder_ / "log.jsonl", state_.step);
        MetricsTable table(folder_ / "metrics.csv",
                           {"epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "rate", "seconds"}, state_.step);
        writer_ = std::make_unique<CheckpointWriter>(folder_ / "checkpoints", config_.keep);
        StopSignals signals;
        Loader loader(data_, train_samples(), loader_options(true), cache_.get());
        loader.start(state_.epoch, state_.position);
        Clock::time_point saved = Clock::now();
        double step_seconds = 0;
        size_t lost_in_a_row = 0;
        float skipped = trainer_->optimizer().state().skipped_steps;

        while (state_.step < total_steps_) {
            const Clock::time_point epoch_start = Clock::now();
            double loss_sum = 0, correct = 0, rows = 0;
            size_t loss_steps = 0;
            for (size_t in_epoch = state_.step % steps_per_epoch_; in_epoch < steps_per_epoch_; ++in_epoch) {
                const Clock::time_point begin = Clock::now();
                const Batch& batch = loader.next();
                const ScheduleValue value = schedule_->at(state_.step);
                trainer_->step({batch.pictures, batch.transform, batch.color, batch.labels}, value.rate, value.momentum, state_.step + 1);
                const StepFigures figures = trainer_->figures();
                ++state_.step;
                state_.loss_scale = figures.loss_scale;
                const bool lost = !std::isfinite(figures.loss) || figures.skipped_steps > skipped;
                skipped = figures.skipped_steps;
                lost_in_a_row = lost ? lost_in_a_row + 1 : 0;
                size_t counted = 0;
                for (int32_t label : batch.labels) counted += label >= 0;
                if (!lost) loss_sum += figures.loss, ++loss_steps;
                correct += figures.correct, rows += double(counted);
                const double taken = seconds_since(begin);
                step_seconds = step_seconds ? 0.9 * step_seconds + 0.1 * taken : taken;
                record.count(counted, taken);
                log.append({{"step", state_.step}, {"epoch", state_.epoch}, {"loss", figures.loss}, {"rate", value.rate},
                            {"momentum", value.momentum}, {"images_per_second", double(counted) / taken}, {"skipped", lost}});
                if (events_.step)
                    events_.step({state_.step, total_steps_, state_.epoch + 1, config_.epochs, figures.loss, value.rate, value.momentum,
                                  double(config_.batch) / step_seconds, step_seconds * double(total_steps_ - state_.step)});
                if (lost_in_a_row >= kNotFiniteInARow) {
                    record.event("not finite", {{"step", state_.step}});
                    fail(Fault::not_finite,
                         "step {}: loss or gradients were not finite for {} steps; lower --lr (now {}), the checkpoints in {} stay",
                         state_.step, lost_in_a_row, config_.lr, (folder_ / "checkpoints").string());
                }
                state_.position = in_epoch + 1;
                const bool stop = signals.received() || state_.step == options_.stop_after_steps;
                const bool epoch_ends = in_epoch + 1 == steps_per_epoch_;
                if (stop && state_.step < total_steps_ && !epoch_ends) return leave(record, signals.exit_code());
                if (!lost_in_a_row && seconds_since(saved) > 60 * config_.save_minutes && !epoch_ends) save(), saved = Clock::now();
            }
            state_.position = 0;
            ++state_.epoch;
            const bool best = end_epoch(table, log, {state_.epoch, config_.epochs, loss_steps ? loss_sum / double(loss_steps) : kNone,
                                                     rows ? correct / rows : kNone, kNone, kNone, seconds_since(epoch_start), false});
            if ((best && config_.select == "best") || state_.step == total_steps_ || seconds_since(saved) > 60 * config_.save_minutes) save(), saved = Clock::now();
            record.event("epoch", {{"epoch", state_.epoch}, {"step", state_.step}});
            if ((signals.received() || state_.step == options_.stop_after_steps) && state_.step < total_steps_)
                return leave(record, signals.exit_code());
        }
        return finish(record, loader);
    }

    RunResult leave(RunRecord& record, int exit_code) {
        save();
        record.event("stop", {{"step", state_.step}});
        return {RunEnd::stopped, exit_code, state_.step, kNone, kNone, 0};
    }

    Predictions predict_part(Part part) { return predict(*classifier_, data_, data_.part(part), loader_options(false), cache_.get()); }

    // Validates; true if these are the best weights so far.
    bool end_epoch(MetricsTable& table, RunLog& log, EpochReport report) {
        classifier_->load(trainer_->state(), "the network in training");
        const Predictions validation = predict_part(Part::validation);
        if (!validation.rows.empty()) {
            report.validation_loss = validation.mean_loss();
            report.validation_accuracy = validation.metrics(data_).all.accuracy();
            report.best = state_.best_step == 0 || report.validation_loss < state_.best_metric;
            if (report.best) state_.best_step = state_.step, state_.best_metric = report.validation_loss;
        }
        const auto cell = [](double x) { return std::isnan(x) ? std::nullopt : std::optional(x); };
        const double rate = schedule_->at(state_.step - 1).rate;
        table.append(state_.step, {double(report.epoch), cell(report.train_loss), cell(report.train_accuracy), cell(report.validation_loss),
                                   cell(report.validation_accuracy), rate, report.seconds});
        log.append({{"step", state_.step}, {"epoch_done", report.epoch}, {"train_loss", report.train_loss},
                    {"train_accuracy", report.train_accuracy}, {"validation_loss", report.validation_loss},
                    {"validation_accuracy", report.validation_accuracy}, {"seconds", report.seconds}});
        if (events_.epoch) events_.epoch(report);
        return report.best;
    }

    void save() {
        const State network = trainer_->state();
        std::vector<FileTensor> tensors;
        std::vector<std::vector<std::byte>> slots;
        for (const auto& [name, tensor] : network)
            tensors.push_back({"model." + name, DType::f32, tensor.shape, std::as_bytes(std::span(tensor.values))});
        for (const Optimizer::Slot& slot : trainer_->optimizer().slots()) {
            slots.emplace_back(slot.memory->bytes());
            device_->download(slots.back().data(), slot.memory->data(), slot.memory->bytes());
            tensors.push_back({"optimizer." + slot.name, DType::f32, {slot.memory->bytes() / sizeof(float)}, slots.back()});
        }
        state_.total_steps = total_steps_;
        state_.seed = config_.seed;
        state_.data_fingerprint = data_.fingerprint.hash;
        state_.config_hash = config_hash(config_);
        writer_->save(state_, tensors);
    }

    static State network_of(const Checkpoint& checkpoint) {
        State state;
        for (const FileTensor& t : checkpoint.file.tensors())
            if (t.name.starts_with("model.")) state[t.name.substr(6)] = {Shape(t.shape), elements<float>(t)};
        return state;
    }

    void resume() {
        std::vector<std::string> notes;
        const auto checkpoint = load_newest_checkpoint(folder_ / "checkpoints", notes);
        for (const std::string& text : notes) note(text);
        if (!checkpoint) return;
        if (checkpoint->state.data_fingerprint != data_.fingerprint.hash)
            fail(Fault::usage, "{}: was trained on other pictures than {} holds now; use --fresh to start over, or another --out",
                 folder_.string(), config_.data);
        state_ = checkpoint->state;
        trainer_->load(network_of(*checkpoint), checkpoint->path.string());
        for (const Optimizer::Slot& slot : trainer_->optimizer().slots()) {
            const FileTensor& tensor = checkpoint->file.at("optimizer." + slot.name);
            if (tensor.data.size() != slot.memory->bytes())
                fail(Fault::damaged, "{}: {} has {} bytes, this run needs {}", checkpoint->path.string(), tensor.name, tensor.data.size(),
                     slot.memory->bytes());
            device_->upload(slot.memory->data(), tensor.data.data(), tensor.data.size());
        }
        note(fmt::format("goes on at step {} of {}, from {}", state_.step, total_steps_, checkpoint->path.string()));
    }

    RunResult finish(RunRecord& record, const Loader& loader) {
        State network = trainer_->state();
        if (config_.select == "best" && state_.best_step && state_.best_step != state_.step) {
            network = network_of(load_checkpoint(checkpoint_path(folder_ / "checkpoints", state_.best_step)));
            note(fmt::format("the best weights by validation loss are those of step {}", state_.best_step));
        }
        classifier_->load(network, "the trained network");
        write_model(folder_ / "model.safetensors",
                    {.model = trainer_config_.model, .classes = data_.classes, .fit = fit_, .normalize = config_.normalize,
                     .state = std::move(network), .steps = state_.step,
                     .more = {{"tundra.version", this_build().version}, {"tundra.data_fingerprint", data_.fingerprint.hash}}});
        const Predictions validation = predict_part(Part::validation), test = predict_part(Part::test);
        write_evaluation(folder_ / "evaluation.json", data_, {{"validation", &validation}, {"test", &test}});
        std::vector<BadFile> bad = loader.bad_files();
        for (const Predictions* p : {&validation, &test}) bad.insert(bad.end(), p->bad_files.begin(), p->bad_files.end());
        write_bad_files(folder_ / "bad_files.csv", bad);
        const LoaderCounts counts = loader.counts();
        record.fact("waited_for_pictures_seconds", counts.waited_seconds);
        record.fact("bad_files", bad.size());
        record.fact("finished", true);
        record.event("finish", {{"step", state_.step}});
        const auto accuracy = [&](const Predictions& p) { return p.rows.empty() ? kNone : p.metrics(data_).all.accuracy(); };
        return {RunEnd::finished, 0, state_.step, accuracy(validation), accuracy(test), bad.size()};
    }

    TrainConfig config_;
    const RunOptions& options_;
    const RunEvents& events_;
    const fs::path folder_;
    Dataset data_;
    Fit fit_;
    size_t steps_per_epoch_ = 0, total_steps_ = 0;
    std::unique_ptr<Device> device_;
    std::unique_ptr<Arena> arena_;
    DType precision_ = DType::f32;
    TrainerConfig trainer_config_;
    std::unique_ptr<Trainer> trainer_;
    std::unique_ptr<Classifier> classifier_;
    std::unique_ptr<Schedule> schedule_;
    std::unique_ptr<Cache> cache_;
    std::unique_ptr<CheckpointWriter> writer_;
    TrainingState state_;
};

}  // namespace

RunResult train_run(TrainConfig config, const RunOptions& options, const RunEvents& events) {
    return Run(std::move(config), options, events)();
}
