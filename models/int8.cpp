#include "models/int8.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/op.h"
#include "models/model.h"

namespace {

// In float32, on an image of any size: layers and their shares of the arithmetic almost do not depend on it (those of a
// ResNet's last layer and of attention do).
struct Traced {
    Graph graph{};
    Value x;
    std::vector<Value> outputs;

    explicit Traced(const Model& model) {
        const size_t side = std::max<size_t>(64, 2 * model.stride);
        x = graph.input("x", {1, side, side, 3}, DType::f32);
        outputs = model.trace(x);
    }
    bool gives_output(const Node& node) const { return std::ranges::count(outputs, node.out[0], &Value::id) > 0; }
};

}  // namespace

Int8Layers layers_to_quantize(const Model& model, std::map<std::string, Range> ranges) {
    const Traced traced(model);
    Int8Layers layers{.convolutions = {}, .ranges = std::move(ranges)};
    for (const Node& node : traced.graph.nodes) {
        if (node.op->name() != "conv") continue;
        const bool head = traced.gives_output(node);
        if (head) layers.ranges.erase(node.layer);
        if (!head && node["x"] != traced.x.id) layers.convolutions.insert(node.layer);
    }
    return layers;
}

std::map<std::string, double> arithmetic_shares(const Model& model) {
    const Traced traced(model);
    double all = 0;
    std::map<std::string, double> shares;
    for (const Node& node : traced.graph.nodes) {
        all += node.op->flops();
        if (node.op->name() == "conv") shares[node.layer] += node.op->flops();
    }
    for (auto& [layer, share] : shares) share /= all;
    return shares;
}

double float32_share(const Model& model, const Int8Layers& layers) {
    double left = 1;
    for (const auto& [layer, share] : arithmetic_shares(model))
        if (layers.convolutions.contains(layer)) left -= share;
    return left;
}

std::map<std::string, std::string_view> output_layers(const Model& model) {
    const Traced traced(model);
    std::map<std::string, std::string_view> layers;
    for (const Node& node : traced.graph.nodes)
        if (traced.gives_output(node)) layers[node.layer] = node.op->name();
    return layers;
}

void check_int8(const Model& model) {
    Traced traced(model);
    use_int8(traced.graph, model.int8);
    std::set<std::string> missing = model.int8.convolutions;
    for (const Node& node : traced.graph.nodes)
        if (node.op->name() == "conv_int8") missing.erase(node.layer);
    if (!missing.empty())
        fail(Fault::damaged, "{}.weight has bytes, and is no convolution that a {} computes on bytes", *missing.begin(),
             model.name);
}

StateDict quantized(StateDict state, const Int8Layers& layers) {
    constexpr float most = 127;
    for (const std::string& name : layers.convolutions) {
        HostTensor& weight = state.at(name + ".weight");
        const size_t channels = weight.shape[0], row = weight.values.size() / channels;
        const std::span<float> values = weight.values.mutable_data();
        std::vector<float> scales(channels);
        for (size_t c = 0; c < channels; ++c) {
            float largest = 0;
            for (const float w : values.subspan(c * row, row)) largest = std::max(largest, std::abs(w));
            scales[c] = largest > 1e-30f ? largest / most : 1;
            for (float& w : values.subspan(c * row, row))
                w = std::clamp(std::nearbyint(w / scales[c]), -most, most) + 0.0f;
        }
        state[name + std::string(kWeightScale)] = {{channels}, std::move(scales)};
    }
    for (const auto& [name, range] : layers.ranges)
        state[name + std::string(kRange)] = {{2}, std::vector<float>{range.low, range.high}};
    return state;
}

Int8Layers int8_layers(const StateDict& state) {
    Int8Layers layers;
    for (const auto& [name, tensor] : state) {
        const std::string layer = name.substr(0, name.rfind('.'));
        if (name.ends_with(kWeightScale)) {
            const auto weight = state.find(layer + ".weight");
            if (weight == state.end() || weight->second.shape.size() != 4)
                fail(Fault::damaged, "{} has no convolution's weights", name);
            if (tensor.shape != Shape{weight->second.shape[0]})
                fail(Fault::damaged, "{} has shape {}, the convolution {} channels", name, to_string(tensor.shape),
                     weight->second.shape[0]);
            for (const float scale : tensor.values)
                if (!(scale > 0 && std::isfinite(scale)))
                    fail(Fault::damaged, "{} holds {}; a scale is above 0", name, scale);
            for (const float w : weight->second.values)
                if (!(std::abs(w) <= 127 && w == std::nearbyint(w)))
                    fail(Fault::damaged, "{}.weight holds {}; bytes of weights are -127 to 127", layer, w);
            layers.convolutions.insert(layer);
        } else if (name.ends_with(kRange)) {
            const bool pair = tensor.shape == Shape{2};
            const Range range = pair ? Range{tensor.values[0], tensor.values[1]} : Range{};
            if (!pair || !std::isfinite(range.high - range.low) || !(range.low <= 0 && range.high >= 0) ||
                range.high - range.low < 1e-30f)
                fail(Fault::damaged, "{} ({}) is no range of numbers around 0", name,
                     fmt::join(tensor.values.begin(), tensor.values.end(), ", "));
            layers.ranges[layer] = range;
        }
    }
    return layers;
}
