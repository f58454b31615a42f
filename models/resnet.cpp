#include "models/resnet.h"

#include <array>

#include "models/layers.h"

namespace {

constexpr size_t kExpansion = 4;  // of the channels by the last convolution of a bottleneck
constexpr size_t kDepths[] = {50, 101, 152};

std::array<size_t, 4> blocks_per_stage(size_t depth) {
    switch (depth) {
        case 50: return {3, 4, 6, 3};
        case 101: return {3, 4, 23, 3};
        case 152: return {3, 8, 36, 3};
    }
    fail(Fault::usage, "a ResNet of depth {} is not known; the depths are 50, 101 and 152", depth);
}

std::string block_name(size_t stage, size_t block) { return fmt::format("layer{}.{}", stage + 1, block); }

LayerStyle style_of(const ResNetConfig& config) {
    return {.epsilon = config.epsilon(),
            .momentum = config.keras ? 0.01f : 0.1f,
            .weight_init = config.keras ? Initializer::glorot_uniform : Initializer::kaiming_normal_fan_out,
            .conv_bias = config.keras};
}

Value bottleneck(Value x, const std::string& name, size_t channels, size_t stride, const ResNetConfig& config) {
    const LayerStyle style = style_of(config);
    const size_t out = kExpansion * channels;
    const bool project = stride != 1 || x.shape().back() != out;
    const ConvNorm projection{
        .conv = name + ".downsample.0", .norm = name + ".downsample.1", .channels = out, .stride = stride};
    const ConvNorm first{.conv = name + ".conv1",
                         .norm = name + ".bn1",
                         .channels = channels,
                         .stride = config.keras ? stride : 1,
                         .activation = Activation::relu};
    const ConvNorm second{.conv = name + ".conv2",
                          .norm = name + ".bn2",
                          .channels = channels,
                          .kernel = 3,
                          .stride = config.keras ? 1 : stride,
                          .activation = Activation::relu};
    // A block starts as its shortcut, which stabilizes early training: Goyal et al. 2017,
    // https://arxiv.org/abs/1706.02677, 5.1.
    ConvNorm third{.conv = name + ".conv3",
                   .norm = name + ".bn3",
                   .channels = out,
                   .activation = Activation::relu,
                   .scale_init = config.keras ? Initializer::ones : Initializer::zeros};
    if (!x.graph->training || !config.fused) {
        third.residual = project ? conv_norm(x, projection, style) : x;
        return conv_norm(conv_norm(conv_norm(x, first, style), second, style), third, style);
    }

    const auto normalized = [&](const WithStats& y, const ConvNorm& l) {
        x.graph->layer = l.norm;
        const NormParameters p = norm_parameters(*x.graph, l, style);
        return batch_norm(y, p.scale, p.shift, p.options);
    };
    const auto normalized_conv = [&](const WithStats& y, const ConvNorm& before, const ConvNorm& l) {
        const Value weight = conv_weight(y.y, l, style);
        const NormParameters p = norm_parameters(*x.graph, before, style);
        return norm_conv(y, p.scale, p.shift, p.options, weight, {.stride = l.stride, .padding = (l.kernel - 1) / 2});
    };
    const auto plain_conv = [&](const ConvNorm& l) {
        return norm_conv(x, conv_weight(x, l, style), {.stride = l.stride});
    };
    third.residual = project ? normalized(plain_conv(projection), projection) : x;
    return normalized(normalized_conv(normalized_conv(plain_conv(first), first, second), second, third), third);
}

Value classifier(Value x, const ResNetConfig& config) {
    Graph& graph = *x.graph;
    const size_t features = x.shape().back();
    graph.layer = "fc";
    const Value weight =
        graph.parameter("fc.weight", {config.classes, features},
                        {.role = ParameterRole::weight,
                         .init = config.keras ? Initializer::glorot_uniform : Initializer::uniform_fan_in});
    const Value bias = graph.parameter("fc.bias", {config.classes},
                                       {.role = ParameterRole::norm_or_bias,
                                        .init = config.keras ? Initializer::zeros : Initializer::uniform_fan_in,
                                        .fan_in = features});
    return linear(x, weight, bias);
}

std::string model_name(const ResNetConfig& config) {
    return fmt::format("resnet{}{}", config.depth, config.keras ? "-keras" : "");
}

// The names of each convolution and of the normalization after it.
std::vector<std::pair<std::string, std::string>> conv_bn_pairs(const ResNetConfig& config) {
    std::vector<std::pair<std::string, std::string>> pairs = {{"conv1", "bn1"}};
    const std::array<size_t, 4> blocks = blocks_per_stage(config.depth);
    for (size_t stage = 0; stage < 4; ++stage)
        for (size_t block = 0; block < blocks[stage]; ++block) {
            const std::string name = block_name(stage, block);
            for (const char* k : {"1", "2", "3"}) pairs.emplace_back(name + ".conv" + k, name + ".bn" + k);
            if (block == 0) pairs.emplace_back(name + ".downsample.0", name + ".downsample.1");
        }
    return pairs;
}

// The epsilon that Keras files state; other networks have a single one.
float stored_epsilon(const StoredModel& file) {
    for (const char* key : {"tundra.epsilon", "batch_norm_epsilon"}) {
        const auto found = file.metadata.find(key);
        if (found == file.metadata.end()) continue;
        const float epsilon = std::strtof(found->second.c_str(), nullptr);
        if (!(epsilon > 0 && epsilon < 1))
            fail(Fault::damaged, "{}: {} = '{}' is not between 0 and 1", file.path, key, found->second);
        return epsilon;
    }
    return ResNetConfig().keras_epsilon;
}

std::optional<RecognisedModel> recognise(const StoredModel& file) {
    const StateDict& state = file.state;
    if (state.contains("conv1.0.weight") && state.contains("layer1.0.conv1.weight"))
        return RecognisedModel{.text = "ResNet with a deep stem (resnet50d and its kin), which tundra does not build"};
    const auto stem = state.find("conv1.weight"), head = state.find("fc.weight");
    if (stem == state.end() || head == state.end() || stem->second.shape.size() != 4 || head->second.shape.size() != 2)
        return {};
    std::array<size_t, 4> blocks{};
    for (size_t stage = 0; stage < 4; ++stage)
        while (state.contains(block_name(stage, blocks[stage]) + ".conv1.weight")) ++blocks[stage];
    if (blocks[0] == 0 || head->second.shape[0] == 0 || stem->second.shape[0] == 0) return {};
    const bool bottlenecks = state.contains("layer1.0.conv3.weight");
    const bool plain = state.contains("layer1.0.downsample.0.weight") && !state.contains("layer1.0.conv1_se.weight");
    ResNetConfig config{.classes = head->second.shape[0], .width = stem->second.shape[0]};
    config.keras = state.contains("conv1.bias");
    if (config.keras) config.keras_epsilon = stored_epsilon(file);
    RecognisedModel result{.classes = config.classes};
    for (const size_t depth : kDepths) {
        if (blocks != blocks_per_stage(depth) || !bottlenecks || !plain) continue;
        config.depth = depth;
        result.text = fmt::format("{} resnet{}", config.keras ? "Keras" : "torchvision", depth);
        if (config.width != 64) result.text += fmt::format(", stem of {} channels", config.width);
        result.model = make_model(config);
        return result;
    }
    result.text = fmt::format("ResNet with {} {} blocks, which tundra does not build", fmt::join(blocks, ", "),
                              bottlenecks ? "bottleneck" : "basic");
    return result;
}

// "resnet50", "resnet101-keras", ...
ResNetConfig resnet_config(std::string_view name, size_t classes) {
    for (const size_t depth : kDepths)
        for (const bool keras : {false, true}) {
            const ResNetConfig config{.depth = depth, .keras = keras, .classes = classes};
            if (name == model_name(config)) return config;
        }
    fail(Fault::usage, "{} is not a ResNet that tundra knows", name);
}

}  // namespace

Value resnet(Value x, const ResNetConfig& config) {
    require(!config.fused || !config.keras, "the fused form has no convolution biases, as the paper's form has them");
    Graph& graph = *x.graph;
    x = conv_norm(x,
                  {.conv = "conv1",
                   .norm = "bn1",
                   .channels = config.width,
                   .kernel = 7,
                   .stride = 2,
                   .activation = Activation::relu,
                   .padded_channels = x.shape().back() - 3},
                  style_of(config));
    graph.layer = "maxpool";
    x = max_pool(x, 3, 2, 1);
    const std::array<size_t, 4> blocks = blocks_per_stage(config.depth);
    for (size_t stage = 0; stage < 4; ++stage)
        for (size_t block = 0; block < blocks[stage]; ++block)
            x = bottleneck(x, block_name(stage, block), config.width << stage, stage > 0 && block == 0 ? 2 : 1, config);
    graph.layer = "avgpool";
    x = global_average_pool(x);
    return classifier(x, config);
}

Model make_model(const ResNetConfig& config) {
    return {.name = model_name(config),
            .classes = config.classes,
            .head = "fc.",
            .folding = {conv_bn_pairs(config), config.epsilon()},
            .network =
                [config](Value x, const Model& model) {
                    ResNetConfig c = config;
                    c.classes = model.classes, c.fused = model.fused;
                    return std::vector{resnet(x, c)};
                },
            .can_fuse = !config.keras,
            .fused = config.fused};
}

ModelFamily resnet_family() {
    ModelFamily family{
        .task = "classify",
        .names = {},
        .make = [](std::string_view name, size_t classes) { return make_model(resnet_config(name, classes)); },
        .recognise = recognise};
    for (const bool keras : {false, true})
        for (const size_t depth : kDepths) family.names.push_back(model_name({.depth = depth, .keras = keras}));
    return family;
}
