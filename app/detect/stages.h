// The classifiers of a run that sees each image once: a quality model on whole images, a species model on crops.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/fit.h"

// A classifier, or a stand-in in tests.
struct ClassStage {
    Fit fit = {};
    size_t batch = 16, classes = 0;
    // (count, size, size, 3) pixels -> probabilities (count, classes); empty: the run has no such stage.
    std::function<std::vector<float>(std::span<const uint8_t>)> network = {};
};

// Collects inputs of many images, so that the network runs whole batches. What an image gets does not depend on its
// neighbours.
class ClassQueue {
public:
    using Answers = std::vector<std::vector<float>>;  // probabilities of each input of an image

    // `done` gets each image once all of its inputs have been classified.
    ClassQueue(const ClassStage& stage, std::function<void(size_t file, const Answers&)> done)
        : stage_(stage), done_(std::move(done)) {}

    // `inputs`: (count, size, size, 3), all of one image; `name` is for messages. Fault::not_finite if numbers
    // overflow.
    void add(size_t file, const std::string& name, std::span<const uint8_t> inputs);
    void flush();  // also classifies a batch that is not full

private:
    struct Waiting {
        size_t file, missing;
        std::string name;
        Answers answers;
    };
    void run();

    const ClassStage& stage_;
    const std::function<void(size_t, const Answers&)> done_;
    std::vector<uint8_t> pixels_;
    std::vector<Waiting> waiting_;  // in order; the first ones get the next answers
};
