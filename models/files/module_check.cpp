#include "models/files/module_check.h"

#include <algorithm>

#include "base/error.h"

namespace {

bool one_of(std::string_view name, std::initializer_list<std::string_view> list) {
    return std::find(list.begin(), list.end(), name) != list.end();
}

// A number, or a tuple of equal numbers: torch takes both for the sides of a window.
bool all(PickleValue value, int64_t wanted) {
    if (value.is(PickleKind::integer)) return value.integer() == wanted;
    if (!value.is(PickleKind::tuple) && !value.is(PickleKind::list)) return false;
    for (size_t i = 0; i < value.size(); ++i)
        if (!value[i].is(PickleKind::integer) || value[i].integer() != wanted) return false;
    return value.size() > 0;
}

class Checker {
public:
    Checker(const std::string& prefix, const std::map<std::string, std::string>& names, bool headless)
        : prefix_(prefix), names_(names), headless_(headless) {
        for (const auto& [full, name] : names) yolo_ |= name.starts_with("model.");
    }
    ModuleCheck result;

    void walk(PickleValue module, const std::string& path, size_t depth = 0) {
        if (!result.problem.empty() || depth > 64 || ++steps_ > 100'000) return;
        const std::string_view type = module.type_name();
        const std::string dotted = path.empty() ? "" : path + ".";
        // The modules around the network are those whose names its prefix begins with.
        const bool around = prefix_.starts_with(dotted) && dotted.size() < prefix_.size();
        const bool inside = dotted.starts_with(prefix_);
        std::string problem = around ? wrapper(type) : inside ? layer(module, type, path) : beside(type);
        if (problem.empty() && (inside || !headless_)) problem = own_code(module);
        if (!problem.empty()) {
            const std::string what = path.empty() ? "its outermost module" : fmt::format("its layer '{}'", path);
            result.problem = fmt::format("{} {}", what, problem);
            return;
        }
        const PickleValue children = module.find("_modules");
        size_t activations = 0;
        for (size_t i = 0; i < children.size(); ++i) {
            if (!children[i].is(PickleKind::object)) continue;
            activations += children[i].type_name() == "torch.nn.modules.activation.ReLU";
            walk(children[i], dotted + std::string(children.key(i).text()), depth + 1);
        }
        const bool block = inside && last(type) == "Bottleneck",
                   root = dotted == prefix_ && !type.starts_with("transformers.");
        if (!yolo_ && activations == 0 && result.problem.empty() && (block || root))
            result.problem = fmt::format("its layer '{}' has no ReLU", path);
    }

    bool has_pool = false;

private:
    static std::string_view last(std::string_view type) { return type.substr(type.rfind('.') + 1); }
    static std::string unknown(std::string_view type) {
        return fmt::format("is a {}, which tundra does not know there", type);
    }

    std::string wrapper(std::string_view type) const {
        const bool torch =
            type.starts_with("torch.") && one_of(last(type), {"DataParallel", "DistributedDataParallel", "Sequential",
                                                              "AveragedModel", "OptimizedModule"});
        const bool transformers =
            type.starts_with("transformers.models.") &&
            one_of(last(type), {"ResNetForImageClassification", "TimmWrapperForImageClassification"});
        const bool yolo =
            yolo_ && one_of(last(type), {"DetectionModel", "Model", "AutoShape", "DetectMultiBackend", "Ensemble"});
        return torch || transformers || yolo || headless_ ? "" : unknown(type);
    }
    std::string beside(std::string_view type) const {
        const std::string_view name = last(type);
        const bool harmless = one_of(name, {"Linear", "Sequential", "Flatten", "Identity", "Softmax", "LogSoftmax"}) ||
                              name.starts_with("Dropout") || name.ends_with("Loss");
        return headless_ || (type.starts_with("torch.nn.") && harmless) || type.starts_with("torchmetrics.")
                   ? ""
                   : unknown(type);
    }

    std::string layer(PickleValue m, std::string_view type, const std::string& path) {
        const std::string_view name = last(type);
        if (!yolo_ && path.size() > prefix_.size() && !in_body(std::string_view(path).substr(prefix_.size())))
            return beside(type);
        if (type.starts_with("torch.nn.")) {
            if (name == "Conv2d") return convolution(m, path);
            if (one_of(name, {"BatchNorm2d", "SyncBatchNorm"})) return normalization(m);
            if (name == "MaxPool2d") return max_pool(m);
            if (name == "ReLU" && !yolo_) return "";
            if (name == "SiLU" && yolo_) return "";
            if (name == "Upsample" && yolo_) return upsample(m);
            if (name == "Identity") return identity(type, path);
            if (one_of(name, {"Sequential", "ModuleList", "Flatten"}) || name.starts_with("Dropout")) return "";
            if (name == "AdaptiveAvgPool2d" && !yolo_ && all(m.find("output_size"), 1)) return "";
            // torchvision's before 2019; the same for images of 224 pixels.
            if (name == "AvgPool2d" && path == prefix_ + "avgpool" && all(m.find("kernel_size"), 7)) return "";
            return unknown(type);
        }
        if (yolo_) {
            if (type == "utils.activations.SiLU") return "";
            if (type.find("models.") == type.npos) return unknown(type);
            if (name == "Bottleneck") return bottleneck(m, path);
            if (name == "Concat" && m.find("d").integer() != 1) return "does not join channels";
            return one_of(name, {"Conv", "C3", "SPP", "SPPF", "Focus", "Concat", "Detect", "DetectionModel", "Model"})
                       ? ""
                       : unknown(type);
        }
        if (type.starts_with("torchvision.models.") || type.starts_with("timm.models.resnet."))
            return one_of(name, {"ResNet", "Bottleneck"}) ? "" : unknown(type);
        if (type.starts_with("timm.layers.") || type.starts_with("timm.models.layers.")) {
            if (one_of(name, {"DropPath", "DropBlock2d", "FastAdaptiveAvgPool"})) return "";
            const std::string_view pool = m.find("pool_type").text();
            return name == "SelectAdaptivePool2d" && one_of(pool, {"avg", "fast", "fastavg"}) ? "" : unknown(type);
        }
        // The class of the transformers library and its parts; no bottleneck may have its stride in the first layer.
        if (type.starts_with("transformers.models.resnet.") && name != "ResNetBasicLayer") return "";
        return unknown(type);
    }

    // Identity stands where a network leaves something out; there it must not take the place of an activation.
    std::string identity(std::string_view type, const std::string& path) const {
        const std::string_view name = last(path);
        const bool needed = name.starts_with("act") || name.starts_with("relu") || name == "maxpool";
        return needed && name != "activation" ? unknown(type) : "";
    }

    std::string convolution(PickleValue m, const std::string& path) const {
        const auto found = names_.find(path + ".weight");
        if (found == names_.end()) return "";
        const std::string layer = found->second.substr(0, found->second.rfind('.'));
        const PickleValue kernel = m.find("kernel_size"), mode = m.find("padding_mode");
        const int64_t k = kernel.is(PickleKind::integer) ? kernel.integer() : kernel[0].integer();
        int64_t stride = 1;
        if (yolo_)  // those between the stages; Focus halves by itself
            stride = std::ranges::count(layer, '.') == 2 && k > 1 ? 2 : 1;
        else if (layer == "conv1" || (layer.starts_with("layer") && layer.size() > 6 && layer[5] > '1' &&
                                      (layer.substr(6) == ".0.conv2" || layer.substr(6) == ".0.downsample.0")))
            stride = 2;
        if (!all(m.find("stride"), stride)) return fmt::format("does not have a stride of {}", stride);
        if (!all(m.find("padding"), (k - 1) / 2)) return fmt::format("does not have a padding of {}", (k - 1) / 2);
        if (!all(m.find("dilation"), 1)) return "has a dilation";
        if (m.find("groups").integer() != 1) return fmt::format("has {} groups", m.find("groups").integer());
        if (mode.is(PickleKind::text) && mode.text() != "zeros") return "does not pad with zeros";
        return "";
    }

    std::string normalization(PickleValue m) {
        const PickleValue eps = m.find("eps");
        if (!eps.is(PickleKind::real) || !(eps.real() > 0 && eps.real() < 1)) return "has no epsilon";
        if (result.epsilon > 0 && eps.real() != result.epsilon)
            return fmt::format("has an epsilon of {}, those before it {}", eps.real(), result.epsilon);
        result.epsilon = eps.real();
        return "";
    }

    std::string max_pool(PickleValue m) {
        const PickleValue window = m.find("kernel_size"), dilation = m.find("dilation");
        const int64_t k = window.is(PickleKind::integer) ? window.integer() : window[0].integer();
        const bool fits = all(window, yolo_ ? k : 3) && all(m.find("stride"), yolo_ ? 1 : 2) &&
                          all(m.find("padding"), k / 2) && all(dilation, 1) && !m.find("ceil_mode").boolean();
        has_pool = true;
        return fits ? "" : "is a pooling of another kind";
    }

    static std::string upsample(PickleValue m) {
        const PickleValue mode = m.find("mode"), factor = m.find("scale_factor");
        return mode.text() == "nearest" && factor.real() == 2 ? "" : "does not repeat each pixel twice";
    }

    // model.N.m.K of a YOLOv5: those of the backbone add their input, where N is even and at most 10.
    std::string bottleneck(PickleValue m, const std::string& path) const {
        const int number = std::atoi(path.substr(std::min(path.size(), prefix_.size() + 6)).c_str());
        const bool adds = number % 2 == 0 && number <= 10;
        if (!m.find("add").is(PickleKind::boolean) || m.find("add").boolean() != adds)
            return adds ? "does not add its input" : "adds its input";
        return "";
    }

    // The children of a ResNet that are its body, by torchvision's, a Sequential's and transformers' names.
    static bool in_body(std::string_view rest) {
        const std::string_view part = rest.substr(0, rest.find('.'));
        return (part.size() == 1 && part[0] >= '0' && part[0] <= '9') ||
               one_of(part, {"conv1", "bn1", "relu", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4",
                             "avgpool", "global_pool", "embedder", "encoder", "pooler"});
    }

    const std::string& prefix_;
    const std::map<std::string, std::string>& names_;
    bool headless_, yolo_ = false;
    size_t steps_ = 0;
};

}  // namespace

std::string own_code(PickleValue module) {
    const PickleValue forward = module.find("forward");
    const bool fused = forward.is(PickleKind::object) && forward.arguments()[1].text() == "forward_fuse";
    if (!fused && !forward.is(PickleKind::absent)) return "has a forward() of its own";
    for (const char* part : {"bn", "conv1"})
        if (fused && module.find("_modules").find(part).is(PickleKind::object))
            return fmt::format("is fused and has a {}", part);
    for (const char* hooks : {"_forward_hooks", "_forward_pre_hooks"})
        if (module.find(hooks).size() > 0) return "has hooks";
    return "";
}

ModuleCheck check_modules(PickleValue outermost, const std::string& path, const std::string& prefix,
                          const std::map<std::string, std::string>& names, bool headless) {
    Checker checker(prefix, names, headless);
    checker.walk(outermost, path);
    if (checker.result.problem.empty() && !checker.has_pool) checker.result.problem = "it has no max pooling";
    return checker.result;
}
