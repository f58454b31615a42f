// Small networks of every kind, and how they are quantized.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "engine/program.h"
#include "models/files/detector_file.h"
#include "models/int8.h"
#include "models/resnet.h"
#include "predict/quantize.h"

inline std::vector<float> random_floats(size_t n, uint64_t seed, float low, float high) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<float> number(low, high);
    std::vector<float> values(n);
    for (float& v : values) v = number(random);
    return values;
}

struct Network {
    std::string name;
    Model model;
    StateDict state;  // folded
};

// With statistics and scales as a trained network may have them: the last scale of each block starts as 0.
inline StateDict lively(StateDict state) {
    uint64_t seed = 1;
    for (auto& [name, tensor] : state) {
        const size_t n = tensor.values.size();
        if (name.find("bn") != name.npos || name.find("downsample.1") != name.npos) {
            if (name.ends_with("weight")) tensor.values = random_floats(n, ++seed, 0.4f, 1.2f);
            if (name.ends_with("bias")) tensor.values = random_floats(n, ++seed, -0.5f, 0.5f);
            if (name.ends_with("running_mean")) tensor.values = random_floats(n, ++seed, -0.2f, 0.2f);
        }
    }
    return state;
}

// The networks of the golden files blow up differences: each layer's are larger than those of the layer before.
inline StateDict calmer(StateDict state) {
    for (auto& [name, tensor] : state)
        if (name.ends_with(".conv.weight"))
            for (float& w : tensor.values.mutable_data()) w *= 0.7f;
    return state;
}

inline Model small_resnet() { return make_model(ResNetConfig{.depth = 50, .classes = 4, .width = 16}); }

inline std::vector<Network> networks() {
    std::vector<Network> all;
    Model resnet = small_resnet();
    StateDict folded = fold_batch_norm(lively(initialize_state(resnet, 1)), resnet.folding);
    resnet.folding.conv_bn.clear();
    all.push_back({"resnet", resnet, std::move(folded)});
    for (const char* file : {"yolo/yolov5_p6_tiny", "yolo11/yolo11_tiny_best", "yolo11/yolov9c_cedar_tiny"}) {
        const DetectorModel model = read_detector(std::filesystem::path(TUNDRA_TESTS "/golden") / file / "model.pt");
        all.push_back({file, model.network(), calmer(model.state)});
    }
    return all;
}

inline std::vector<std::vector<float>> outputs_of(const Network& network, DType precision,
                                                  const std::function<void(const Step&)>& after_step = {},
                                                  std::vector<size_t>* channels = nullptr) {
    const auto device = open_device("cpu", {.threads = 2});
    auto graph = std::make_unique<Graph>();
    constexpr size_t side = 128;
    const Value x = graph->input("x", {1, side, side, 3}, DType::f32);
    const std::vector<Value> outputs = network.model.trace(x);
    if (precision == DType::i8) use_int8(*graph, network.model.int8);
    Arena arena(*device);
    Parameters parameters(*device, *graph);
    upload(network.state, parameters, network.name);
    Program program(arena, std::move(graph), parameters, outputs, {.after_step = after_step});
    std::vector<float> pixels = random_floats(side * side * 3, 5, 0, 0.3f);  // squares, bright and dark, and noise
    for (size_t i = 0; i < pixels.size(); ++i)
        if ((i / (3 * side) / 24 + i % (3 * side) / (3 * 24)) % 2 == 0) pixels[i] += 0.7f;
    program.write<float>(x, pixels);
    program.run();
    std::vector<std::vector<float>> results;
    for (const Value y : outputs) {
        results.push_back(program.read<float>(y));
        if (channels) channels->push_back(y.shape().size() == 4 ? y.shape().back() : 1);
    }
    return results;
}

inline Network quantized_of(Network network) {
    RangeRecorder recorder;
    outputs_of(network, DType::f32, [&](const Step& step) { recorder.add(step); });
    recorder.end_image(true);
    network.model.int8 = layers_to_quantize(network.model, recorder.ranges());
    network.state = quantized(std::move(network.state), network.model.int8);
    return network;
}
