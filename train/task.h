// What a run trains: all that differs between a classifier and a detector, behind one interface for train/run.cpp.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "data/loader.h"
#include "engine/program.h"
#include "models/state.h"
#include "train/config.h"
#include "train/optimizer.h"

using Note = std::function<void(const std::string&)>;  // one line for people

struct TaskContext {  // where the networks live
    Device& device;
    Arena& arena;
    DType precision;
    bool eager;
};

struct StepOutcome {
    double loss;
    std::vector<double> parts;  // as TaskNames::step has them
    float loss_scale, skipped_steps;
};

struct EpochSums {  // over the steps of an epoch so far; those with a lost loss count their images and time only
    double loss = 0, seconds = 0;
    std::vector<double> parts = {};  // empty without steps
    size_t steps = 0, images = 0;

    void add(const std::optional<StepOutcome>& outcome, size_t images, double seconds);  // nothing: the loss was lost
    double mean(double sum) const;                                                       // per step; NaN without steps
};

struct Evaluated {
    bool whole;                   // it was not stopped in the middle
    std::vector<double> figures;  // as TaskNames::evaluation has them; NaN where there were no images
    double objective;             // what `select = best` makes small; NaN where there were no images
    std::vector<FailedImage> bad_files;
    std::string note = "";  // one line for people
};

// The columns of metrics.csv are train_X and validation_X.
struct TaskNames {
    std::vector<std::string> step;        // figures of a step beside the loss, in the log
    std::vector<std::string> train;       // of an epoch
    std::vector<std::string> evaluation;  // of images that were not trained on
    std::string objective_name;           // what the objective is, for people

    std::vector<std::string> columns() const;
};

class Task {
public:
    Task(const TrainConfig& config, TaskNames names) : names(std::move(names)), config_(config) {}
    virtual ~Task() = default;

    const TaskNames names;

    virtual Dataset open_data() = 0;
    // `data` must outlive the task. Whatever the weights to start from do not fit is noted.
    virtual void build(const TaskContext& place, const Dataset& data, const Note& note) = 0;
    virtual LoaderOptions loader(bool training) const = 0;

    virtual void step(const Batch& batch, double rate, double momentum, size_t step) = 0;
    virtual StepOutcome outcome() const = 0;           // of the last step; waits for it
    virtual StepOutcome previous_outcome() const = 0;  // of the step before it: a GPU goes on with the last one
    virtual std::vector<double> train_figures(const EpochSums& sums) const = 0;

    // What a checkpoint holds: the network and the arrays of the optimizer.
    virtual StateDict state() const = 0;
    virtual void load(const StateDict& state, const std::string& where) = 0;
    virtual Optimizer& optimizer() = 0;
    virtual const Parameters& parameters() const = 0;
    virtual Program& program() = 0;

    virtual StateDict result() const = 0;                   // the weights to validate and to keep
    virtual void load_result(const StateDict& result) = 0;  // for evaluate() from here on
    virtual Evaluated evaluate(Part part, Cache* cache, const std::function<bool()>& go_on) = 0;
    // After evaluate(), because the file may say which threshold is good.
    virtual void write_model(const std::filesystem::path& path, StateDict result, uint64_t steps) const = 0;
    virtual void write_evaluation(
        const std::filesystem::path& path) const = 0;  // what evaluate() last found on each part

protected:
    const TrainConfig& config_;
};

double time_of_a_step(Task& task);  // seconds; on grey images and at rate 0, so only for a plan

// `config` must outlive the task, and says which.
std::unique_ptr<Task> make_task(const TrainConfig& config);
std::unique_ptr<Task> make_classify_task(const TrainConfig& config);
std::unique_ptr<Task> make_detect_task(const TrainConfig& config);
