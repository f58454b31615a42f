// A trained network that says what is on images: forward only, normalization folded into the convolutions.
#pragma once

#include "engine/ops.h"
#include "engine/program.h"
#include "models/resnet.h"
#include "models/state.h"

struct ClassifierConfig {
    ResNetConfig model;
    size_t batch, size;  // images are (size, size)
    Normalize normalize;
    DType precision = DType::f32;
    bool eager = false;
};

class Classifier {
public:
    Classifier(Device& device, Arena& arena, const ClassifierConfig& config);

    // `state` as trained: with the normalization's statistics. In two parts: this checks, and what it returns moves the
    // numbers and does what else a first run would do.
    std::function<void()> prepare_load(StateDict state, const std::string& where);
    void load(const StateDict& state, const std::string& where) { prepare_load(state, where)(); }

    // images: (count, size, size, 3), count at most `batch` -> probabilities (count, classes)
    std::vector<float> run(std::span<const uint8_t> images);

    const ClassifierConfig& config() const { return config_; }
    Program& program() { return program_; }

private:
    struct Inputs {
        Value images, transform, color, probabilities;
    };

    ClassifierConfig config_;
    Inputs in_;
    std::unique_ptr<Graph> graph_;  // until the program takes it
    Parameters parameters_;
    Program program_;
};
