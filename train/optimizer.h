// The optimizer of a run: its arrays beside those of Parameters, its nodes at the end of the training graph, and the
// few numbers that change from step to step, in device memory.
#pragma once

#include <functional>

#include "engine/ops.h"
#include "engine/parameters.h"

struct OptimizerConfig {
    std::string rule = "sgd";  // engine/ops/optimizer.cpp
    float weight_decay = 1e-4f;
    bool decay_vectors = false;             // also decay scales, shifts and biases
    bool nesterov = false;                  // sgd
    AdamForm form = AdamForm::torch;        // adam, adamw
    float beta2 = 0.999f, epsilon = 1e-8f;  // adam, adamw
    float loss_scale = 1;                   // initial; adapts if growth_interval is not 0 (fp16)
    float growth_interval = 0;
    // An exponential moving average (EMA) of parameters and statistics, with decay ema_decay * (1 - exp(-step /
    // ema_ramp)); 0: none.
    float ema_decay = 0, ema_ramp = 2000;
};

class Optimizer {
public:
    Optimizer(Parameters& parameters, const OptimizerConfig& config);

    Value loss_scale(Graph& graph) const;  // (1): the gradient of the loss, with which gradients() starts
    // Adds the step itself. It reads the gradients at their addresses, which is not an edge of the graph: call it after
    // gradients(), because nodes run in the order in which they are added.
    void append(Graph& graph) const;

    // Before each step: `step` counts from 1 (Adam's bias correction). Uploads, or what `write` does instead.
    using Write = std::function<void(void* to, Piece piece)>;
    void set(double learning_rate, double momentum, size_t step, const Write& write);
    void set(double learning_rate, double momentum, size_t step);
    StepState state() const;  // waits for the device
    const Buffer& step_state() const { return state_; }

    void reset_ema();                                                   // to the current parameters
    std::vector<float> averaged(const Parameters::Entry& entry) const;  // the parameter itself without EMA

    // The arrays of a checkpoint beside the parameters: named floats, in a fixed order.
    struct Slot {
        std::string name;
        const Buffer* memory;
    };
    std::vector<Slot> slots() const;

private:
    Value external(Graph& graph, const char* name, void* data, DType dtype, const ParameterGroup& group) const;

    Parameters& parameters_;
    OptimizerConfig config_;
    const OptimizerRule& rule_;
    Buffer state_;
    Buffer moments_[2][2];  // of ParameterRole::weight and ParameterRole::norm_or_bias: m and v, or the momentum of SGD
    Buffer ema_[3], ema_rate_;
    StepState last_;  // as the host wrote it
};
