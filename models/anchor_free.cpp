#include "models/anchor_free.h"

#include "models/layers.h"

namespace {

Value half(Value x, size_t which) {
    const size_t channels = x.shape().back();
    require(channels % 2 == 0, "{} channels have no halves", channels);
    return slice(x, which * (channels / 2), channels / 2);
}

std::string at(const std::string& name, size_t i) { return fmt::format("{}.{}", name, i); }

}  // namespace

size_t AnchorFreeLayers::width(const std::string& name) const {
    const auto found = config_.widths.find(name);
    if (found == config_.widths.end())
        fail(Fault::damaged, "has no tensor {}.weight, which a {} needs", name, config_.family);
    return found->second;
}

Value AnchorFreeLayers::convolution(Value x, const std::string& name, const Conv& c) const {
    return conv_norm(
        x,
        {.conv = name,
         .norm = {},
         .channels = width(name),
         .kernel = c.kernel,
         .stride = c.stride,
         .activation = c.activation,
         .residual = c.residual,
         .padded_channels = name == "model.0.conv" ? x.shape().back() - 3 : 0},
        {.epsilon = 0, .momentum = 0, .weight_init = Initializer::kaiming_uniform_fan_in, .residual_last = true});
}

Value AnchorFreeLayers::conv(Value x, const std::string& name, const Conv& c) const {
    return convolution(x, name + ".conv", c);
}

Value AnchorFreeLayers::depthwise(Value x, const std::string& name, Activation activation, Value residual) const {
    Graph& graph = *x.graph;
    const size_t channels = width(name + ".conv");
    graph.layer = name + ".conv";
    const Value weight = graph.parameter(name + ".conv.weight", {channels, 3, 3, 1}, {.role = ParameterRole::weight});
    const Value bias = vector_parameter(graph, name + ".conv.bias", channels);
    return depthwise_conv(x, weight, {.bias = bias, .activation = activation, .residual = residual});
}

Value AnchorFreeLayers::bottleneck(Value x, const std::string& name, bool add) const {
    const Value y = conv(x, name + ".cv1", {3});
    return conv(y, name + ".cv2", {.kernel = 3, .residual = add ? x : Value{}});
}

Value AnchorFreeLayers::c3k(Value x, const std::string& name) const {
    Value a = conv(x, name + ".cv1");
    for (size_t i = 0; has(at(name + ".m", i) + ".cv1.conv"); ++i) a = bottleneck(a, at(name + ".m", i), true);
    return conv(concat(std::array{a, conv(x, name + ".cv2")}), name + ".cv3");
}

Value AnchorFreeLayers::c3k2(Value x, const std::string& name, bool add) const {
    const Value both = conv(x, name + ".cv1");
    std::vector<Value> parts = {both, half(both, 1)};
    for (size_t i = 0; has(at(name + ".m", i) + ".cv1.conv"); ++i) {
        const std::string block = at(name + ".m", i);
        parts.push_back(has(block + ".cv3.conv") ? c3k(parts.back(), block) : bottleneck(parts.back(), block, add));
    }
    parts.erase(parts.begin() + 1);  // it is in `both`
    require(parts.size() > 1, "{} has no blocks", name);
    return conv(concat(parts), name + ".cv2");
}

Value AnchorFreeLayers::pool(Value x, const std::string& name, const char* last) const {
    const auto p = [](Value v) { return max_pool(v, 5, 1, 2); };
    const Activation first = config_.plain_pool ? Activation::none : Activation::silu;
    const Value a = conv(x, name + ".cv1", {.activation = first}), b = p(a), c = p(b), d = p(c);
    return conv(concat(std::array{a, b, c, d}), fmt::format("{}.{}", name, last));
}

// Heads of 64 values, each with keys of half of that.
Value AnchorFreeLayers::psa(Value x, const std::string& name) const {
    const size_t channels = x.shape().back(), heads = std::max<size_t>(1, channels / 64), key = channels / heads / 2;
    const Value qkv = conv(x, name + ".attn.qkv", {.activation = Activation::none});
    require(qkv.shape().back() == channels + 2 * key * heads, "{}.attn.qkv has {} channels, which {} heads do not have",
            name, qkv.shape().back(), heads);
    const AttentionResult attended = attention(qkv, heads, key);
    const Value y = depthwise(attended.v, name + ".attn.pe", Activation::none, attended.y);
    const Value z = conv(y, name + ".attn.proj", {.activation = Activation::none, .residual = x});
    return conv(conv(z, name + ".ffn.0"), name + ".ffn.1", {.activation = Activation::none, .residual = z});
}

Value AnchorFreeLayers::c2psa(Value x, const std::string& name) const {
    const Value both = conv(x, name + ".cv1"), u = half(both, 0);
    Value v = half(both, 1);
    for (size_t i = 0; has(at(name + ".m", i) + ".attn.qkv.conv"); ++i) v = psa(v, at(name + ".m", i));
    return conv(concat(std::array{u, v}), name + ".cv2");
}

Value AnchorFreeLayers::rep_csp(Value x, const std::string& name) const {
    Value a = conv(x, name + ".cv1");
    for (size_t i = 0; has(at(name + ".m", i) + ".cv2.conv"); ++i)
        a = bottleneck(a, at(name + ".m", i), true);  // its first convolution is a RepConv, folded into one
    return conv(concat(std::array{a, conv(x, name + ".cv2")}), name + ".cv3");
}

Value AnchorFreeLayers::elan(Value x, const std::string& name) const {
    const Value both = conv(x, name + ".cv1");
    const Value a = conv(rep_csp(half(both, 1), name + ".cv2.0"), name + ".cv2.1", {3});
    const Value b = conv(rep_csp(a, name + ".cv3.0"), name + ".cv3.1", {3});
    return conv(concat(std::array{both, a, b}), name + ".cv4");
}

Value AnchorFreeLayers::adown(Value x, const std::string& name) const {
    const Value mean = average_pool2(x);
    const Value a = conv(half(mean, 0), name + ".cv1", {3, 2});
    return concat(std::array{a, conv(max_pool(half(mean, 1), 3, 2, 1), name + ".cv2")});
}

// The classes of YOLO11 have depthwise convolutions; those of the others, and of YOLO11 files that were made otherwise,
// ordinary ones. The file's names tell.
std::vector<Value> AnchorFreeLayers::heads(std::span<const Value> levels, const std::string& name) const {
    std::vector<Value> outputs;
    for (size_t l = 0; l < levels.size(); ++l) {
        const std::string box = at(name + ".cv2", l);
        const Value x = conv(conv(levels[l], box + ".0", {3}), box + ".1", {3});
        outputs.push_back(convolution(x, box + ".2", {.activation = Activation::none}));
    }
    for (size_t l = 0; l < levels.size(); ++l) {
        const std::string score = at(name + ".cv3", l);
        Value x = levels[l];
        if (has(score + ".0.0.conv"))
            for (const char* part : {".0", ".1"}) {
                x = depthwise(x, score + part + ".0", Activation::silu);
                x = conv(x, score + part + ".1");
            }
        else
            x = conv(conv(x, score + ".0", {3}), score + ".1", {3});
        outputs.push_back(convolution(x, score + ".2", {.activation = Activation::none}));
    }
    return outputs;
}

std::string not_covered(std::string_view what) {
    return fmt::format("{}, which tundra does not run; it runs YOLOv5, YOLOv8, YOLOv9-C and YOLO11 for detection",
                       what);
}

Model make_model(const AnchorFreeConfig& config) {
    return {.name = std::string(config.family),
            .classes = config.classes,
            .head = {},
            .network =
                [config](Value x, const Model&) {
                    const AnchorFreeLayers layers(config);
                    if (config.family == "YOLO11") return yolo11(x, layers);
                    return config.family == "YOLOv8" ? yolov8(x, layers) : yolov9c(x, layers);
                },
            .stride = 32,
            .levels = {{.stride = 8}, {.stride = 16}, {.stride = 32}},
            .anchors = false};
}

namespace {

// The layer that ends with the distribution of distances, "model.23."; "" if there is none.
std::string head_of(const StateDict& state) {
    constexpr std::string_view dfl = "dfl.conv.weight";
    for (const auto& [name, tensor] : state)
        if (name.starts_with("model.") && name.ends_with(dfl)) return name.substr(0, name.size() - dfl.size());
    return "";
}

std::string size_of(const StateDict& state, std::string_view family) {
    const auto stem = state.find("model.0.conv.weight");
    if (stem == state.end() || stem->second.shape.size() != 4) return "";
    size_t repeats = 0;
    while (state.contains(fmt::format("model.6.m.{}.cv1.conv.weight", repeats))) ++repeats;
    struct Size {
        const char* name;
        size_t stem, repeats;
    };
    static constexpr Size yolo11[] = {{"n", 16, 1}, {"s", 32, 1}, {"m", 64, 1}, {"l", 64, 2}, {"x", 96, 2}};
    static constexpr Size yolov8[] = {{"n", 16, 2}, {"s", 32, 2}, {"m", 48, 4}, {"l", 64, 6}, {"x", 80, 6}};
    for (const Size& s : family == "YOLO11" ? yolo11 : yolov8)
        if (s.stem == stem->second.shape[0] && s.repeats == repeats) return s.name;
    return fmt::format(" ({} channels, {} blocks)", stem->second.shape[0], repeats);
}

std::optional<RecognisedModel> recognise(const StoredModel& file) {
    const StateDict& state = file.state;
    const auto any = [&](std::string_view part) {
        return std::ranges::any_of(state, [&](const auto& e) { return e.first.find(part) != e.first.npos; });
    };
    const auto refused = [](std::string_view what) { return RecognisedModel{.text = not_covered(what)}; };
    const std::string head = head_of(state);
    if (head.empty()) {
        if (any("enc_score_head.")) return refused("an RT-DETR");
        if (any(".anchor_conv.") && any(".class_conv."))
            return refused("a YOLOv9 of MIT's code (MultimediaTechLab/YOLO)");
        return {};
    }
    const auto has = [&](const std::string& name) { return state.contains(name); };
    if (any(".proto.")) return refused("a YOLO for segmentation (-seg)");
    if (any(head + "cv4.") && !any(head + "dfl2")) return refused("a YOLO for poses or oriented boxes (-pose, -obb)");
    if (any(".one2one_")) return refused("a YOLOv10 or YOLO26");
    if (any(head + "dfl2"))
        return refused(
            "a YOLOv9 with the second branch that its training uses (convert it to its inference form first)");
    if (any(".area_attn.") || any(".attn.qk.") || has("model.6.m.0.0.attn.qkv.conv.weight"))
        return refused("a YOLOv12 or a later network");
    const auto last = state.find(head + "cv3.0.2.weight");
    const size_t classes = last != state.end() && last->second.shape.size() == 4 ? last->second.shape[0] : 0;
    const auto known = [&](std::string_view family, std::string size) {
        return RecognisedModel{.text = std::string(family) + size, .classes = classes};
    };
    if (classes == 0) return refused("a YOLO with a head of another kind");
    if (head == "model.23." && has("model.10.m.0.attn.qkv.conv.weight"))
        return known("YOLO11", size_of(state, "YOLO11"));
    if (head == "model.22." && has("model.2.cv2.0.cv1.conv.weight")) return known("YOLOv9-C", "");
    if (head == "model.22." && has("model.9.cv2.conv.weight") && has("model.21.m.0.cv1.conv.weight"))
        return known("YOLOv8", size_of(state, "YOLOv8"));
    return refused("a YOLO network of another form");
}

}  // namespace

ModelFamily anchor_free_family() { return {.task = "detect", .names = {}, .make = nullptr, .recognise = recognise}; }
