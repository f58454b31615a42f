#include "models/files/yolov5_file.h"

#include <algorithm>
#include <cmath>

namespace {

constexpr std::string_view kVariance = ".bn.running_var";

const HostTensor& tensor(const WeightFile& file, const std::string& name, size_t dimensions) {
    const auto found = file.state.find(name);
    if (found == file.state.end()) fail(Fault::damaged, "{}: has no tensor {}, which a YOLOv5 needs", file.path, name);
    if (found->second.shape.size() != dimensions)
        fail(Fault::damaged, "{}: tensor {} has shape {}", file.path, name, to_string(found->second.shape));
    return found->second;
}

size_t bottlenecks(const WeightFile& file, size_t layer) {
    size_t n = 0;
    while (file.state.contains(fmt::format("model.{}.m.{}.cv1.conv.weight", layer, n))) ++n;
    return n;
}

// Space to depth and a 3x3 convolution over 12 channels is a 6x6 convolution of stride 2: channel 3 g + c of the twelve
// is colour c at the offset (g mod 2, g div 2) of each 2x2 square.
HostTensor without_focus(const HostTensor& w) {
    const size_t out = w.shape[0];
    std::vector<float> values(out * 3 * 36);
    for (size_t o = 0; o < out; ++o)
        for (size_t g = 0; g < 4; ++g)
            for (size_t c = 0; c < 3; ++c)
                for (size_t i = 0; i < 3; ++i)
                    for (size_t j = 0; j < 3; ++j)
                        values[((o * 3 + c) * 6 + 2 * i + g % 2) * 6 + 2 * j + g / 2] =
                            w.values[((o * 12 + 3 * g + c) * 3 + i) * 3 + j];
    return {{out, 3, 6, 6}, std::move(values)};
}

void replace_focus(WeightFile& file) {
    const std::string old = "model.0.conv.";
    const HostTensor& w = tensor(file, old + "conv.weight", 4);
    if (w.shape[1] != 12 || w.shape[2] != 3 || w.shape[3] != 3)
        fail(Fault::damaged, "{}: the Focus layer has weights of shape {}, not (n, 12, 3, 3)", file.path,
             to_string(w.shape));
    file.state["model.0.conv.weight"] = without_focus(w);
    file.state.erase(old + "conv.weight");
    for (const char* part : {"weight", "bias", "running_mean", "running_var"})
        if (auto node = file.state.extract(old + "bn." + part)) {
            node.key() = std::string("model.0.bn.") + part;
            file.state.insert(std::move(node));
        }
}

// Where the file is a pickled module, its layers must be those that this code builds.
void check_layers(const WeightFile& file, const YoloConfig& config) {
    if (!file.module.find("_modules").find("model").is(PickleKind::object)) return;
    const size_t last = config.channels.size() - 1;
    std::vector<std::string> wanted(2 + 2 * last, "C3");
    for (size_t i = 1; i < wanted.size(); i += 2) wanted[i] = "Conv";
    wanted[0] = "Conv|Focus";
    wanted.back() = "SPPF|SPP";
    if (config.pool_first) std::swap(wanted[wanted.size() - 1], wanted[wanted.size() - 2]);
    for (size_t stage = last - 1; stage >= 2; --stage)
        wanted.insert(wanted.end(), {"Conv", "Upsample", "Concat", "C3"});
    for (size_t stage = 2; stage < last; ++stage) wanted.insert(wanted.end(), {"Conv", "Concat", "C3"});
    wanted.push_back("Detect");
    for (size_t i = 0; i <= wanted.size(); ++i) {
        const std::string type(child_module(file.module, fmt::format("model.{}", i)).type_name());
        const std::string name = type.substr(type.rfind('.') + 1);
        const bool known = i == wanted.size()
                               ? type.empty()
                               : !name.empty() && ("|" + wanted[i] + "|").find("|" + name + "|") != std::string::npos;
        if (!known)
            fail(Fault::usage,
                 "{}: layer {} is '{}' where a YOLOv5 has '{}'; only the standard P5 and P6 networks can be run",
                 file.path, i, type, i < wanted.size() ? wanted[i] : "nothing");
    }
}

size_t pool_window(const WeightFile& file, const YoloConfig& config) {
    const size_t layer = 2 * config.channels.size() - (config.pool_first ? 2 : 1);
    const PickleValue module = child_module(file.module, fmt::format("model.{}.m", layer));
    if (const auto said = file.metadata.find("tundra.pool"); said != file.metadata.end())
        if (const size_t window = size_t(std::atoi(said->second.c_str()));
            window % 2 == 1 && window >= 3 && window <= 13)
            return window;
    if (module.is(PickleKind::absent)) return config.pool_first && config.channels.size() == 6 ? 3 : 5;
    const PickleValue first = child_module(module, "0");
    const int64_t window = (first.is(PickleKind::absent) ? module : first).find("kernel_size").integer();
    // Windows k, 2k - 1, 3k - 2 of SPP are those of one pool applied once, twice, three times.
    for (size_t i = 0; !first.is(PickleKind::absent) && i < 3; ++i)
        if (child_module(module, std::to_string(i)).find("kernel_size").integer() != int64_t(i + 1) * (window - 1) + 1)
            fail(Fault::usage, "{}: the windows of its SPP layer are not those of a standard YOLOv5", file.path);
    if (window < 3 || window > 13 || window % 2 == 0)
        fail(Fault::damaged, "{}: pooling windows of {} pixels", file.path, window);
    return size_t(window);
}

double epsilon_of(const WeightFile& file) {
    for (const char* layer : {"model.0.bn", "model.0.conv.bn"})
        if (const PickleValue eps = child_module(file.module, layer).find("eps"); eps.is(PickleKind::real))
            return eps.real();
    if (const auto said = file.metadata.find("batch_norm_epsilon"); said != file.metadata.end())
        if (const double eps = std::strtod(said->second.c_str(), nullptr); eps > 0 && eps < 1) return eps;
    return 1e-3;  // the default of all YOLOv5 networks
}

YoloConfig config_of(const WeightFile& file, bool focus) {
    YoloConfig config{.channels = {}, .repeats = {}, .levels = {}};
    const bool p6 = file.state.contains("model.33.anchors");
    const size_t stages = p6 ? 5 : 4;
    config.classes = file.model.classes;
    config.pool_first = focus;
    config.channels.push_back(tensor(file, "model.0.conv.weight", 4).shape[0]);
    for (size_t stage = 1; stage <= stages; ++stage) {
        config.channels.push_back(tensor(file, fmt::format("model.{}.conv.weight", 2 * stage - 1), 4).shape[0]);
        config.repeats.push_back(bottlenecks(file, 2 * stage + (focus && stage == stages)));
    }
    config.head_repeats = bottlenecks(file, config.detect_layer() - 1);
    const HostTensor& anchors = tensor(file, fmt::format("model.{}.anchors", config.detect_layer()), 3);
    if (anchors.shape != Shape{stages - 1, 3, 2})
        fail(Fault::usage, "{}: its anchors have shape {}; only three anchors on each of {} levels are possible",
             file.path, to_string(anchors.shape), stages - 1);
    for (size_t level = 0; level + 1 < stages; ++level) {  // stored divided by the stride
        const float stride = float(8 << level);
        BoxLevel& l = config.levels.emplace_back(BoxLevel{.stride = stride, .anchors = {}});
        for (size_t i = 0; i < 6; ++i) l.anchors[i / 2][i % 2] = anchors.values[level * 6 + i] * stride;
    }
    check_layers(file, config);
    config.pool = pool_window(file, config);
    config.epsilon = epsilon_of(file);
    return config;
}

// What a YOLOv5 does not have makes it another network.
void check_unused(const WeightFile& file, const YoloConfig& config) {
    const std::map<std::string, Shape> known = parameter_shapes(make_model(config));
    const std::string detect = fmt::format("model.{}.", config.detect_layer());
    for (const auto& [name, values] : file.state) {
        const bool folded_bias = name.ends_with(".bias") && known.contains(name.substr(0, name.size() - 4) + "weight");
        if (!known.contains(name) && !folded_bias && !name.starts_with(detect + "anchor") && name != detect + "stride")
            fail(Fault::usage,
                 "{}: has {}, which a YOLOv5 does not have; only the standard P5 and P6 networks can be run", file.path,
                 name);
    }
}

void check_normalization(const WeightFile& file) {
    for (const auto& [name, values] : file.state)
        if (name.ends_with(kVariance)) {
            const std::string layer = name.substr(0, name.size() - kVariance.size());
            for (const char* part : {".bn.weight", ".bn.bias", ".bn.running_mean"})
                if (tensor(file, layer + part, 1).shape != values.shape)
                    fail(Fault::damaged, "{}: {}{} does not have the shape of {}", file.path, layer, part, name);
            if (tensor(file, layer + ".conv.weight", 4).shape[0] != values.values.size())
                fail(Fault::damaged, "{}: {} normalizes a different number of channels than its convolution has",
                     file.path, layer);
        }
}

}  // namespace

YoloConfig read_yolov5(WeightFile& file) {
    const bool focus = file.state.contains("model.0.conv.conv.weight");
    if (focus) replace_focus(file);
    YoloConfig config = config_of(file, focus || file.metadata.contains("tundra.pool_first"));
    check_normalization(file);
    check_unused(file, config);
    return config;
}
