// The optimizer of a run: its arrays beside those of Parameters, its nodes at the end of the training graph, and the
// few numbers that change from step to step, in device memory.
#pragma once

#include "engine/ops.h"
#include "engine/parameters.h"

struct OptimizerConfig {
    enum class Kind { sgd, adam } kind = Kind::sgd;
    float weight_decay = 1e-4f;
    bool decay_vectors = false;  // also scales, shifts and biases
    bool nesterov = false;       // sgd
    AdamForm form = AdamForm::torch;
    float beta2 = 0.999f, epsilon = 1e-8f;
    bool decoupled = false;  // adam: AdamW
    float loss_scale = 1;    // what it starts with; grows and shrinks when growth_interval is not 0 (fp16)
    float growth_interval = 0;
    // A moving average of parameters and statistics, with decay `average` * (1 - exp(-step / ramp)); 0: none.
    float average = 0, average_ramp = 2000;
};

class Optimizer {
public:
    Optimizer(Parameters& parameters, const OptimizerConfig& config);

    Value loss_scale(Graph& graph) const;  // (1): the gradient of the loss, with which gradients() starts
    void append(Graph& graph) const;       // the step itself, after the gradients

    // Before each step; `step` counts from 1 (Adam's bias correction).
    void set(double learning_rate, double momentum, size_t step);
    StepState state() const;  // waits for the device
    const Buffer& step_state() const { return state_; }

    void reset_ema();                                                   // as the parameters are now
    std::vector<float> averaged(const Parameters::Entry& entry) const;  // the parameter itself where no average is kept

    // What a checkpoint has to hold beside the parameters: named float arrays, in one fixed order.
    struct Slot {
        std::string name;
        const Buffer* memory;
    };
    std::vector<Slot> slots() const;

private:
    Value external(Graph& graph, const char* name, void* data, DType dtype, const ParameterGroup& group) const;

    Parameters& parameters_;
    OptimizerConfig config_;
    Buffer state_;
    Buffer first_[2], second_[2];  // of ParameterRole::weight and ParameterRole::vector
    Buffer average_[3], average_rate_;
    StepState last_;  // as the host wrote it
};
