#include "models/files/anchor_free_file.h"

#include <algorithm>
#include <cmath>

#include "kernels/detect.h"
#include "models/files/anchor_free_modules.h"

namespace {

constexpr std::string_view kVariance = ".bn.running_var";

// ---- from the tensors of training to those of detection

StateDict without_normalization(const WeightFile& file, StateDict state, double epsilon) {
    Folding folding{.eps = epsilon};
    for (const auto& [name, variance] : state)
        if (name.ends_with(kVariance)) {
            const std::string layer = name.substr(0, name.size() - kVariance.size());
            const auto weight = state.find(layer + ".conv.weight");
            if (weight == state.end() || weight->second.shape.empty() ||
                weight->second.shape[0] != variance.values.size())
                fail(Fault::damaged, "{}: {} does not fit the weights of its convolution", file.path, name);
            for (const char* part : {".bn.weight", ".bn.bias", ".bn.running_mean"})
                if (const auto other = state.find(layer + part);
                    other == state.end() || other->second.shape != variance.shape)
                    fail(Fault::damaged, "{}: {}{} is missing or has another shape than {}", file.path, layer, part,
                         name);
            folding.conv_bn.emplace_back(layer + ".conv", layer + ".bn");
        }
    return fold_batch_norm(std::move(state), folding);
}

// NAME.conv1 (3x3) and NAME.conv2 (1x1) become NAME.conv: the small kernel is added in the middle of the large one.
void join_rep_convs(const WeightFile& file, StateDict& state) {
    constexpr std::string_view large = ".conv1.conv.weight";
    std::vector<std::string> names;
    for (const auto& [name, tensor] : state)
        if (name.ends_with(large)) names.push_back(name.substr(0, name.size() - large.size()));
    for (const std::string& name : names) {
        HostTensor w = state.at(name + ".conv1.conv.weight"), b = state[name + ".conv1.conv.bias"];
        const HostTensor &small = state[name + ".conv2.conv.weight"], &other = state[name + ".conv2.conv.bias"];
        const Shape& s = w.shape;
        if (s.size() != 4 || s[2] != 3 || s[3] != 3 || small.shape != Shape{s[0], s[1], 1, 1} ||
            b.shape != Shape{s[0]} || other.shape != b.shape)
            fail(Fault::damaged, "{}: {} is not a 3x3 and a 1x1 convolution of the same channels", file.path, name);
        const std::span<float> values = w.values.mutable_data(), bias = b.values.mutable_data();
        for (size_t i = 0; i < small.values.size(); ++i) values[i * 9 + 4] += small.values[i];
        for (size_t i = 0; i < bias.size(); ++i) bias[i] += other.values[i];
        for (const char* part : {".conv1.conv", ".conv2.conv"})
            state.erase(name + part + ".weight"), state.erase(name + part + ".bias");
        state[name + ".conv.weight"] = std::move(w);
        state[name + ".conv.bias"] = std::move(b);
    }
}

// A convolution in groups of the head as one over all channels. The few that networks have are so small that the zeros
// cost less than another kernel would: 0.5 % of YOLOv9-C.
HostTensor without_groups(const HostTensor& w, size_t channels) {
    const size_t out = w.shape[0], per_group = w.shape[1], taps = w.shape[2] * w.shape[3];
    const size_t groups = channels / per_group, rows = out / groups;
    std::vector<float> values(out * channels * taps);
    for (size_t o = 0; o < out; ++o)
        std::copy_n(w.values.data() + o * per_group * taps, per_group * taps,
                    values.data() + (o * channels + o / rows * per_group) * taps);
    return {{out, channels, w.shape[2], w.shape[3]}, std::move(values)};
}

void join_groups(StateDict& state) {
    for (auto& [name, tensor] : state) {
        const size_t level = name.find(".cv2.");  // model.22.cv2.L.1.conv.weight, model.22.cv2.L.2.weight
        const bool second = name.ends_with(".1.conv.weight"), third = name.ends_with(".2.weight");
        if (!name.starts_with("model.22.cv2.") || !(second || third) || tensor.shape.size() != 4) continue;
        const auto first = state.find(name.substr(0, level + 6) + ".0.conv.weight");
        if (first == state.end() || first->second.shape.empty() || !tensor.shape[1]) continue;
        const size_t channels = first->second.shape[0];
        if (tensor.shape[1] < channels && channels % tensor.shape[1] == 0 &&
            tensor.shape[0] % (channels / tensor.shape[1]) == 0)
            tensor = without_groups(tensor, channels);
    }
}

// What stands beside the convolutions of a head: 0 to 15, and what a validation left behind.
void drop_constants(const WeightFile& file, StateDict& state) {
    for (auto entry = state.begin(); entry != state.end();) {
        const std::string& name = entry->first;
        const std::string last = name.substr(name.rfind('.') + 1);
        const bool bins = name.ends_with(".dfl.conv.weight");
        if (bins) {
            const HostTensor& t = entry->second;
            bool counted = t.values.size() == kDistanceBins;
            for (size_t i = 0; counted && i < kDistanceBins; ++i) counted = t.values[i] == float(i);
            if (!counted)
                fail(Fault::usage, "{}: {} is not 0 to {}; only such distributions of distances can be decoded",
                     file.path, name, kDistanceBins - 1);
        }
        const bool cached = last == "stride" || last == "strides" || last == "anchors";
        entry = bins || cached ? state.erase(entry) : std::next(entry);
    }
}

// ---- the description in the file

// The last convolution of a layer, by its class: its width is that of the layer.
std::string_view last_convolution(std::string_view type) {
    if (type == "Conv") return ".conv";
    if (type == "C3k2" || type == "C2f" || type == "SPPF" || type == "C2PSA") return ".cv2.conv";
    if (type == "RepNCSPELAN4") return ".cv4.conv";
    return type == "SPPELAN" ? ".cv5.conv" : "";
}

struct Scale {
    double depth = 1, width = 1, most = 1e9;
    bool large = false;  // m, l and x have C3k in every C3k2
};

Scale scale_of(const WeightFile& file, PickleValue yaml) {
    const PickleValue scales = yaml.find("scales"), letter = yaml.find("scale");
    if (!scales.is(PickleKind::dict) || !letter.is(PickleKind::text)) {
        Scale s;
        if (const PickleValue depth = yaml.find("depth_multiple"); depth.real() > 0) s.depth = depth.real();
        if (const PickleValue width = yaml.find("width_multiple"); width.real() > 0) s.width = width.real();
        return s;
    }
    const PickleValue s = scales.find(letter.text());
    if (s.size() < 3) fail(Fault::damaged, "{}: its description has no scale '{}'", file.path, letter.text());
    const std::string_view name = letter.text();
    return {s[0].real(), s[1].real(), s[2].real(), name == "m" || name == "l" || name == "x"};
}

// The widths inside a layer: half of it or another part in C3k2 and C2f, numbers of their own in YOLOv9.
void check_inside(const WeightFile& file, const AnchorFreeConfig& config, PickleValue layer, const std::string& name,
                  std::string_view type, double width) {
    const PickleValue settings = layer[3];
    double wanted = 0;
    if (type == "C2f") wanted = 2 * std::floor(width / 2);
    if (type == "C3k2") wanted = 2 * std::floor(width * (settings[2].real() > 0 ? settings[2].real() : 0.5));
    if (type == "RepNCSPELAN4" || type == "SPPELAN") wanted = settings[1].real();
    const auto found = config.widths.find(name + ".cv1.conv");
    if (wanted > 0 && found != config.widths.end() && double(found->second) != wanted)
        fail(Fault::damaged, "{}: its description gives {}.cv1 {} channels, its tensor has {}", file.path, name, wanted,
             found->second);
}

// Every layer that the description gives a width and repeats must have them.
void check_description(const WeightFile& file, const AnchorFreeConfig& config) {
    const PickleValue yaml = file.module.find("yaml");
    if (!yaml.is(PickleKind::dict)) return;
    const Scale scale = scale_of(file, yaml);
    const auto classes = yaml.find("nc");
    if (classes.is(PickleKind::integer) && size_t(classes.integer()) != config.classes)
        fail(Fault::damaged, "{}: its description speaks of {} classes, its head has {}", file.path, classes.integer(),
             config.classes);
    size_t layer = 0;
    for (const char* part : {"backbone", "head"}) {
        const PickleValue layers = yaml.find(part);
        for (size_t i = 0; i < layers.size(); ++i, ++layer) {
            const std::string type(layers[i][2].text().substr(layers[i][2].text().rfind('.') + 1));
            const std::string found(child_module(file.module, fmt::format("model.{}", layer)).type_name());
            if (found.substr(found.rfind('.') + 1) != type)
                fail(Fault::damaged, "{}: its description calls layer {} {}, and it is {}", file.path, layer, type,
                     found.empty() ? "missing" : found);
            const std::string name = fmt::format("model.{}{}", layer, last_convolution(type));
            const auto width = config.widths.find(name);
            if (last_convolution(type).empty() || width == config.widths.end()) continue;
            const double base = layers[i][3][0].real();
            const double wanted = std::ceil(std::min(base, scale.most) * scale.width / 8) * 8;
            const bool as_it_is = base == double(config.classes);  // ultralytics does not scale such a width
            if (double(width->second) != (as_it_is ? base : wanted))
                fail(Fault::damaged, "{}: its description gives layer {} {} channels, {}.weight has {}", file.path,
                     layer, wanted, name, width->second);
            check_inside(file, config, layers[i], fmt::format("model.{}", layer), type, double(width->second));
            const bool c3k = scale.large || layers[i][3][1].boolean();
            if (type == "C3k2" && config.widths.contains(fmt::format("model.{}.m.0.cv3.conv", layer)) != c3k)
                fail(Fault::damaged, "{}: its description gives layer {} {}C3k blocks, and its tensors differ",
                     file.path, layer, c3k ? "" : "no ");
            size_t blocks = 0;
            while (config.widths.contains(fmt::format("model.{}.m.{}.cv1.conv", layer, blocks)) ||
                   config.widths.contains(fmt::format("model.{}.m.{}.attn.qkv.conv", layer, blocks)))
                ++blocks;
            const double repeats = std::max(1.0, std::nearbyint(layers[i][1].real() * scale.depth));
            if (blocks && double(blocks) != repeats)
                fail(Fault::damaged, "{}: its description gives layer {} {} blocks, and it has {}", file.path, layer,
                     repeats, blocks);
        }
    }
}

// Every parameter of the network is in the file with its shape, and nothing else is.
void check_shapes(const WeightFile& file, const AnchorFreeConfig& config, const StateDict& state) {
    Graph graph;
    try {
        make_model(config).trace(graph.input("x", {1, 64, 64, 3}, DType::f32));
    } catch (const Error& error) {
        fail(Fault::damaged, "{}: {}", file.path, error.what());
    }
    std::map<std::string, Shape> wanted;
    for (const ValueInfo& v : graph.values)
        if (v.kind == ValueKind::parameter) {
            const Shape& s = v.shape;
            wanted[v.name] = s.size() == 4 ? Shape{s[0], s[3], s[1], s[2]} : s;
        }
    for (const auto& [name, shape] : wanted) {
        const auto found = state.find(name);
        if (found == state.end())
            fail(Fault::damaged, "{}: has no tensor {}, which a {} needs", file.path, name, config.family);
        if (found->second.shape != shape)
            fail(Fault::damaged, "{}: tensor {} has shape {}, where this {} needs {}", file.path, name,
                 to_string(found->second.shape), config.family, to_string(shape));
    }
    for (const auto& [name, tensor] : state)
        if (!wanted.contains(name))
            fail(Fault::usage, "{}: has {}, which a {} does not have; only the standard networks can be run", file.path,
                 name, config.family);
}

}  // namespace

AnchorFreeWeights read_anchor_free(WeightFile& file) {
    AnchorFreeWeights result{.config = {}, .state = {}};
    AnchorFreeConfig& config = result.config;
    for (const std::string_view family : {"YOLO11", "YOLOv9-C", "YOLOv8"})
        if (file.model.text.starts_with(family)) config.family = family;
    config.classes = file.model.classes;
    const auto said = [&](const char* key) { return file.metadata.contains(key); };
    if (!file.module.is(PickleKind::object) && !said("tundra.model"))
        fail(Fault::usage,
             "{}: holds the tensors of a {} alone, which do not say its settings, classes and image size; save the "
             "whole checkpoint, as its training does",
             file.path, config.family);
    if (file.model.class_names.size() != config.classes)
        fail(Fault::usage, "{}: does not name its {} classes; tundra import {} -o x.safetensors --classes a,b,... does",
             file.path, config.classes, file.path);
    const AnchorFreeModules modules = check_anchor_free_modules(file, config.family);
    config.plain_pool = modules.plain_pool || said("tundra.plain_pool");
    result.state = without_normalization(file, std::move(file.state), modules.epsilon);
    join_rep_convs(file, result.state);
    drop_constants(file, result.state);
    join_groups(result.state);
    constexpr std::string_view weight = ".weight";
    for (const auto& [name, tensor] : result.state)
        if (name.ends_with(weight) && tensor.shape.size() == 4)
            config.widths[name.substr(0, name.size() - weight.size())] = tensor.shape[0];
    check_shapes(file, config, result.state);
    check_description(file, config);
    result.ultralytics = file.module.type_name().starts_with("ultralytics.");
    return result;
}
