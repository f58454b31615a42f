#include "models/yolov5.h"

#include <cmath>

#include "models/layers.h"

namespace {

class Layers {
public:
    Layers(Graph& graph, const YoloConfig& config)
        : graph_(graph),
          config_(config),
          style_{.epsilon = float(config.epsilon),
                 .momentum = 0.03f,
                 .weight_init = Initializer::kaiming_uniform_fan_in,
                 .residual_last = true} {}

    struct Conv {
        size_t channels, kernel = 1, stride = 1;
        Value residual = {};
    };
    Value conv_silu(Value x, const std::string& name, const Conv& c) {
        return conv_norm(x,
                         {.conv = name + ".conv",
                          .norm = name + ".bn",
                          .channels = c.channels,
                          .kernel = c.kernel,
                          .stride = c.stride,
                          .activation = Activation::silu,
                          .residual = c.residual,
                          .padded_channels = c.kernel == 6 ? x.shape().back() - 3 : 0},  // the stem
                         style_);
    }

    Value c3(Value x, const std::string& name, size_t channels, size_t repeats, bool shortcut) {
        const size_t hidden = channels / 2;
        Value a = conv_silu(x, name + ".cv1", {hidden});
        for (size_t i = 0; i < repeats; ++i) {
            const std::string bottleneck = fmt::format("{}.m.{}", name, i);
            const Value y = conv_silu(a, bottleneck + ".cv1", {hidden});
            a = conv_silu(y, bottleneck + ".cv2", {hidden, 3, 1, shortcut ? a : Value{}});
        }
        const Value b = conv_silu(x, name + ".cv2", {hidden});
        return conv_silu(concat(std::array{a, b}), name + ".cv3", {channels});
    }

    Value sppf(Value x, const std::string& name, size_t channels) {
        const auto pool = [&](Value v) { return max_pool(v, config_.pool, 1, config_.pool / 2); };
        const Value a = conv_silu(x, name + ".cv1", {x.shape().back() / 2}), b = pool(a), c = pool(b), d = pool(c);
        return conv_silu(concat(std::array{a, b, c, d}), name + ".cv2", {channels});
    }

    Value head(Value x, const std::string& name) {
        const size_t values = 3 * (5 + config_.classes);
        const Value bias = vector_parameter(graph_, name + ".bias", values);
        return conv(x, conv_weight(x, {.conv = name, .norm = "", .channels = values}, style_), {.bias = bias});
    }

    // The layers are numbered in the order in which they are made; also those without weights.
    std::string next(size_t skip = 0) {
        layer_ += skip + 1;
        return fmt::format("model.{}", layer_ - 1);
    }

private:
    Graph& graph_;
    const YoloConfig& config_;
    LayerStyle style_;
    size_t layer_ = 0;
};

constexpr float kAnchorsP5[] = {10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326};
constexpr float kAnchorsP6[] = {19,  27,  44,  40,  38,  94,  96,  68,  86,  152, 180, 137,
                                140, 301, 303, 264, 238, 542, 436, 615, 739, 380, 925, 792};

struct Size {
    char name;
    double depth, width;
};
constexpr Size kSizes[] = {{'t', 0.33, 0.125}, {'n', 0.33, 0.25}, {'s', 0.33, 0.5},
                           {'m', 0.67, 0.75},  {'l', 1, 1},       {'x', 1.33, 1.25}};

const HostTensor* find(const StateDict& state, const std::string& name) {
    const auto found = state.find(name);
    return found == state.end() ? nullptr : &found->second;
}

std::optional<RecognisedModel> recognise(const StoredModel& file) {
    const HostTensor* stem = find(file.state, "model.0.conv.weight");
    if (!stem) stem = find(file.state, "model.0.conv.conv.weight");  // the Focus layer of release 5.0
    if (!stem || stem->shape.size() != 4) return {};
    for (const size_t detect : {24, 33}) {
        const std::string layer = fmt::format("model.{}.", detect);
        if (find(file.state, layer + "proto.cv1.conv.weight"))
            return RecognisedModel{.text = "a YOLOv5 for segmentation (-seg), which tundra does not run"};
        const HostTensor *anchors = find(file.state, layer + "anchors"), *head = find(file.state, layer + "m.0.weight");
        if (!anchors || !head || anchors->shape.size() != 3 || head->shape.size() != 4 || anchors->shape[1] == 0)
            continue;
        const size_t per_anchor = head->shape[0] / anchors->shape[1];
        if (head->shape[0] % anchors->shape[1] || per_anchor < 6) continue;
        const size_t width = stem->shape[0];
        size_t depth = 0;  // bottlenecks of the first C3
        while (file.state.contains(fmt::format("model.2.m.{}.cv1.conv.weight", depth))) ++depth;
        std::string size = fmt::format(" ({} channels, {} bottlenecks){}", width, depth, detect == 33 ? ", P6" : "");
        for (const Size& s : kSizes)
            if (double(width) == 64 * s.width && depth == size_t(std::nearbyint(3 * s.depth)))
                size = std::string(1, s.name) + (detect == 33 ? "6" : "");
        return RecognisedModel{.text = "YOLOv5" + size, .classes = per_anchor - 5};
    }
    return {};
}

}  // namespace

YoloConfig yolov5_config(bool p6, double depth, double width, size_t classes) {
    const auto channels = [&](size_t c) { return size_t(std::ceil(double(c) * width / 8)) * 8; };
    const auto repeats = [&](size_t n) { return std::max<size_t>(1, size_t(std::nearbyint(double(n) * depth))); };
    YoloConfig config{.channels = {channels(64), channels(128), channels(256), channels(512)},
                      .repeats = {repeats(3), repeats(6), repeats(9), repeats(3)},
                      .head_repeats = repeats(3),
                      .classes = classes,
                      .levels = {}};
    if (p6) config.channels.push_back(channels(768)), config.repeats.push_back(repeats(3));
    config.channels.push_back(channels(1024));
    const float* anchor = p6 ? kAnchorsP6 : kAnchorsP5;
    for (size_t level = 0; level < (p6 ? 4 : 3); ++level) {
        config.levels.push_back({.stride = float(8 << level)});
        for (auto& sides : config.levels.back().anchors) sides = {anchor[0], anchor[1]}, anchor += 2;
    }
    return config;
}

YoloConfig yolov5_config(std::string_view name, size_t classes) {
    const std::string_view size = name.starts_with("yolov5") ? name.substr(6) : name;
    for (const Size& s : kSizes)
        if (!size.empty() && size[0] == s.name && (size.size() == 1 || size.substr(1) == "6"))
            return yolov5_config(size.size() == 2, s.depth, s.width, classes);
    fail(Fault::usage, "YOLOv5 has no size '{}'; the sizes are t, n, s, m, l, x, n6, s6, m6, l6, x6", size);
}

std::vector<Value> yolov5(Value x, const YoloConfig& config) {
    const Shape& s = x.shape();
    const size_t stride = config.largest_stride(), last = config.channels.size() - 1;
    require(s.size() == 4 && s[1] % stride == 0 && s[2] % stride == 0,
            "yolov5: the input has shape {}; its sides must be multiples of {}", to_string(s), stride);
    Layers layers(*x.graph, config);
    const std::vector<size_t>& channels = config.channels;

    std::vector<Value> feature(last + 1), lateral(last + 1);  // by stage; stage 2 has stride 8
    x = layers.conv_silu(x, layers.next(), {channels[0], 6, 2});
    for (size_t stage = 1; stage <= last; ++stage) {
        const size_t c = channels[stage], n = config.repeats[stage - 1];
        x = layers.conv_silu(x, layers.next(), {c, 3, 2});
        if (stage == last && config.pool_first) x = layers.sppf(x, layers.next(), c);
        x = layers.c3(x, layers.next(), c, n, stage < last || !config.pool_first);
        feature[stage] = x;
    }
    if (!config.pool_first) x = layers.sppf(x, layers.next(), channels[last]);

    for (size_t stage = last - 1; stage >= 2; --stage) {
        lateral[stage] = layers.conv_silu(x, layers.next(), {channels[stage]});
        x = concat(std::array{upsample2(lateral[stage]), feature[stage]});
        x = layers.c3(x, layers.next(2), channels[stage], config.head_repeats, false);
    }
    std::vector<Value> outputs = {x};
    for (size_t stage = 2; stage < last; ++stage) {
        x = layers.conv_silu(x, layers.next(), {channels[stage], 3, 2});
        x = layers.c3(concat(std::array{x, lateral[stage]}), layers.next(1), channels[stage + 1], config.head_repeats,
                      false);
        outputs.push_back(x);
    }
    const std::string detect = layers.next();
    for (size_t level = 0; level < outputs.size(); ++level)
        outputs[level] = layers.head(outputs[level], fmt::format("{}.m.{}", detect, level));
    return outputs;
}

// Weight files hold the anchors divided by the stride.
Model make_model(const YoloConfig& config) {
    std::vector<float> anchors;
    for (const BoxLevel& level : config.levels)
        for (const auto& sides : level.anchors)
            for (const float side : sides) anchors.push_back(side / level.stride);
    const std::string detect = fmt::format("model.{}.", config.detect_layer());
    return {.name = "yolov5",
            .classes = config.classes,
            .head = detect + "m.",
            .network =
                [config](Value x, const Model& model) {
                    YoloConfig c = config;
                    c.classes = model.classes;
                    return yolov5(x, c);
                },
            .stride = config.largest_stride(),
            .levels = config.levels,
            .constants = {{detect + "anchors", {{config.levels.size(), 3, 2}, std::move(anchors)}}}};
}

ModelFamily yolov5_family() {
    ModelFamily family{.task = "detect",
                       .names = {},
                       .make =
                           [](std::string_view name, size_t classes) {
                               Model model = make_model(yolov5_config(name, classes));
                               model.name = name;
                               return model;
                           },
                       .recognise = recognise};
    for (const char* p6 : {"", "6"})
        for (const Size& size : kSizes)
            if (size.name != 't' || !*p6) family.names.push_back(fmt::format("yolov5{}{}", size.name, p6));
    return family;
}
