// Convolution, batch normalization and activation, the layer of all networks here.
//
// In a graph for training: conv and batch_norm. In any other graph: one conv, with the normalization folded into its
// weight and bias.
#pragma once

#include "engine/ops.h"

struct LayerStyle {  // shared by all layers of a network
    float epsilon, momentum;
    Initializer weight_init;
    bool conv_bias = false;      // in training; a folded convolution always has one
    bool residual_last = false;  // the residual is added after the activation
};

struct ConvNorm {
    std::string conv, norm;  // names: CONV.weight, CONV.bias, NORM.weight, NORM.bias, NORM.running_mean, ..._var
    size_t channels, kernel = 1, stride = 1;
    Activation activation = Activation::none;
    Value residual = {};
    Initializer scale_init = Initializer::ones;
    size_t padded_channels = 0;  // input channels beyond those of an image
};

inline Value vector_parameter(Graph& graph, const std::string& name, size_t n, Initializer init = Initializer::zeros) {
    return graph.parameter(name, {n}, {.role = ParameterRole::norm_or_bias, .init = init});
}

// (channels, kernel, kernel, channels of x). The nodes that follow belong to the layer l.conv.
inline Value conv_weight(Value x, const ConvNorm& l, const LayerStyle& style) {
    x.graph->layer = l.conv;
    return x.graph->parameter(l.conv + ".weight", {l.channels, l.kernel, l.kernel, x.shape().back()},
                              {.role = ParameterRole::weight, .init = style.weight_init, .padding = l.padded_channels});
}

struct NormParameters {
    Value scale, shift;
    BatchNormOptions options;
};

// Checkpoints hold the parameters in the order of their declaration: statistics, shift, scale.
inline NormParameters norm_parameters(Graph& graph, const ConvNorm& l, const LayerStyle& style) {
    const auto statistic = [&](const char* part, Initializer init) {
        return graph.parameter(l.norm + part, {l.channels}, {.role = ParameterRole::statistic, .init = init});
    };
    NormParameters p{.scale = {},
                     .shift = {},
                     .options = {.eps = style.epsilon,
                                 .momentum = style.momentum,
                                 .running_mean = statistic(".running_mean", Initializer::zeros),
                                 .running_var = statistic(".running_var", Initializer::ones),
                                 .activation = l.activation,
                                 .residual = style.residual_last ? Value{} : l.residual}};
    p.shift = vector_parameter(graph, l.norm + ".bias", l.channels);
    p.scale = vector_parameter(graph, l.norm + ".weight", l.channels, l.scale_init);
    return p;
}

inline Value conv_norm(Value x, const ConvNorm& l, const LayerStyle& style) {
    Graph& graph = *x.graph;
    const Value weight = conv_weight(x, l, style);
    ConvOptions options{.stride = l.stride, .padding = (l.kernel - 1) / 2};
    if (!graph.training || style.conv_bias) options.bias = vector_parameter(graph, l.conv + ".bias", l.channels);
    if (!graph.training) {
        options.activation = l.activation;
        options.residual = l.residual;
        options.residual_last = style.residual_last;
        return conv(x, weight, options);
    }
    const Value y = conv(x, weight, options);
    graph.layer = l.norm;
    const NormParameters p = norm_parameters(graph, l, style);
    const Value z = batch_norm(y, p.scale, p.shift, p.options);
    return l.residual && style.residual_last ? add(l.residual, z) : z;
}
