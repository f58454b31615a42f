// One training step: network, loss, gradients, optimizer and the EMA of the weights as one program that is replayed.
#pragma once

#include <chrono>

#include "base/ranks.h"
#include "data/loader.h"
#include "engine/program.h"
#include "train/loss.h"
#include "train/optimizer.h"
#include "train/step_queue.h"

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
    bool join_gradients = false;  // engine/ops/join_gradients.h; not on the CPU
    // How many steps a GPU runs as one recorded graph (single ones if a batch has no multiple of four pixels). 0: 8 or
    // 1, whichever the first steps show to be faster, where what a step reads is small; else 1. Several ranks:
    // always 1.
    size_t steps_per_graph = 1;
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
    StepStats stats();  // of the last step; waits for it
    // Of steps that were not returned before, in their order: of all but the last graph of steps, which may still run
    // on a GPU; and of all, for which finish() starts what is queued, and waits.
    std::vector<StepStats> arrived();
    std::vector<StepStats> finish();
    size_t steps_per_graph() const { return grouped_ ? queue_->capacity() : 1; }  // now
    bool comparing() const { return comparing_; }  // steps one by one with graphs: see TrainerConfig::steps_per_graph
    bool joins_gradients();                        // TrainerConfig::join_gradients, and the network has such gradients

    // Behind finish() or stats(). The network as it is now, with normalization, in the layout of weight files.
    StateDict state() const;
    StateDict averaged() const;  // with the EMA of the weights, if there is one; this is validated and kept
    void load(const StateDict& state, const std::string& where);  // also restarts the EMA

    Optimizer& optimizer() { return optimizer_; }
    const Parameters& parameters() const { return parameters_; }
    Program& program() { return program_; }
    size_t memory_bytes() const;  // planned: parameters, gradients, optimizer, inputs, arena

private:
    std::unique_ptr<Graph> trace(size_t channels);
    std::unique_ptr<Graph> with_gradients();
    void write(void* to, Piece piece);
    template <class T>
    void write(std::string_view input, std::span<const T> values);
    std::vector<Piece> results() const;
    void start_queued();
    void read_back(std::span<const Piece> pieces, size_t steps);
    std::vector<StepStats> stats_of(size_t start) const;
    std::vector<StepStats> untold(size_t start);
    void open_queue(Device& device, size_t result_bytes);
    void compare_graphs();
    void stop_comparing(bool grouped);
    void require_finished() const;
    StateDict completed(StateDict downloaded) const;

    TrainerConfig config_;
    TracedLoss loss_;
    std::map<std::string, Value, std::less<>> inputs_;
    std::unique_ptr<Graph> graph_;  // until the program takes it
    Parameters parameters_;
    Optimizer optimizer_;
    Program program_;
    struct Started {  // together
        size_t steps = 0;
        bool told = false;
    } started_[2];                        // even and odd starts
    std::unique_ptr<Readback> shown_[2];  // of them
    size_t starts_ = 0;
    std::unique_ptr<StepQueue> queue_;  // where several steps are one graph, or may come to be
    bool grouped_ = false;              // steps go through it
    bool comparing_ = false;            // both ways, by their time
    size_t compared_ = 0;               // steps
    size_t interrupted_ = 0;            // comparisons, by the end of an epoch, say
    double alone_ = 0;                  // seconds of as many steps, one by one, as a graph holds
    std::chrono::steady_clock::time_point compared_since_ = {};
    StateDict frozen_;  // with fold_frozen: the state before its normalization was folded
};
