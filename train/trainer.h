// One training step: network, loss, gradients, optimizer and the EMA of the weights as one program that is replayed.
#pragma once

#include <optional>

#include "base/ranks.h"
#include "data/loader.h"
#include "engine/program.h"
#include "train/loss.h"
#include "train/optimizer.h"

struct TrainerConfig {
    Model model;
    size_t batch, height, width;  // images arrive as (height, width), multiples of model.stride
    Normalize normalize;
    Loss loss;
    OptimizerConfig optimizer = {};
    std::function<bool(const std::string&)> trained = [](const std::string&) { return true; };  // by parameter name
    // Frozen layers run as in inference: normalization folded, statistics fixed.
    bool fold_frozen = false;
    DType precision = DType::f32;
    bool eager = false;
    Ranks* ranks = nullptr;  // that train together, each on its share of a batch; null: this process alone
    bool sync_batch_norm = false;
};

class Trainer {
public:
    // `initial`: a state with normalization, as initialize_state() or a weight file gives it.
    Trainer(Device& device, Arena& arena, const TrainerConfig& config, const StateDict& initial);

    // Inputs are found by name: images, transform, color, and labels or boxes, as the loss needs. `step`
    // counts from 1 over the whole run.
    void step(const Batch& batch, double learning_rate, double momentum, size_t step);
    StepStats stats() const;  // of the last step; waits for it
    // Of the step before the last, which may still run on a GPU. Nothing before the second step.
    std::optional<StepStats> previous_stats() const;

    StateDict state() const;     // the network as it is now, with normalization, in the layout of weight files
    StateDict averaged() const;  // with the EMA of the weights, if there is one; this is validated and kept
    void load(const StateDict& state, const std::string& where);  // also restarts the EMA

    Optimizer& optimizer() { return optimizer_; }
    const Parameters& parameters() const { return parameters_; }
    Program& program() { return program_; }
    size_t memory_bytes() const;  // planned: parameters, gradients, optimizer, inputs, arena

private:
    std::unique_ptr<Graph> trace(size_t channels);
    std::unique_ptr<Graph> with_gradients();
    template <class T>
    void write(std::string_view input, std::span<const T> values);
    StepStats stats_of(size_t step) const;
    StateDict completed(StateDict downloaded) const;

    TrainerConfig config_;
    TracedLoss loss_;
    std::map<std::string, Value, std::less<>> inputs_;
    std::unique_ptr<Graph> graph_;  // until the program takes it
    Parameters parameters_;
    Optimizer optimizer_;
    Program program_;
    std::unique_ptr<Readback> shown_[2];  // of even and of odd steps
    size_t steps_ = 0;
    StateDict frozen_;  // with fold_frozen: the state before its normalization was folded
};
