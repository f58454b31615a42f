// One training step of a classifier: network, loss, gradients and optimizer as one program that is replayed.
#pragma once

#include "models/resnet.h"
#include "train/training_program.h"

struct TrainerConfig {
    ResNetConfig model;
    size_t batch, size;  // images arrive as (size, size)
    Normalize normalize;
    OptimizerConfig optimizer;
    float label_smoothing = 0;
    std::vector<float> class_weights;  // empty: all alike
    DType precision = DType::f32;
    bool freeze_backbone = false;  // trains fc only; the rest keeps its weights and its statistics
    bool eager = false;
};

// One batch on the host. A label of -1 marks an image that does not count.
struct TrainerBatch {
    std::span<const uint8_t> images;          // (batch, size, size, 3)
    std::span<const float> transform, color;  // (batch, 6), (batch, 2): kernels/image.h
    std::span<const int32_t> labels;          // (batch)
};

struct StepFigures {
    float loss;
    float correct, correct_in_five;  // rows
    float loss_scale, skipped_steps;
};

class Trainer {
public:
    // `initial`: a state with torchvision's names, as initialize_state() or a file gives it.
    Trainer(Device& device, Arena& arena, const TrainerConfig& config, const StateDict& initial);

    // `step` counts from 1 over the whole run.
    void step(const TrainerBatch& batch, double learning_rate, double momentum, size_t step);
    StepFigures figures() const;  // of the last step; waits for it
    // Of the step before the last one: on a GPU the last one may still run. Nothing before the second step.
    std::optional<StepFigures> previous_figures() const;

    StateDict state() const;  // the network as it is now, in the layout of weight files
    void load(const StateDict& state, const std::string& where);

    Optimizer& optimizer() { return training_.optimizer(); }
    const Parameters& parameters() const { return training_.parameters(); }
    Program& program() { return training_.program(); }
    size_t memory_bytes() const { return training_.memory_bytes(); }

private:
    TracedLoss trace(size_t channels);

    TrainerConfig config_;
    Value images_, transform_, color_, labels_, class_weight_;
    StateDict frozen_;  // what a frozen backbone looked like before its normalization was folded
    TrainingProgram training_;
};

// A new network, as its declarations say.
StateDict initialize_state(const ResNetConfig& model, uint64_t seed);
