// What every trainer is made of: a traced loss, its gradients, the optimizer's step as one program, and figures that
// are read back while the device goes on.
#pragma once

#include <optional>

#include "engine/program.h"
#include "models/state.h"
#include "train/optimizer.h"

struct TracedLoss {
    std::unique_ptr<Graph> graph;
    Value loss;                  // (1)
    std::vector<Value> figures;  // float values for people, the loss among them
};

struct TrainingOptions {
    OptimizerConfig optimizer;
    std::function<bool(const std::string&)> trained = [](const std::string&) { return true; };
    ProgramOptions program = {};
};

class TrainingProgram {
public:
    TrainingProgram(Device& device, Arena& arena, TracedLoss traced, const TrainingOptions& options);

    // `step` counts from 1 over the whole run; the inputs of program() are written before.
    void step(double learning_rate, double momentum, size_t step);

    struct Figures {
        std::vector<float> values;  // those of TracedLoss, one behind the other
        StepState state;
    };
    Figures figures() const;  // of the last step; waits for it
    // Of the step before the last one: on a GPU the last one may still run. Nothing before the second step.
    std::optional<Figures> previous_figures() const;

    Optimizer& optimizer() { return optimizer_; }
    const Optimizer& optimizer() const { return optimizer_; }
    Parameters& parameters() { return parameters_; }
    const Parameters& parameters() const { return parameters_; }
    Program& program() { return program_; }
    size_t memory_bytes() const;  // planned: parameters, gradients, optimizer, inputs, arena

private:
    std::unique_ptr<Graph> with_gradients(TracedLoss traced);
    Figures figures_of(size_t step) const;

    std::vector<Value> shown_;
    Parameters parameters_;
    Optimizer optimizer_;
    Program program_;
    std::unique_ptr<Readback> figures_[2];  // of even and of odd steps
    size_t steps_ = 0;
};
