// One training step of a detector: network, loss, gradients, optimizer and the average of the weights as one program
// that is replayed.
#pragma once

#include "models/yolov5_start.h"
#include "train/training_program.h"

struct DetectTrainerConfig {
    YoloConfig model;
    size_t batch, height, width;  // images arrive as (height, width): multiples of model.largest_stride()
    size_t most_boxes = 100;      // per image
    Normalize normalize = {{1 / 255.0f, 1 / 255.0f, 1 / 255.0f}, {0, 0, 0}};
    OptimizerConfig optimizer;    // .average: decay of the average of the weights, 0 for none
    DetectLossOptions loss = {};  // gains as for three levels, 640 pixels and 80 classes; scaled to this network
    size_t frozen_layers = 0;     // model.0 up to this one keep their weights: 10 (P5) or 12 (P6) is the backbone
    DType precision = DType::f32;
    bool eager = false;
};

// One batch on the host.
struct DetectTrainerBatch {
    std::span<const uint8_t> images;          // (batch, height, width, 3)
    std::span<const float> transform, color;  // (batch, 6), (batch, 2): kernels/image.h
    // (batch, most_boxes, 5): class, centre x, centre y, width, height in pixels of the network's input, that is after
    // `transform`; class -1 in rows that hold none
    std::span<const float> boxes;
};

struct DetectFigures {
    float loss;                      // of the batch: batch * (box + objectness + classes)
    float box, objectness, classes;  // means, with their gains
    float matches;                   // cells and anchors that a box was assigned to
    float loss_scale, skipped_steps;
};

class DetectTrainer {
public:
    // `initial`: a state with normalization, as initialize_yolov5(), retarget_yolov5() or state() gives it.
    DetectTrainer(Device& device, Arena& arena, const DetectTrainerConfig& config, const StateDict& initial);

    // `step` counts from 1 over the whole run.
    void step(const DetectTrainerBatch& batch, double learning_rate, double momentum, size_t step);
    DetectFigures figures() const;  // of the last step; waits for it
    // Of the step before the last one: on a GPU the last one may still run. Nothing before the second step.
    std::optional<DetectFigures> previous_figures() const;

    StateDict state() const;  // the network as it is now, with normalization, in the layout of weight files
    StateDict averaged()
        const;  // the average of the weights: what to validate and to ship; state() where there is none
    void load(const StateDict& state, const std::string& where);  // the average starts there too

    Optimizer& optimizer() { return training_.optimizer(); }  // slots() hold the average too
    const Parameters& parameters() const { return training_.parameters(); }
    Program& program() { return training_.program(); }
    size_t memory_bytes() const { return training_.memory_bytes(); }

private:
    TracedLoss trace(size_t channels);

    DetectTrainerConfig config_;
    Value images_, transform_, color_, boxes_;
    TrainingProgram training_;
};

// The gains of a loss for a network and its input: box and classes by the number of levels, classes also by how many
// there are, objectness also by the input's area, and the balance of the levels. Three levels, 80 classes and 640 x 640
// pixels change nothing.
DetectLossOptions scaled_loss(const DetectLossOptions& nominal, const YoloConfig& model, size_t height, size_t width);
