#include "train/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>

#include "base/signals.h"
#include "predict/evaluation.h"
#include "train/checkpoint.h"
#include "train/fit_memory.h"
#include "train/join_gradients.h"
#include "train/ranks.h"
#include "train/record.h"
#include "train/run_data.h"
#include "train/run_facts.h"
#include "train/run_folder.h"
#include "train/run_precision.h"
#include "train/setup.h"
#include "train/snapshot.h"
#include "train/task.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxLostSteps = 20;  // without finite loss and gradients, in a row, before the run gives up

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Run {
public:
    Run(TrainConfig config, const RunOptions& options, const RunEvents& events)
        : config_(std::move(config)),
          options_(options),
          events_(events),
          ranks_(options.ranks ? *options.ranks : alone_),
          folder_(options.folder, options.fresh, ranks_.first()),
          task_(make_task(config_, ranks_)) {
        share_machine(ranks_, config_);
    }

    RunResult operator()() {
        open_data();
        std::byte finished{!options_.plan_only && folder_.holds(config_) &&
                           folder_.check_finished([this](auto& text) { note(text); })};
        ranks_.broadcast({&finished, 1});
        if (finished != std::byte(0)) return {RunEnd::already_finished};
        device_ = open_device_of(ranks_, config_, options_.deterministic, [this](auto& text) { note(text); });
        if (ranks_.leads) ranks_.process->checkpoints = (folder_.path() / "checkpoints").string();
        gpu_sums_ = join_devices(ranks_, *device_, options_.steps_per_graph);
        const AbandonAfterError guard(gpu_sums_.get());
        arena_ = std::make_unique<Arena>(*device_);
        precision_ = precision_of_run(config_, *device_, ranks_, folder_, data_);
        build();
        schedule_ = std::make_unique<Schedule>(schedule_options(config_), total_steps_);
        RunPlan what = plan_of(config_, data_, *task_, *device_, precision_, steps_per_epoch_, *schedule_);
        if (options_.plan_only) what.seconds_per_step = time_of_a_step(*task_, ranks_);
        if (events_.planned) events_.planned(what);
        if (options_.plan_only) return {RunEnd::planned};
        try {
            return train();
        } catch (const Error& e) {  // such as a full disk or a lost GPU: say what is saved, and where
            if (const std::string fault = writer_ ? writer_->fault() : ""; !fault.empty()) note(fault);
            if (e.fault != Fault::environment) throw;
            if (!ranks_.first()) fail(e.fault, "{}; the checkpoints are in {}", e.what(), ranks_.process->checkpoints);
            const uint64_t saved = writer_ ? writer_->last_written() : saved_step_;
            if (!saved) fail(e.fault, "{}; no checkpoint was written yet", e.what());
            fail(e.fault, "{}; the last checkpoint is {}, and the same command resumes from it", e.what(),
                 checkpoint_path(folder_ / "checkpoints", saved).string());
        }
    }

private:
    void note(const std::string& text) const {
        if (events_.note) events_.note(text);
    }

    void open_data() {
        data_ = open_run_data(*task_, config_, folder_, options_.plan_only, [this](auto& text) { note(text); });
        const size_t images = data_.part(Part::train).size(), batch = size_t(config_.batch);
        require_same_data(ranks_, data_);
        steps_per_epoch_ = config_.drop_last ? std::max<size_t>(1, images / batch) : (images + batch - 1) / batch;
        total_steps_ = steps_per_epoch_ * config_.epochs;
    }

    void build() {
        TaskContext context{*device_, *arena_, precision_.type, options_.eager, options_.steps_per_graph, false};
        uint64_t free = memory_before_build(*device_, ranks_);
        try {
            context.join_gradients = joins_gradients(options_, folder_.record(), config_, ranks_, context, data_,
                                                     [this](auto& text) { note(text); });
            task_->build(context, data_, [this](const std::string& text) { note(text); });
            require_memory(*device_, ranks_, free);
        } catch (const Error& e) {
            if (e.fault != Fault::memory) throw;
            task_.reset(), arena_.reset();
            if (!device_->facts().host_memory) free = free_memory(*device_);  // other programs share a GPU
            fail_for_memory(config_, ranks_, data_, context, free, e);
        }
    }

    RunResult train() {
        TrainConfig written = config_;
        if (ranks_.count > 1) written.threads = 0;  // they follow from the number of ranks
        for (const std::string& text : folder_.start(written)) note(text);
        const CacheMode mode = cache_mode(config_);
        cache_ = std::make_unique<Cache>(data_, task_->loader(false).fit, mode, (folder_.path() / "cache").string(),
                                         ranks_.on_machine);
        if (mode == CacheMode::automatic && cache_->mode() != CacheMode::memory)
            note("decoded images: " + cache_->choice());
        if (ranks_.first()) resume();
        share(ranks_, task_->trainer(), state_);
        record_.emplace(folder_ / "run.json", session_facts(config_, *device_, precision_.type, ranks_));
        if (!device_->facts().in_place) record_->fact("joined_gradients", task_->trainer().joins_gradients());
        const nlohmann::json facts = run_facts(config_, data_, total_steps_, precision_facts(precision_, *device_));
        for (const auto& [key, value] : facts.items()) record_->fact(key, value);
        record_->event(state_.step ? "resume" : "start", {{"step", state_.step}});
        read_log(folder_ / "log.jsonl", {state_.epoch, state_.position, state_.step}, task_->names.parts, epoch_, bad_);
        log_.emplace(folder_ / "log.jsonl", state_.step, state_.step - (state_.position > 0));
        table_.emplace(folder_ / "metrics.csv", task_->names.columns(), state_.step - (state_.position > 0));
        if (ranks_.first()) writer_.emplace(folder_ / "checkpoints", config_.keep, saved_step_);
        LoaderOptions options = task_->loader(true);
        options.memory = &device_->host_memory();
        loader_ = std::make_unique<Loader>(data_, data_.part(Part::train), options, cache_.get());
        loader_->start(state_.epoch, state_.position);
        skipped_steps_ = task_->trainer().optimizer().state().skipped_steps;
        if (ranks_.leads) signals_.emplace();
        try {
            while (state_.step < total_steps_ || state_.position > 0)
                if (!run_epoch() || !end_epoch()) {
                    save(), finish_saving();
                    return stopped();
                }
        } catch (const ImagesLost&) {  // no step has seen a batch without them
            finish_pending_steps();
            if (!lost_in_a_row_) save(), finish_saving();
            record_->event("stop", {{"step", state_.step}});
            throw;
        }
        return finish();
    }

    bool is_stopped() const {
        // Several ranks stop at the step on which they have agreed.
        return stop_code_ || (ranks_.count == 1 && signals_->received()) ||
               (options_.stop_after_steps && state_.step == options_.stop_after_steps);
    }

    // Returns the images of all ranks. Rank 0 says when to save: all then finish the same steps.
    size_t agree(size_t images) {
        const bool due = ranks_.count > 1 && ranks_.first() && is_time_to_save();
        const Agreement all = ::agree(ranks_, signals_ ? &*signals_ : nullptr, images, due);
        stop_code_ = all.stop_code, save_now_ = save_now_ || all.save;
        return all.images;
    }

    // The remaining steps of this epoch; false if it was stopped before its end. Every step is logged on return.
    bool run_epoch() {
        while (state_.position < steps_per_epoch_ && !is_stopped()) {
            one_step();
            if (writer_) writer_->look();
            if (lost_in_a_row_ || state_.position == steps_per_epoch_ || !is_save_due()) continue;
            finish_pending_steps();
            if (!lost_in_a_row_) save();
        }
        finish_pending_steps();
        return state_.position == steps_per_epoch_;
    }

    bool is_time_to_save() const { return seconds_since(saved_) > 60 * config_.save_minutes; }
    bool is_save_due() const { return save_now_ || (ranks_.count == 1 && is_time_to_save()); }

    // Starts a step, or queues it, and logs earlier ones meanwhile, so that a GPU need not wait.
    void one_step() {
        const Clock::time_point begin = Clock::now();
        const Batch& batch = loader_->next();
        const size_t readable =
            agree(size_t(std::ranges::count_if(batch.labels, [](int32_t label) { return label >= 0; })));
        if (is_stopped()) return;
        empty_in_a_row_ = readable ? 0 : empty_in_a_row_ + 1;
        if (empty_in_a_row_ == kMaxLostSteps) fail_without_images();
        const ScheduleValue value = schedule_->at(state_.step);
        const double waited = ranks_.waited_seconds;
        task_->trainer().step(batch, value.learning_rate, value.momentum, state_.step + 1);
        ++state_.step, ++state_.position;
        pending_.push_back({state_.step, value, begin, readable, ranks_.waited_seconds - waited});
        log_steps(task_->trainer().arrived());
        if (!graphs_told_)
            graphs_told_ = record_steps_per_graph(*record_, *device_, task_->trainer(), options_.steps_per_graph,
                                                  [this](auto& text) { note(text); });
    }

    [[noreturn]] void fail_without_images() const {
        const std::vector<FailedImage> files = loader_->bad_files();
        fail(Fault::usage, "step {}: none of its images, nor of the steps before, could be read (first: {})",
             state_.step + 1, files.empty() ? "" : files[0].note());
    }

    void finish_pending_steps() { log_steps(task_->trainer().finish()); }

    // The time of a step is the time until the next one begins.
    void log_steps(const std::vector<StepStats>& arrived) {
        for (const StepStats& stats : arrived) {
            log_step(pending_[0], stats, pending_.size() > 1 ? pending_[1].begin : Clock::now());
            pending_.pop_front();
        }
    }

    void log_step(const PendingStep& s, StepStats stats, Clock::time_point end) {
        state_.loss_scale = stats.loss_scale;
        const bool lost = !std::isfinite(stats.loss) || stats.skipped_steps > skipped_steps_;
        skipped_steps_ = stats.skipped_steps;
        lost_in_a_row_ = lost ? lost_in_a_row_ + 1 : 0;
        stats.images = s.images, stats.waited = s.waited;
        stats.seconds = std::chrono::duration<double>(end - s.begin).count();
        stats.learning_rate = s.value.learning_rate, stats.momentum = s.value.momentum;
        step_seconds_ = step_seconds_ ? 0.9 * step_seconds_ + 0.1 * stats.seconds : stats.seconds;
        epoch_.add(stats, lost);
        record_->count(stats.images, stats.seconds);
        log_->append(step_line(s.step, state_.epoch, stats, lost, ranks_));
        if (events_.step)
            events_.step(stats, {s.step, total_steps_, state_.epoch + 1, config_.epochs,
                                 double(config_.batch) / step_seconds_, step_seconds_ * double(total_steps_ - s.step)});
        if (lost_in_a_row_ < kMaxLostSteps) return;
        record_->event("not finite", {{"step", s.step}});
        fail(Fault::not_finite,
             "step {}: loss or gradients were not finite for {} steps; lower --lr (now {}), the checkpoints in {} stay",
             s.step, lost_in_a_row_, config_.learning_rate, (folder_ / "checkpoints").string());
    }

    RunResult stopped() {
        agree(0);
        record_->event("stop", {{"step", state_.step}});
        return {.end = RunEnd::stopped, .exit_code = stop_code_, .step = state_.step, .bad_files = bad_.size()};
    }

    // Nothing if a signal came before its end.
    std::optional<Evaluated> evaluate(Part part) {
        Evaluated e = task_->evaluate(part, cache_.get(), [&] { return !signals_ || !signals_->received(); });
        if (!on_all_ranks(ranks_, e.complete)) return std::nullopt;
        require_images(data_, part, e.bad_files);
        report_bad_files(e.bad_files);
        if (!e.note.empty()) note(e.note);
        return e;
    }

    void report_bad_files(const std::vector<FailedImage>& files) {
        log_bad_files(files, *log_, bad_, folder_ / "bad_files.csv", [this](const std::string& text) { note(text); });
    }

    // Validates, logs and saves; false if a signal interrupted the validation, which the resumed run then repeats.
    bool end_epoch() {
        if (!epoch_.images && ranks_.first()) fail_without_images();
        const StateDict network = task_->trainer().averaged();
        require_finite(network, state_.step, config_.learning_rate);
        task_->load_result(network);
        const std::optional<Evaluated> validation = evaluate(Part::validation);
        if (!validation) return false;
        report_bad_files(of_all_ranks(ranks_, loader_->bad_files()));
        state_.position = 0;
        ++state_.epoch;
        const EpochReport report = log_epoch(*validation);
        if ((report.best && config_.select == "best") || state_.step == total_steps_ || is_save_due()) save();
        record_->event("epoch", {{"epoch", state_.epoch}, {"step", state_.step}});
        if (events_.epoch) events_.epoch(report);
        if (!cache_problem_told_ && !cache_->problem().empty()) note(cache_->problem()), cache_problem_told_ = true;
        return true;
    }

    EpochReport log_epoch(const Evaluated& validation) {
        EpochReport report{
            .epoch = state_.epoch, .epochs = config_.epochs, .metrics = {}, .seconds = epoch_.seconds, .best = false};
        report.waited = epoch_.waited;
        std::vector<double> values = task_->train_metrics(epoch_);
        values.insert(values.end(), validation.metrics.begin(), validation.metrics.end());
        epoch_ = {};
        if (!std::isnan(validation.objective)) {
            report.best = state_.best_step == 0 || validation.objective < state_.best_metric;
            if (report.best) state_.best_step = state_.step, state_.best_metric = validation.objective;
        }
        const std::vector<std::string> names = task_->names.columns();
        for (size_t i = 0; i < values.size(); ++i) report.metrics.emplace_back(names[i + 1], values[i]);
        table_->append(state_.step, epoch_row(report, schedule_->at(state_.step - 1).learning_rate));
        log_->append(epoch_line(state_.step, report));
        return report;
    }

    // The file is written while the training goes on.
    void save() {
        save_now_ = false;
        if (!ranks_.first()) return;
        finish_saving();
        StateDict network = task_->trainer().state();
        require_finite(network, state_.step, config_.learning_rate);
        state_.total_steps = total_steps_;
        state_.seed = config_.seed;
        state_.data_fingerprint = data_.fingerprint.hash;
        state_.config_hash = config_hash(config_);
        writer_->start(snapshot_of(task_->trainer(), std::move(network), state_));
        saved_ = Clock::now();
    }

    void finish_saving() {
        if (!writer_) return;
        ranks_.process->watched = false;  // a slow disk does not make a lost rank
        writer_->finish();
        ranks_.process->watched = true;
    }

    void resume() {
        std::vector<std::string> notes;
        const auto checkpoint = load_newest_checkpoint(folder_ / "checkpoints", notes);
        for (const std::string& text : notes) note(text);
        if (!checkpoint) return;
        require_same_run(checkpoint->state, config_, data_, total_steps_, folder_);
        state_ = checkpoint->state;
        saved_step_ = state_.step;
        restore_trainer(task_->trainer(), *checkpoint);
        note(fmt::format("resumed at step {} of {}, from {}", state_.step, total_steps_, checkpoint->path.string()));
    }

    // The last step was saved before: from here on the trainer may hold the best weights instead.
    RunResult finish() {
        finish_saving();
        const bool best = config_.select == "best" && state_.best_step && state_.best_step != state_.step;
        if (best && ranks_.first()) try {
                restore_trainer(task_->trainer(),
                                load_checkpoint(checkpoint_path(folder_ / "checkpoints", state_.best_step)));
                note(fmt::format("the best weights by {} are those of step {}", task_->names.objective,
                                 state_.best_step));
            } catch (const Error& e) {
                note(fmt::format("the last weights are used, because the best ones cannot be read: {}", e.what()));
            }
        if (best) share(ranks_, task_->trainer(), state_);
        StateDict network = task_->trainer().averaged();
        task_->load_result(network);
        RunResult result{.end = RunEnd::finished, .step = state_.step};
        for (const Part part : {Part::validation, Part::test}) {
            const std::optional<Evaluated> e = evaluate(part);
            if (!e) return stopped();
            for (size_t i = 0; i < e->metrics.size(); ++i)
                result.metrics.emplace_back(fmt::format("{}_{}", part_name(part), task_->names.evaluation[i]),
                                            e->metrics[i]);
        }
        const Evaluated check =
            check_of_bf16(*task_, ranks_, network, cache_.get(), [&] { return !signals_ || !signals_->received(); });
        if (!on_all_ranks(ranks_, check.complete)) return stopped();
        if (!check.note.empty()) note(check.note);
        ranks_.process->watched = false;
        if (!ranks_.first()) return result;
        task_->write_model(folder_ / "model.safetensors", std::move(network), state_.step);
        task_->write_evaluation(folder_ / "evaluation.json");
        std::vector<FailedImage> bad;
        for (const auto& [path, file] : bad_) bad.push_back(file);
        write_bad_files(folder_ / "bad_files.csv", bad);
        record_->fact("waited_for_pictures_seconds", loader_->counts().waited_seconds);
        record_->fact("bad_files", result.bad_files = bad.size());
        record_->fact("model_hash", folder_.model_hash());
        record_->fact("finished", true);
        record_->event("finish", {{"step", state_.step}});
        return result;
    }

    TrainConfig config_;
    bool cache_problem_told_ = false, save_now_ = false, graphs_told_ = false;
    int stop_code_ = 0;  // of the signal that some rank received
    const RunOptions& options_;
    const RunEvents& events_;
    Ranks alone_, &ranks_;
    RunFolder folder_;
    Dataset data_;
    size_t steps_per_epoch_ = 0, total_steps_ = 0, saved_step_ = 0, lost_in_a_row_ = 0, empty_in_a_row_ = 0;
    std::unique_ptr<Device> device_;
    std::unique_ptr<GpuSums> gpu_sums_;
    std::unique_ptr<Arena> arena_;
    PrecisionChoice precision_;
    std::unique_ptr<Task> task_;  // recorded steps hold what gpu_sums_ has
    std::unique_ptr<Schedule> schedule_;
    std::unique_ptr<Cache> cache_;
    std::optional<BackgroundWriter> writer_;
    TrainingState state_;
    std::optional<RunRecord> record_;
    std::optional<RunLog> log_;
    std::optional<MetricsTable> table_;
    std::optional<StopSignals> signals_;
    std::unique_ptr<Loader> loader_;
    std::map<std::string, FailedImage> bad_;  // by path
    StepStats epoch_;                         // sums of the current epoch
    std::deque<PendingStep> pending_;
    Clock::time_point saved_ = Clock::now();
    double step_seconds_ = 0, skipped_steps_ = 0;  // a running mean; on the device
};

}  // namespace

RunResult train_as_rank(TrainConfig config, const RunOptions& options, const RunEvents& events) {
    return Run(std::move(config), options, events)();
}
