// A trained classifier: images in, probabilities out; forward only, normalization folded into the convolutions.
#pragma once

#include "engine/program.h"
#include "models/model.h"

struct ClassifierConfig {
    Model model;
    size_t batch, size;  // images are (size, size)
    Normalize normalize;
    DType precision = DType::f32;
    bool eager = false;
};

class Classifier {
public:
    Classifier(Device& device, Arena& arena, const ClassifierConfig& config);

    // `state`: as trained, with the statistics of the normalization; `where` names it in messages. prepare_load()
    // checks it; the function that it returns copies the numbers and does the setup of the first run.
    std::function<void()> prepare_load(StateDict state, const std::string& where);
    void load(const StateDict& state, const std::string& where) { prepare_load(state, where)(); }

    // images: (count, size, size, 3), count at most `batch` -> probabilities (count, classes)
    std::vector<float> run(std::span<const uint8_t> images);
    // Also sets `losses` to the cross entropy of each image with its label, as in training; 0 for label -1.
    std::vector<float> run(std::span<const uint8_t> images, std::span<const int32_t> labels,
                           std::vector<float>& losses);

    const ClassifierConfig& config() const { return config_; }
    Program& program() { return program_; }

private:
    struct Values {
        Value images, transform, color, labels, probabilities, losses;
    };

    ClassifierConfig config_;
    Values in_;
    std::unique_ptr<Graph> graph_;  // until the program takes it
    Parameters parameters_;
    Program program_;
};
