#include "train/run.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/hash.h"
#include "train/checkpoint.h"
#include "train/evaluation.h"
#include "train/model_file.h"
#include "train/record.h"
#include "train/setup.h"
#include "train/signals.h"

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr size_t kNotFiniteInARow = 20;  // steps with a lost loss or gradient before the run gives up
constexpr size_t kBadFilesTold = 10;
const double kNone = std::nan("");

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct EpochSums {  // over the steps of an epoch so far
    double loss = 0, correct = 0, seconds = 0;
    size_t steps = 0, pictures = 0;  // steps: with a loss

    void add(double step_loss, double step_correct, size_t step_pictures, double step_seconds) {
        if (!std::isnan(step_loss)) loss += step_loss, ++steps;
        correct += step_correct, pictures += step_pictures, seconds += step_seconds;
    }
};

// Throws if a number of the network is lost: such weights are never saved over good ones.
void require_finite(const State& network, size_t step, double lr) {
    for (const auto& [name, tensor] : network)
        if (!std::ranges::all_of(tensor.values, [](float x) { return std::isfinite(x); }))
            fail(Fault::not_finite, "step {}: {} is not finite; lower --lr (now {}), the last checkpoint stays", step, name, lr);
}

// Held for the whole run: two runs in one folder would delete each other's checkpoints.
class FolderLock {
public:
    explicit FolderLock(const fs::path& folder) : descriptor_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
        if (descriptor_ >= 0 && flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
        if (descriptor_ >= 0) close(descriptor_);
        fail(Fault::usage, "{}: another tundra is training in this folder", folder.string());
    }
    ~FolderLock() { close(descriptor_); }
    FolderLock(const FolderLock&) = delete;

private:
    int descriptor_;
};

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
        precision_ = precision_on(config_, *device_);
        build();
        require_memory();
        RunPlan what = plan();
        if (options_.plan_only) what.seconds_per_step = time_of_a_step();
        if (events_.planned) events_.planned(what);
        if (options_.plan_only) return {RunEnd::planned, 0, 0, kNone, kNone, 0};
        try {
            return train();
        } catch (const Error& e) {  // a full disk, a lost GPU: what is safe, and where
            if (e.fault != Fault::environment || !saved_step_) throw;
            fail(e.fault, "{}; the last checkpoint is {}", e.what(), checkpoint_path(folder_ / "checkpoints", saved_step_).string());
        }
    }

private:
    void note(const std::string& text) const {
        if (events_.note) events_.note(text);
    }

    void open_data() {
        config_.data = fs::absolute(config_.data).lexically_normal().string();  // the run may go on from another folder
        data_ = open_dataset(config_.data, dataset_options(config_));
        if (!config_.classes.empty() && config_.classes != data_.classes)
            fail(Fault::usage, "{}: its classes are {}, the configuration names {}", config_.data, fmt::join(data_.classes, ", "),
                 fmt::join(config_.classes, ", "));
        config_.classes = data_.classes;
        const size_t pictures = train_samples().size(), batch = size_t(config_.batch);
        steps_per_epoch_ = config_.drop_last ? std::max<size_t>(1, pictures / batch) : (pictures + batch - 1) / batch;
        total_steps_ = steps_per_epoch_ * config_.epochs;
    }

    std::vector<uint32_t> train_samples() const { return data_.part(Part::train); }

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

    void build() {
        trainer_config_ = trainer_config(config_, data_, precision_);
        trainer_config_.eager = options_.eager;
        std::string about_init;
        const State initial = initial_state(config_, trainer_config_.model, about_init);
        if (!about_init.empty()) note(about_init);
        trainer_ = std::make_unique<Trainer>(*device_, *arena_, trainer_config_, initial);
        classifier_ = std::make_unique<Classifier>(
            *device_, *arena_,
            ClassifierConfig{trainer_config_.model, trainer_config_.batch, trainer_config_.size, trainer_config_.normalize, precision_, options_.eager});
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
                .cache_bytes = config_.cache == "off" ? 0 : pictures * config_.image_size * config_.image_size * 3,
                .disk_bytes = ((config_.keep + 1) * (config_.optimizer == "sgd" ? 2 : 3) + 1) * 4 * parameters,
                .device = device_->description(),
                .precision = precision_ == DType::f32 ? "fp32" : precision_ == DType::bf16 ? "bf16" : "fp16",
                .schedule = schedule_->describe(),
                .notes = data_.notes};
    }

    // The system hands out memory that it does not have and kills later; so it is asked before the first step.
    void require_memory() const {
        const uint64_t needed = device_->allocated(), free = available_memory_bytes();
        if (device_->kind() != "cpu" || needed <= free) return;
        const uint64_t per_picture = trainer_->program().plan().bytes / config_.batch;
        const uint64_t rest = needed - per_picture * config_.batch;
        const uint64_t fits = free > rest ? (free - rest) / per_picture : 0;
        fail(Fault::memory, "training needs {} MB and {} MB are free; {}", needed >> 20, free >> 20,
             fits ? fmt::format("--batch {} would fit", fits) : "a smaller --image-size or model would fit");
    }

    // On grey pictures, which are no news to the weights. The first step is slower: it sets things up.
    double time_of_a_step() {
        const size_t n = trainer_config_.batch, size = trainer_config_.size;
        const std::vector<uint8_t> pictures(n * size * size * 3, 128);
        std::vector<float> transform, color;
        for (size_t i = 0; i < n; ++i) transform.insert(transform.end(), {1, 0, 0, 0, 1, 0}), color.insert(color.end(), {1, 0});
        const std::vector<int32_t> labels(n, 0);
        double best = INFINITY;
        for (const Clock::time_point begin = Clock::now(); seconds_since(begin) < 3;) {
            const Clock::time_point start = Clock::now();
            trainer_->step({pictures, transform, color, labels}, 0, 0, 1);
            trainer_->figures();
            best = std::min(best, seconds_since(start));
        }
        return best;
    }

    json gpu_facts() const {
        const GpuFacts gpu = device_->gpu();
        if (!gpu.count) return nullptr;
        return {{"name", gpu.name}, {"count", gpu.count}, {"memory_bytes", gpu.memory_bytes}, {"driver", gpu.driver}, {"libraries", gpu.libraries}};
    }

    void start_folder() {
        std::error_code error;
        fs::create_directories(folder_, error);
        if (error) fail(Fault::environment, "{}: cannot make the run folder: {}", folder_.string(), error.message());
        lock_.emplace(folder_);
        if (options_.fresh && fs::exists(folder_ / "config"))
            // The configuration last: as long as it is there, what is left belongs to it.
            for (const char* part : {"checkpoints", "run.json", "log.jsonl", "metrics.csv", "model.safetensors", "evaluation.json",
                                     "bad_files.csv", "report.html", "config"})
                fs::remove_all(folder_ / part);
        write_file_durably(folder_ / "config", [&](FileWriter& out) { out.write(write_config(config_)); });
    }

    RunResult train() {
        start_folder();
        CacheMode mode = config_.cache == "off"      ? CacheMode::off
                         : config_.cache == "memory" ? CacheMode::memory
                         : config_.cache == "disk"   ? CacheMode::disk
                                                     : CacheMode::automatic;
        cache_ = std::make_unique<Cache>(data_, fit_of(config_), mode, (folder_ / "cache").string());
        if (mode == CacheMode::automatic && cache_->mode() != CacheMode::memory) note("decoded pictures: " + cache_->choice());
        resume();
        record_.emplace(folder_ / "run.json", json{{"device", device_->description()}, {"gpu", gpu_facts()}, {"precision", plan().precision},
                                                   {"threads", thread_count(config_)}});
        record_->fact("seed", config_.seed);
        record_->fact("model", config_.model);
        record_->fact("total_steps", total_steps_);
        record_->fact("classes", data_.classes);
        record_->fact("data", {{"path", config_.data}, {"pictures", data_.fingerprint.pictures}, {"bytes", data_.fingerprint.bytes},
                               {"fingerprint", data_.fingerprint.hash}});
        record_->fact("config_hash", config_hash(config_));
        record_->fact("finished", false);
        record_->event(state_.step ? "resume" : "start", {{"step", state_.step}});
        read_log();
        log_.emplace(folder_ / "log.jsonl", state_.step);
        table_.emplace(folder_ / "metrics.csv",
                       std::vector<std::string>{"epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "rate", "seconds"},
                       state_.step);
        writer_ = std::make_unique<CheckpointWriter>(folder_ / "checkpoints", config_.keep);
        loader_ = std::make_unique<Loader>(data_, train_samples(), loader_options(config_, true), cache_.get());
        loader_->start(state_.epoch, state_.position);
        skipped_steps_ = trainer_->optimizer().state().skipped_steps;
        signals_.emplace();
        while (state_.step < total_steps_ || state_.position > 0)
            if (!run_epoch() || !end_epoch()) return leave();
        return finish();
    }

    bool is_stopped() const { return signals_->received() || (options_.stop_after_steps && state_.step == options_.stop_after_steps); }

    // What this epoch's steps before a restart gave, and the files that were found bad: both are in the log.
    void read_log() {
        if (!state_.step || !fs::exists(folder_ / "log.jsonl")) return;
        const FileBytes bytes = read_file(folder_ / "log.jsonl");
        std::istringstream lines(std::string(reinterpret_cast<const char*>(bytes.memory.get()), bytes.size));
        for (std::string text; std::getline(lines, text);) {
            const json line = json::parse(text, nullptr, false);
            if (!line.is_object()) continue;
            if (line.contains("bad_file")) {
                const std::string path = line.at("bad_file");
                bad_.insert({path, {.path = path, .code = line.value("code", ""), .text = line.value("text", ""), .used = line.value("used", false)}});
            }
            if (state_.position && line.contains("skipped") && line.value("epoch", uint64_t(0)) == state_.epoch &&
                line.value("step", uint64_t(0)) <= state_.step)
                sums_.add(line.at("skipped") ? kNone : line.at("loss").get<double>(), line.value("correct", 0.0),
                          line.value("pictures", size_t(0)), line.value("seconds", 0.0));
        }
    }

    // The steps that are left of this epoch; false if it was stopped before its end.
    bool run_epoch() {
        while (state_.position < steps_per_epoch_) {
            if (is_stopped()) return false;
            one_step();
            if (!lost_in_a_row_ && state_.position < steps_per_epoch_ && seconds_since(saved_) > 60 * config_.save_minutes) save();
        }
        return true;
    }

    void one_step() {
        const Clock::time_point begin = Clock::now();
        const Batch& batch = loader_->next();
        const ScheduleValue value = schedule_->at(state_.step);
        trainer_->step({batch.pictures, batch.transform, batch.color, batch.labels}, value.rate, value.momentum, state_.step + 1);
        const StepFigures figures = trainer_->figures();
        ++state_.step, ++state_.position;
        state_.loss_scale = figures.loss_scale;
        const bool lost = !std::isfinite(figures.loss) || figures.skipped_steps > skipped_steps_;
        skipped_steps_ = figures.skipped_steps;
        lost_in_a_row_ = lost ? lost_in_a_row_ + 1 : 0;
        const auto counted = size_t(std::ranges::count_if(batch.labels, [](int32_t label) { return label >= 0; }));
        const double taken = seconds_since(begin);
        step_seconds_ = step_seconds_ ? 0.9 * step_seconds_ + 0.1 * taken : taken;
        sums_.add(lost ? kNone : figures.loss, lost ? 0 : figures.correct, counted, taken);
        record_->count(counted, taken);
        log_->append({{"step", state_.step}, {"epoch", state_.epoch}, {"loss", figures.loss}, {"rate", value.rate},
                      {"momentum", value.momentum}, {"correct", figures.correct}, {"pictures", counted}, {"seconds", taken},
                      {"images_per_second", double(counted) / taken}, {"skipped", lost}});
        if (events_.step)
            events_.step({state_.step, total_steps_, state_.epoch + 1, config_.epochs, figures.loss, value.rate, value.momentum,
                          double(config_.batch) / step_seconds_, step_seconds_ * double(total_steps_ - state_.step)});
        if (lost_in_a_row_ < kNotFiniteInARow) return;
        record_->event("not finite", {{"step", state_.step}});
        fail(Fault::not_finite, "step {}: loss or gradients were not finite for {} steps; lower --lr (now {}), the checkpoints in {} stay",
             state_.step, lost_in_a_row_, config_.lr, (folder_ / "checkpoints").string());
    }

    RunResult leave() {
        save();
        record_->event("stop", {{"step", state_.step}});
        return {RunEnd::stopped, signals_->exit_code(), state_.step, kNone, kNone, bad_.size()};
    }

    // Nothing if a signal came before its end.
    std::optional<Predictions> predict_part(Part part) {
        Predictions p = predict(*classifier_, data_, data_.part(part), loader_options(config_, false), cache_.get(),
                                [&](size_t) { return !signals_->received(); });
        if (signals_->received()) return std::nullopt;
        report_bad_files(p.bad_files);
        return p;
    }

    void report_bad_files(const std::vector<BadFile>& files) {
        for (const BadFile& f : files) {
            if (!bad_.insert({f.path, f}).second) continue;
            log_->append({{"bad_file", f.path}, {"code", f.code}, {"used", f.used}, {"text", f.text}});
            if (bad_.size() <= kBadFilesTold)
                note(fmt::format("{}: {} ({}){}", f.path, f.text, f.code, f.used ? ", used as far as it goes" : ""));
            if (bad_.size() == kBadFilesTold) note("more files with problems will be listed in " + (folder_ / "bad_files.csv").string());
        }
    }

    // Validates and keeps books; false if a signal stopped that: then it is done again by the run that goes on.
    bool end_epoch() {
        const State network = trainer_->state();
        require_finite(network, state_.step, config_.lr);
        classifier_->load(network, "the network in training");
        const std::optional<Predictions> validation = predict_part(Part::validation);
        if (!validation) return false;
        report_bad_files(loader_->bad_files());
        state_.position = 0;
        ++state_.epoch;
        EpochReport report{state_.epoch, config_.epochs, sums_.steps ? sums_.loss / double(sums_.steps) : kNone,
                           sums_.pictures ? sums_.correct / double(sums_.pictures) : kNone, kNone, kNone, sums_.seconds, false};
        sums_ = {};
        if (!validation->rows.empty()) {
            report.validation_loss = validation->mean_loss();
            report.validation_accuracy = validation->metrics(data_).all.accuracy();
            report.best = state_.best_step == 0 || report.validation_loss < state_.best_metric;
            if (report.best) state_.best_step = state_.step, state_.best_metric = report.validation_loss;
        }
        const auto cell = [](double x) { return std::isnan(x) ? std::nullopt : std::optional(x); };
        const double rate = schedule_->at(state_.step - 1).rate;
        table_->append(state_.step, {double(report.epoch), cell(report.train_loss), cell(report.train_accuracy), cell(report.validation_loss),
                                     cell(report.validation_accuracy), rate, report.seconds});
        log_->append({{"step", state_.step}, {"epoch_done", report.epoch}, {"train_loss", report.train_loss},
                      {"train_accuracy", report.train_accuracy}, {"validation_loss", report.validation_loss},
                      {"validation_accuracy", report.validation_accuracy}, {"seconds", report.seconds}});
        const bool due = seconds_since(saved_) > 60 * config_.save_minutes;
        if ((report.best && config_.select == "best") || state_.step == total_steps_ || due) save();
        record_->event("epoch", {{"epoch", state_.epoch}, {"step", state_.step}});
        if (events_.epoch) events_.epoch(report);
        if (!cache_trouble_told_ && !cache_->problem().empty()) note(cache_->problem()), cache_trouble_told_ = true;
        return true;
    }

    void save() {
        const State network = trainer_->state();
        require_finite(network, state_.step, config_.lr);
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
        saved_ = Clock::now();
        saved_step_ = state_.step;
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
        if (checkpoint->state.config_hash != config_hash(config_) || checkpoint->state.total_steps != total_steps_)
            fail(Fault::usage, "{}: its checkpoints belong to another configuration; use --fresh to start over, or another --out",
                 folder_.string());
        state_ = checkpoint->state;
        saved_step_ = state_.step;
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

    RunResult finish() {
        State network = trainer_->state();
        if (config_.select == "best" && state_.best_step && state_.best_step != state_.step) {
            try {
                network = network_of(load_checkpoint(checkpoint_path(folder_ / "checkpoints", state_.best_step)));
                note(fmt::format("the best weights by validation loss are those of step {}", state_.best_step));
            } catch (const Error& e) {
                note(fmt::format("the last weights are taken, because the best cannot be read: {}", e.what()));
            }
        }
        classifier_->load(network, "the trained network");
        write_model(folder_ / "model.safetensors",
                    {.model = trainer_config_.model, .classes = data_.classes, .fit = fit_of(config_), .normalize = config_.normalize,
                     .state = std::move(network), .steps = state_.step,
                     .more = {{"tundra.version", this_build().version}, {"tundra.data_fingerprint", data_.fingerprint.hash}}});
        const std::optional<Predictions> validation = predict_part(Part::validation);
        const std::optional<Predictions> test = validation ? predict_part(Part::test) : std::nullopt;
        if (!test) return leave();
        write_evaluation(folder_ / "evaluation.json", data_, {{"validation", &*validation}, {"test", &*test}});
        std::vector<BadFile> bad;
        for (const auto& [path, file] : bad_) bad.push_back(file);
        write_bad_files(folder_ / "bad_files.csv", bad);
        record_->fact("waited_for_pictures_seconds", loader_->counts().waited_seconds);
        record_->fact("bad_files", bad.size());
        record_->fact("finished", true);
        record_->event("finish", {{"step", state_.step}});
        const auto accuracy = [&](const Predictions& p) { return p.rows.empty() ? kNone : p.metrics(data_).all.accuracy(); };
        return {RunEnd::finished, 0, state_.step, accuracy(*validation), accuracy(*test), bad.size()};
    }

    TrainConfig config_;
    std::optional<FolderLock> lock_;
    bool cache_trouble_told_ = false;
    const RunOptions& options_;
    const RunEvents& events_;
    const fs::path folder_;
    Dataset data_;
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
    std::optional<RunRecord> record_;
    std::optional<RunLog> log_;
    std::optional<MetricsTable> table_;
    std::optional<StopSignals> signals_;
    std::unique_ptr<Loader> loader_;
    std::map<std::string, BadFile> bad_;  // by path
    EpochSums sums_;
    Clock::time_point saved_ = Clock::now();
    uint64_t saved_step_ = 0;  // of the last checkpoint
    double step_seconds_ = 0;  // running mean
    size_t lost_in_a_row_ = 0;
    float skipped_steps_ = 0;
};

}  // namespace

RunResult train_run(TrainConfig config, const RunOptions& options, const RunEvents& events) {
    return Run(std::move(config), options, events)();
}
