// A trained classifier: images in, probabilities out; forward only, normalization folded into the convolutions.
#pragma once

#include "engine/program.h"
#include "models/model.h"

struct ClassifierConfig {
    Model model;
    size_t batch, size;  // images are (size, size)
    Normalize normalize;
    DType precision = DType::f32;  // i8: the model is quantized
    bool eager = false;
    std::function<void(const Step&)> after_step = {};  // ProgramOptions
};

class Classifier {
public:
    struct Started {
        size_t run, images;
    };
    struct Result {
        std::vector<float> probabilities;  // (count, classes)
        std::vector<float> losses;         // (count)  cross entropy with the label, as in training; 0 for label -1
    };

    Classifier(Device& device, Arena& arena, const ClassifierConfig& config);

    // `state`: as trained, with the statistics of the normalization; `where` names it in messages. prepare_load()
    // checks it; the function that it returns copies the numbers and does the setup of the first run.
    std::function<void()> prepare_load(StateDict state, const std::string& where);
    void load(const StateDict& state, const std::string& where) { prepare_load(state, where)(); }

    // images: (count, size, size, 3), count at most `batch`; with labels (count), finish() gives losses. The next batch
    // may be started before this one is finished. Images in Device::host_memory() are not copied on the host: they must
    // stay as they are until the batch is finished, or the next but one is started.
    Started start(std::span<const uint8_t> images, std::span<const int32_t> labels = {});
    Result finish(const Started&);
    std::vector<float> run(std::span<const uint8_t> images) { return finish(start(images)).probabilities; }

    const ClassifierConfig& config() const { return config_; }
    Program& program() { return program_; }
    Device& device() { return device_; }

private:
    struct Values {
        Value images, transform, color, labels, probabilities, losses;
    };

    Device& device_;
    ClassifierConfig config_;
    Values in_;
    std::unique_ptr<Graph> graph_;  // until the program takes it
    Parameters parameters_;
    Program program_;
};
