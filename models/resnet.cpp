#include "models/resnet.h"

#include <array>

#include "engine/ops.h"

namespace {

constexpr size_t kExpansion = 4;  // of the channels by the last convolution of a bottleneck

std::array<size_t, 4> blocks_per_stage(size_t depth) {
    switch (depth) {
        case 50: return {3, 4, 6, 3};
        case 101: return {3, 4, 23, 3};
        case 152: return {3, 8, 36, 3};
    }
    fail(Fault::usage, "a ResNet of depth {} is not known; the depths are 50, 101 and 152", depth);
}

struct Layer {
    std::string conv, bn;
    size_t channels, kernel, stride = 1;
    Activation activation = Activation::none;
    Value residual = {};
    size_t padding = 0;  // input channels beyond those of an image
};

class Layers {
public:
    Layers(Graph& graph, const ResNetConfig& config, Taps* taps) : graph_(graph), config_(config), taps_(taps) {}

    // Convolution, normalization, addition, activation: two nodes in training, one otherwise.
    Value operator()(Value x, const Layer& l) {
        const bool folded = !graph_.training;
        const Value weight = weight_of(x, l);
        ConvOptions options{.stride = l.stride, .padding = l.kernel / 2};
        if (folded || config_.keras) options.bias = vector(l.conv + ".bias", l.channels, Initializer::zeros);
        if (folded) {
            options.activation = l.activation;
            options.residual = l.residual;
            return conv(x, weight, options);
        }
        const Value y = tap(l.conv, conv(x, weight, options));
        graph_.layer = l.bn;
        return batch_norm(y, scale_of(l), shift_of(l), norm_of(l));
    }

    Value bottleneck(Value x, const std::string& name, size_t channels, size_t stride) {
        const size_t out = kExpansion * channels;
        const bool project = stride != 1 || x.shape().back() != out;
        const size_t first_stride = config_.keras ? stride : 1, second_stride = config_.keras ? 1 : stride;
        const Layer projection{name + ".downsample.0", name + ".downsample.1", out, 1, stride};
        const Layer first{name + ".conv1", name + ".bn1", channels, 1, first_stride, Activation::relu};
        const Layer second{name + ".conv2", name + ".bn2", channels, 3, second_stride, Activation::relu};
        Layer third{name + ".conv3", name + ".bn3", out, 1, 1, Activation::relu};
        if (graph_.training && config_.fused) {
            third.residual =
                project ? normalized(norm_conv(x, weight_of(x, projection), {.stride = stride}), projection) : x;
            WithStats y = norm_conv(x, weight_of(x, first), {.stride = first_stride});
            y = norm_conv(y, scale_of(first), shift_of(first), norm_of(first), weight_of(y.y, second),
                          {.stride = second_stride, .padding = 1});
            y = norm_conv(y, scale_of(second), shift_of(second), norm_of(second), weight_of(y.y, third), {});
            return normalized(y, third);
        }
        third.residual = project ? (*this)(x, projection) : x;
        return (*this)((*this)((*this)(x, first), second), third);
    }

    Value classifier(Value x) {
        const size_t features = x.shape().back();
        graph_.layer = "fc";
        const Value weight =
            graph_.parameter("fc.weight", {config_.classes, features},
                             {.role = ParameterRole::weight,
                              .init = config_.keras ? Initializer::glorot_uniform : Initializer::uniform_fan_in});
        const Value bias = graph_.parameter("fc.bias", {config_.classes},
                                            {.role = ParameterRole::vector,
                                             .init = config_.keras ? Initializer::zeros : Initializer::uniform_fan_in,
                                             .fan_in = features});
        return linear(x, weight, bias);
    }

    Value tap(const std::string& name, Value v) {
        if (taps_) taps_->emplace_back(name, v);
        return v;
    }

private:
    Value weight_of(Value x, const Layer& l) {
        graph_.layer = l.conv;
        const Initializer init = config_.keras ? Initializer::glorot_uniform : Initializer::kaiming_normal_fan_out;
        return graph_.parameter(l.conv + ".weight", {l.channels, l.kernel, l.kernel, x.shape().back()},
                                {.role = ParameterRole::weight, .init = init, .padding = l.padding});
    }
    Value scale_of(const Layer& l) {
        // A block starts as its shortcut, which keeps a deep network calm at first: Goyal et al. 2017,
        // arXiv:1706.02677, 5.1.
        return vector(l.bn + ".weight", l.channels,
                      l.residual && !config_.keras ? Initializer::zeros : Initializer::ones);
    }
    Value shift_of(const Layer& l) { return vector(l.bn + ".bias", l.channels, Initializer::zeros); }
    BatchNormOptions norm_of(const Layer& l) {
        return {.eps = config_.epsilon(),
                .momentum = config_.keras ? 0.01f : 0.1f,
                .running_mean = statistic(l.bn + ".running_mean", l.channels, Initializer::zeros),
                .running_var = statistic(l.bn + ".running_var", l.channels, Initializer::ones),
                .activation = l.activation,
                .residual = l.residual};
    }
    Value normalized(const WithStats& x, const Layer& l) {
        graph_.layer = l.bn;
        return batch_norm(x, scale_of(l), shift_of(l), norm_of(l));
    }

    Value vector(const std::string& name, size_t n, Initializer init) {
        return graph_.parameter(name, {n}, {.role = ParameterRole::vector, .init = init});
    }
    Value statistic(const std::string& name, size_t n, Initializer init) {
        return graph_.parameter(name, {n}, {.role = ParameterRole::statistic, .init = init});
    }

    Graph& graph_;
    const ResNetConfig& config_;
    Taps* taps_;
};

}  // namespace

ResNetConfig resnet_config(std::string_view name, size_t classes) {
    for (const size_t depth : {50, 101, 152})
        for (const bool keras : {false, true}) {
            const ResNetConfig config{.depth = depth, .keras = keras, .classes = classes};
            if (name == model_name(config)) return config;
        }
    fail(Fault::usage,
         "--model {}: the models are resnet50, resnet101, resnet152, and each with -keras (the paper's form) behind "
         "its name",
         name);
}

std::string model_name(const ResNetConfig& config) {
    return fmt::format("resnet{}{}", config.depth, config.keras ? "-keras" : "");
}

Value resnet(Value x, const ResNetConfig& config, Taps* taps) {
    require(!config.fused || !config.keras, "the fused form has no convolution biases, as the paper's form has them");
    Layers layers(*x.graph, config, taps);
    x = layers.tap("relu", layers(x, {"conv1", "bn1", config.width, 7, 2, Activation::relu, {}, x.shape().back() - 3}));
    x.graph->layer = "maxpool";
    x = layers.tap("maxpool", max_pool(x, 3, 2, 1));
    const std::array<size_t, 4> blocks = blocks_per_stage(config.depth);
    for (size_t stage = 0; stage < 4; ++stage) {
        for (size_t block = 0; block < blocks[stage]; ++block)
            x = layers.bottleneck(x, fmt::format("layer{}.{}", stage + 1, block), config.width << stage,
                                  stage > 0 && block == 0 ? 2 : 1);
        layers.tap(fmt::format("layer{}", stage + 1), x);
    }
    x.graph->layer = "avgpool";
    x = layers.tap("avgpool", global_average_pool(x));
    return layers.tap("fc", layers.classifier(x));
}

std::vector<std::pair<std::string, std::string>> resnet_conv_bn_pairs(const ResNetConfig& config) {
    std::vector<std::pair<std::string, std::string>> pairs = {{"conv1", "bn1"}};
    const std::array<size_t, 4> blocks = blocks_per_stage(config.depth);
    for (size_t stage = 0; stage < 4; ++stage)
        for (size_t block = 0; block < blocks[stage]; ++block) {
            const std::string name = fmt::format("layer{}.{}", stage + 1, block);
            for (const char* k : {"1", "2", "3"}) pairs.emplace_back(name + ".conv" + k, name + ".bn" + k);
            if (block == 0) pairs.emplace_back(name + ".downsample.0", name + ".downsample.1");
        }
    return pairs;
}
