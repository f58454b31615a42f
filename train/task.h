// The interface of a run to what it trains: everything that differs between a classifier and a detector.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "predict/precision_check.h"
#include "train/config.h"
#include "train/trainer.h"

using Note = std::function<void(const std::string&)>;  // one line for people

struct TaskContext {  // device and memory of the networks
    Device& device;
    Arena& arena;
    DType precision;
    bool eager;
    size_t steps_per_graph;  // TrainerConfig, as the next
    bool join_gradients;
};

struct Evaluated {
    bool complete;                     // not stopped in the middle
    std::vector<double> metrics = {};  // as in TaskNames::evaluation; NaN without images
    double objective = 0;              // minimised by `select = best`; NaN without images
    std::vector<FailedImage> bad_files = {};
    std::string note = "";  // one line for people
};

// The columns of metrics.csv are train_X and validation_X.
struct TaskNames {
    std::vector<std::string> parts;       // StepStats::parts
    std::vector<std::string> train;       // metrics of an epoch
    std::vector<std::string> evaluation;  // metrics of validation and test images
    std::string objective;                // name of the objective, for people

    std::vector<std::string> columns() const;
};

class Task {
public:
    Task(const TrainConfig& config, Ranks& ranks, TaskNames names)
        : names(std::move(names)), config_(config), ranks_(ranks) {}
    virtual ~Task() = default;

    const TaskNames names;

    virtual Dataset open_data(bool links) = 0;  // links: as in DatasetOptions
    // Makes the trainer and the network that evaluates. `data` must outlive the task. Initial weights that do not fit
    // the model are reported in a note.
    virtual void build(const TaskContext& context, const Dataset& data, const Note& note) = 0;
    Trainer& trainer() { return *trainer_; }
    virtual LoaderOptions loader(bool training) const = 0;                        // training: of the share of this rank
    virtual std::vector<double> train_metrics(const StepStats& epoch) const = 0;  // as in TaskNames::train

    // Sets the weights of evaluate(), as Trainer::averaged() returns them.
    virtual void load_result(const StateDict& result) = 0;
    // Each rank evaluates a share of the images; the answer is that of all ranks, except for `complete`.
    virtual Evaluated evaluate(Part part, Cache* cache, const std::function<bool()>& keep_going) = 0;
    // Compares the answers to the validation images with those in bf16, or in float32 for a network that trains in
    // bf16: predict/precision_check.h. After evaluate(), as the next two. Does nothing on other devices than
    // cpu and where there are too few images.
    virtual Evaluated check_bf16(const StateDict& result, Cache* cache, const std::function<bool()>& keep_going) = 0;
    // After evaluate(), because the file may hold a threshold chosen by it.
    virtual void write_model(const std::filesystem::path& path, StateDict result, uint64_t steps) const = 0;
    virtual void write_evaluation(const std::filesystem::path& path) const = 0;  // of the last evaluate() of each part

protected:
    std::vector<uint32_t> share_of(const std::vector<uint32_t>& samples) const;  // that this rank evaluates
    static Evaluated nothing_checked() { return {.complete = true}; }
    Evaluated checked(PrecisionCheck check, std::string weights);
    size_t batch() const { return size_t(config_.batch) / ranks_.count; }  // images per step of this rank

    const TrainConfig& config_;
    Ranks& ranks_;
    std::unique_ptr<Trainer> trainer_;
    std::string bf16_check_ = {};  // of the last check_bf16(), for the model's file
};

// Task::check_bf16(). What goes wrong there in one process is a note, because the training does not depend on it.
Evaluated check_of_bf16(Task& task, Ranks& ranks, const StateDict& result, Cache* cache,
                        const std::function<bool()>& keep_going);

// In seconds; uses grey images and learning rate 0. Measures for `seconds`, at least two steps.
double time_of_a_step(Task& task, Ranks& ranks, double seconds = 3);

// The task that `config` names; `config` and `ranks` must outlive it.
std::unique_ptr<Task> make_task(const TrainConfig& config, Ranks& ranks);
std::unique_ptr<Task> make_classify_task(const TrainConfig& config, Ranks& ranks);
std::unique_ptr<Task> make_detect_task(const TrainConfig& config, Ranks& ranks);
