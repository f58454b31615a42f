#include "models/resnet.h"

#include <array>

#include "models/int8.h"
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
    third.residual = project ? conv_norm(x, projection, style) : x;
    return conv_norm(conv_norm(conv_norm(x, first, style), second, style), third, style);
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

// The epsilon that a file states, 0 if it states none.
float stored_epsilon(const StoredModel& file) {
    for (const char* key : {"tundra.epsilon", "batch_norm_epsilon"}) {
        const auto found = file.metadata.find(key);
        if (found == file.metadata.end()) continue;
        const float epsilon = std::strtof(found->second.c_str(), nullptr);
        if (!(epsilon > 0 && epsilon < 1))
            fail(Fault::damaged, "{}: {} = '{}' is not between 0 and 1", file.path, key, found->second);
        return epsilon;
    }
    return 0;
}

// Only files that Keras or this program wrote: elsewhere biases do not say where the strides are.
bool is_keras(const StoredModel& file) {
    const auto model = file.metadata.find("tundra.model");
    return file.metadata.contains("keras names") || (model != file.metadata.end() && model->second.ends_with("-keras"));
}

// How the tensors of a file differ from the parameters of `model`, its last layer aside.
struct Difference {
    std::string first{};  // "has layer1.0.se.fc1.weight, which a resnet50 does not have"; "" if there is none
    bool without_statistics = false;
};

Difference difference(const StateDict& state, const Model& model, bool folded) {
    const std::map<std::string, Shape> wanted = parameter_shapes(model, !folded);
    for (const auto& [name, tensor] : state) {
        const auto found = wanted.find(name);
        if (found == wanted.end()) return {fmt::format("has {}, which a {} does not have", name, model.name)};
        if (found->second != tensor.shape)
            return {fmt::format("has {} of shape {} where a {} has {}", name, to_string(tensor.shape), model.name,
                                to_string(found->second))};
    }
    size_t statistics = 0, missing = 0;
    for (const auto& [name, shape] : wanted) {
        const bool statistic = name.ends_with(".running_mean") || name.ends_with(".running_var");
        statistics += statistic;
        if (state.contains(name) || name.starts_with(model.head)) continue;
        if (!statistic) return {fmt::format("has no {}", name)};
        ++missing;
    }
    if (missing > 0 && missing < statistics) return {"lacks the statistics of some normalizations"};
    return {.without_statistics = missing > 0};
}

// Nothing if it does not look like a ResNet; without a model if it is one that tundra does not build.
std::optional<RecognisedModel> recognise(const StoredModel& file) {
    const StateDict& state = file.state;
    const auto shape_of = [&](const std::string& name) {
        const auto found = state.find(name);
        return found == state.end() ? Shape{} : found->second.shape;
    };
    if (state.contains("conv1.0.weight") && state.contains("layer1.0.conv1.weight"))
        return RecognisedModel{.text =
                                   "a ResNet with a deep stem (resnet50d and its kin), which tundra does not build"};
    const Shape stem = shape_of("conv1.weight"), head = shape_of("fc.weight"),
                middle = shape_of("layer1.0.conv2.weight");
    std::array<size_t, 4> blocks{};
    for (size_t stage = 0; stage < 4; ++stage)
        while (state.contains(block_name(stage, blocks[stage]) + ".conv1.weight")) ++blocks[stage];
    if (stem.size() != 4 || stem[0] == 0 || blocks[0] == 0 || !(head.empty() || (head.size() == 2 && head[0] > 0)))
        return {};
    const auto* const depth = std::ranges::find_if(kDepths, [&](size_t d) { return blocks == blocks_per_stage(d); });
    const bool bottlenecks = state.contains("layer1.0.conv3.weight");
    if (depth == std::end(kDepths) || !bottlenecks)
        return RecognisedModel{.text = fmt::format("a ResNet with {} {} blocks, which tundra does not build",
                                                   fmt::join(blocks, ", "), bottlenecks ? "bottleneck" : "basic")};
    if (stem[1] != 3)
        return RecognisedModel{.text = fmt::format("a ResNet for images of {} channels; tundra's have three", stem[1])};
    const bool quantized = file.metadata.contains(kInt8);
    if (!quantized && !state.contains("bn1.weight") && state.contains("conv1.bias"))
        return RecognisedModel{.text =
                                   "a ResNet whose normalization is folded into its convolutions; tundra takes "
                                   "the weights before that"};
    const bool headless = head.empty() || !state.contains("fc.bias");
    const ResNetConfig config{.depth = *depth,
                              .keras = is_keras(file),
                              .classes = headless ? 1 : head[0],
                              .width = stem[0],
                              .stored_epsilon = stored_epsilon(file)};
    RecognisedModel result{.model = make_model(config), .classes = headless ? 0 : head[0]};
    if (quantized) result.model->folding.conv_bn.clear();
    const auto [first, without_statistics] = difference(state, *result.model, quantized);
    if (!first.empty()) {
        std::string kin;
        if (middle.size() == 4 && middle[0] != middle[1])
            kin = ", as in ResNeXt";
        else if (middle.size() == 4 && middle[0] != config.width)
            kin = ", as in wide ResNets";
        return RecognisedModel{
            .text = fmt::format("a network like resnet{} that {}{}; tundra does not build it", *depth, first, kin)};
    }
    result.model->classes = result.classes;
    result.text = fmt::format("{} resnet{}", config.keras ? "Keras" : "torchvision", *depth);
    if (config.width != 64) result.text += fmt::format(", stem of {} channels", config.width);
    if (headless) result.lacks = "its last layer is missing";
    if (without_statistics) {
        result.text = fmt::format("resnet{} without the statistics of its normalization", *depth);
        result.lacks =
            "the running statistics of its normalization are missing: only parameters were saved "
            "(named_parameters() in place of state_dict()), or it has GroupNorm";
    }
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
            .network = [config](Value x, const Model& model) {
                ResNetConfig c = config;
                c.classes = model.classes;
                return std::vector{resnet(x, c)};
            }};
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
