#include "models/files/anchor_free_modules.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/text.h"
#include "kernels/detect.h"
#include "kernels/types.h"
#include "models/files/module_check.h"

namespace {

// The layers of each network in order, and those that they read where that is not the one before.
constexpr std::string_view kYolo11 =
    "Conv Conv C3k2 Conv C3k2 Conv C3k2 Conv C3k2 SPPF C2PSA Upsample Concat:-1,6 C3k2 Upsample Concat:-1,4 C3k2 Conv "
    "Concat:-1,13 C3k2 Conv Concat:-1,10 C3k2 Detect:16,19,22";
constexpr std::string_view kYolov8 =
    "Conv Conv C2f Conv C2f Conv C2f Conv C2f SPPF Upsample Concat:-1,6 C2f Upsample Concat:-1,4 C2f Conv "
    "Concat:-1,12 C2f Conv Concat:-1,9 C2f Detect:15,18,21";
constexpr std::string_view kYolov9 =
    "Conv Conv RepNCSPELAN4 ADown RepNCSPELAN4 ADown RepNCSPELAN4 ADown RepNCSPELAN4 SPPELAN Upsample Concat:-1,6 "
    "RepNCSPELAN4 Upsample Concat:-1,4 RepNCSPELAN4 ADown Concat:-1,12 RepNCSPELAN4 ADown Concat:-1,9 RepNCSPELAN4 "
    "Detect:15,18,21";

// What stands inside each class: name=Class|Class, * for any number.
struct Block {
    std::string_view type, children;
};
constexpr Block kBlocks[] = {
    {"Conv", "conv=Conv2d bn=BatchNorm2d act=SiLU|Identity"},
    {"DWConv", "conv=Conv2d bn=BatchNorm2d act=SiLU"},
    {"Bottleneck", "cv1=Conv cv2=Conv"},
    {"C3k", "cv1=Conv cv2=Conv cv3=Conv m=Sequential m.*=Bottleneck"},
    {"C3k2", "cv1=Conv cv2=Conv m=ModuleList m.*=C3k|Bottleneck"},
    {"C2f", "cv1=Conv cv2=Conv m=ModuleList m.*=Bottleneck"},
    {"SPPF", "cv1=Conv cv2=Conv m=MaxPool2d"},
    {"C2PSA", "cv1=Conv cv2=Conv m=Sequential m.*=PSABlock"},
    {"PSABlock", "attn=Attention ffn=Sequential ffn.0=Conv ffn.1=Conv"},
    {"Attention", "qkv=Conv proj=Conv pe=Conv"},
    {"RepConv", "conv1=Conv conv2=Conv conv=Conv2d act=SiLU"},
    {"RepBottleneck", "cv1=RepConv cv2=Conv"},
    {"RepCSP", "cv1=Conv cv2=Conv cv3=Conv m=Sequential m.*=RepBottleneck"},
    {"RepNCSPELAN4", "cv1=Conv cv2=Sequential cv2.0=RepCSP cv2.1=Conv cv3=Sequential cv3.0=RepCSP cv3.1=Conv cv4=Conv"},
    {"ADown", "cv1=Conv cv2=Conv"},
    {"SPPELAN", "cv1=Conv cv2=MaxPool2d|SP cv3=MaxPool2d|SP cv4=MaxPool2d|SP cv5=Conv"},
    {"SP", "m=MaxPool2d"},
    {"DFL", "conv=Conv2d"},
    {"Detect",
     "cv2=ModuleList cv2.*=Sequential cv2.*.0=Conv cv2.*.1=Conv cv2.*.2=Conv2d cv3=ModuleList cv3.*=Sequential "
     "cv3.*.0=Conv|Sequential cv3.*.0.0=DWConv|Conv cv3.*.0.1=Conv cv3.*.1=Conv|Sequential cv3.*.1.0=DWConv|Conv "
     "cv3.*.1.1=Conv cv3.*.2=Conv2d dfl=DFL"},
};

// The class without its module, by the name that ultralytics gives it; the authors of YOLOv9 have other names for four.
std::string_view class_of(PickleValue module) {
    const std::string_view type = module.type_name(), last = type.substr(type.rfind('.') + 1);
    constexpr std::pair<std::string_view, std::string_view> same[] = {{"RepNCSP", "RepCSP"},
                                                                      {"RepNBottleneck", "RepBottleneck"},
                                                                      {"RepConvN", "RepConv"},
                                                                      {"DDetect", "Detect"},
                                                                      {"SyncBatchNorm", "BatchNorm2d"}};
    for (const auto& [from, to] : same)
        if (last == from) return to;
    return last;
}

bool is_known_module(PickleValue module) {
    const std::string_view type = module.type_name();
    return type.starts_with("torch.nn.modules.") || type.starts_with("ultralytics.") ||
           type.find("models.") != type.npos;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        parts.push_back(text.substr(0, text.find(separator)));
        text.remove_prefix(std::min(text.size(), parts.back().size() + 1));
    }
    return parts;
}

bool contains(std::string_view list, std::string_view word) {
    const std::vector<std::string_view> all = split(list, '|');
    return std::ranges::find(all, word) != all.end();
}

// "m.*" fits "m.3"
bool fits(std::string_view pattern, std::string_view path) {
    while (!pattern.empty() && !path.empty()) {
        const std::string_view a = pattern.substr(0, pattern.find('.')), b = path.substr(0, path.find('.'));
        if (a != b && !(a == "*" && b.find_first_not_of("0123456789") == b.npos)) return false;
        pattern.remove_prefix(std::min(pattern.size(), a.size() + 1));
        path.remove_prefix(std::min(path.size(), b.size() + 1));
    }
    return pattern.empty() && path.empty();
}

// The classes that may stand at `path` in a block, "" if none may.
std::string_view classes_at(std::string_view block, std::string_view path) {
    for (const Block& b : kBlocks)
        if (b.type == block)
            for (const std::string_view child : split(b.children, ' '))
                if (const size_t equals = child.find('='); fits(child.substr(0, equals), path))
                    return child.substr(equals + 1);
    return "";
}

// A number, or a tuple of equal numbers: torch takes both for the sides of a window.
bool all(PickleValue value, int64_t wanted) {
    if (value.is(PickleKind::integer)) return value.integer() == wanted;
    if (value.size() == 0) return false;
    for (size_t i = 0; i < value.size(); ++i)
        if (!value[i].is(PickleKind::integer) || value[i].integer() != wanted) return false;
    return true;
}

class Checker {
public:
    Checker(const WeightFile& file, std::string_view family) : file_(file), family_(family) {}
    AnchorFreeModules found;

    void network() {
        const std::string_view root = class_of(file_.module);
        if (!is_known_module(file_.module) || !contains("DetectionModel|Model", root))
            fail(Fault::usage, "{}: its network is a {}, which tundra does not know", file_.path,
                 shortened(file_.module.type_name(), 100));
        own_forward(file_.module, "model");
        check_strides(file_.module, std::string(root));
        if (const PickleValue classes = file_.module.find("nc"); classes.is(PickleKind::integer))
            check_classes(classes, std::string(root));
        const PickleValue layers = child_module(file_.module, "model").find("_modules");
        const std::vector<std::string_view> wanted = split(family_ == "YOLO11"   ? kYolo11
                                                           : family_ == "YOLOv8" ? kYolov8
                                                                                 : kYolov9,
                                                           ' ');
        for (size_t i = 0; i < std::max(wanted.size(), layers.size()); ++i) {
            const std::string name = fmt::format("model.{}", i);
            const std::string_view want = i < wanted.size() ? wanted[i] : "nothing";
            if (i < layers.size() && layers.key(i).text() != std::to_string(i)) differs(name, "is not in its place");
            const size_t colon = want.find(':');
            layer_ = child_module(file_.module, name), number_ = i, parent_ = {};
            check_class(layer_, name, want.substr(0, colon));
            read_by_layer(layer_.find("f"), name, colon == want.npos ? "-1" : want.substr(colon + 1));
            block(layer_, name);
        }
    }

private:
    template <class... Parts>
    [[noreturn]] void differs(const std::string& name, fmt::format_string<Parts...> text, Parts&&... parts) const {
        fail(Fault::usage, "{}: its module {} {}; this is not the {} that tundra computes", file_.path,
             shortened(name, 100), shortened(fmt::format(text, std::forward<Parts>(parts)...), 300), family_);
    }

    void check_class(PickleValue module, const std::string& name, std::string_view wanted) const {
        if (!module.is(PickleKind::object) || !contains(wanted, class_of(module)) || !is_known_module(module))
            differs(name, "is a {} where a {} has {}", module.is(PickleKind::object) ? module.type_name() : "nothing",
                    family_, wanted);
    }

    void read_by_layer(PickleValue from, const std::string& name, std::string_view wanted) const {
        std::string text;
        if (from.is(PickleKind::integer)) text = std::to_string(from.integer());
        for (size_t i = 0; i < std::min<size_t>(from.size(), 8); ++i)
            text += (i ? "," : "") + std::to_string(from[i].integer());
        if (text != wanted) differs(name, "reads the layers '{}' where '{}' is usual", text, wanted);
    }

    void own_forward(PickleValue m, const std::string& name) const {
        if (const std::string code = own_code(m); !code.empty()) differs(name, "{}", code);
    }

    void block(PickleValue m, const std::string& name, size_t depth = 0) {
        own_forward(m, name);
        settings(m, class_of(m), name);
        children(m, m, name, "", depth);
    }

    // Those of `m`, which stands at `path` in the block `around`; containers have no settings.
    void children(PickleValue around, PickleValue m, const std::string& name, const std::string& path, size_t depth) {
        const PickleValue modules = m.find("_modules");
        if (depth > 16) return;
        for (size_t i = 0; i < modules.size(); ++i) {
            const PickleValue child = modules[i];
            if (!child.is(PickleKind::object)) continue;  // None: left out
            const std::string key(modules.key(i).text()), child_name = name + "." + key;
            const std::string child_path = path.empty() ? key : path + "." + key;
            if (!path.empty() && key != std::to_string(i)) differs(child_name, "is not in its place");
            const std::string_view wanted = classes_at(class_of(around), child_path);
            check_class(child, child_name, wanted.empty() ? "nothing" : wanted);
            if (class_of(child) == "Sequential" || class_of(child) == "ModuleList") {
                own_forward(child, child_name);
                children(around, child, child_name, child_path, depth + 1);
            } else {
                parent_ = around;
                block(child, child_name, depth + 1);
            }
        }
    }

    void settings(PickleValue m, std::string_view type, const std::string& name) {
        if (type == "Conv" || type == "DWConv") activation(m, name);
        if (type == "RepConv" && child_module(m, "act").is(PickleKind::absent)) differs(name, "has no activation");
        if (type == "Conv2d") convolution(m, name);
        if (type == "BatchNorm2d") normalization(m, name);
        if (type == "Concat" && m.find("d").integer() != 1) differs(name, "does not join channels");
        if (type == "Upsample" && (m.find("mode").text() != "nearest" || m.find("scale_factor").real() != 2))
            differs(name, "does not repeat each pixel twice");
        if (type == "MaxPool2d" &&
            !(all(m.find("kernel_size"), 5) && all(m.find("stride"), 1) && all(m.find("padding"), 2) &&
              all(m.find("dilation"), 1) && !m.find("ceil_mode").boolean()))
            differs(name, "is not a pooling of 5x5 windows, one per pixel");
        if (type == "Bottleneck" || type == "RepBottleneck") {
            const bool adds = family_ != "YOLOv8" || number_ < 10;
            if (!m.find("add").is(PickleKind::boolean) || m.find("add").boolean() != adds)
                differs(name, "{} its input", adds ? "does not add" : "adds");
        }
        if (type == "PSABlock" && m.find("add").is(PickleKind::boolean) && !m.find("add").boolean())
            differs(name, "does not add its input");
        for (const char* pool : {"cv2", "cv3", "cv4"})
            if (type == "SPPELAN" && !child_module(m, pool).is(PickleKind::object)) differs(name, "has no {}", pool);
        if ((type == "SPPF" || type == "SP") && !child_module(m, "m").is(PickleKind::object))
            differs(name, "has no pooling");
        if (type == "SPPF" && m.find("add").boolean()) differs(name, "adds its input");
        if (type == "SPPF" && m.find("n").is(PickleKind::integer) && m.find("n").integer() != 3)
            differs(name, "pools {} times", m.find("n").integer());
        if (type == "Attention") attention(m, name);
        if (type == "Detect") detect(m, name);
    }

    void activation(PickleValue m, const std::string& name) {
        const PickleValue act = child_module(m, "act");
        const bool none = class_of(act) == "Identity";
        if (act.is(PickleKind::absent)) differs(name, "has no activation");
        if (class_of(parent_) == "SPPF" && name.ends_with(".cv1")) {
            found.plain_pool = none;
            return;
        }
        const bool plain = class_of(parent_) == "Attention" || class_of(parent_) == "RepConv" ||
                           (class_of(parent_) == "PSABlock" && name.ends_with(".ffn.1"));
        if (none != plain)
            differs(name + ".act", "is a {} where a {} has {}", act.type_name(), family_, plain ? "Identity" : "SiLU");
    }

    void convolution(PickleValue m, const std::string& name) const {
        const auto weight = file_.state.find(name + ".weight");
        if (weight == file_.state.end() || weight->second.shape.size() != 4) return;  // the shapes are checked later
        const Shape& shape = weight->second.shape;
        const bool between = std::ranges::count(name, '.') == 2;  // between the stages
        const int64_t stride = between || (class_of(layer_) == "ADown" && name.ends_with(".cv1.conv")) ? 2 : 1;
        const int64_t k = int64_t(shape[2]), groups = groups_of(name, shape);
        if (!all(m.find("kernel_size"), k)) differs(name, "does not have the window of its weights");
        if (!all(m.find("stride"), stride)) differs(name, "does not have a stride of {}", stride);
        if (!all(m.find("padding"), k / 2)) differs(name, "does not have a padding of {}", k / 2);
        if (!all(m.find("dilation"), 1)) differs(name, "has a dilation");
        if (m.find("groups").integer() != groups)
            differs(name, "has {} groups where {} are usual", m.find("groups").integer(), groups);
        if (m.find("padding_mode").is(PickleKind::text) && m.find("padding_mode").text() != "zeros")
            differs(name, "does not pad with zeros");
    }

    // Depthwise convolutions, and in the heads of the authors of YOLOv9 some in groups.
    int64_t groups_of(const std::string& name, const Shape& shape) const {
        if (class_of(parent_) == "DWConv" || name.ends_with(".attn.pe.conv")) return int64_t(shape[0]);
        const size_t at = name.find(".cv2.");
        if (class_of(layer_) != "Detect" || at == name.npos || name.ends_with(".0.conv") || shape[1] == 0) return 1;
        const auto first = file_.state.find(name.substr(0, name.find('.', at + 5)) + ".0.conv.weight");
        return first == file_.state.end() || first->second.shape.empty() ? 1
                                                                         : int64_t(first->second.shape[0] / shape[1]);
    }

    void normalization(PickleValue m, const std::string& name) {
        const PickleValue eps = m.find("eps");
        if (!eps.is(PickleKind::real) || !(eps.real() > 0 && eps.real() < 1)) differs(name, "has no epsilon");
        if (normalized_ && eps.real() != found.epsilon)
            differs(name, "has an epsilon of {}, those before it {}", eps.real(), found.epsilon);
        found.epsilon = eps.real(), normalized_ = true;
    }

    // Heads of 64 values, each with keys of half of that.
    void attention(PickleValue m, const std::string& name) const {
        const auto weight = file_.state.find(name + ".proj.conv.weight");
        if (weight == file_.state.end() || weight->second.shape.empty()) return;
        const int64_t channels = int64_t(weight->second.shape[0]), heads = std::max<int64_t>(1, channels / 64),
                      head = channels / heads, key = head / 2;
        if (m.find("num_heads").integer() != heads || m.find("head_dim").integer() != head ||
            m.find("key_dim").integer() != key || std::abs(m.find("scale").real() * std::sqrt(double(key)) - 1) > 1e-6)
            differs(name, "does not have {} heads of {} values with keys of {}", heads, head, key);
    }

    void detect(PickleValue m, const std::string& name) const {
        if (m.find("reg_max").integer() != int64_t(kDistanceBins))
            differs(name, "has distances of {} steps, not {}", m.find("reg_max").integer(), kDistanceBins);
        check_classes(m.find("nc"), name);
        if (m.find("stride").is(PickleKind::absent)) differs(name, "has no strides");
        check_strides(m, name);
    }

    void check_classes(PickleValue classes, const std::string& name) const {
        if (classes.integer() != int64_t(file_.model.classes))
            differs(name, "speaks of {} classes, its tensors have {}", classes.integer(), file_.model.classes);
    }

    void check_strides(PickleValue m, const std::string& name) const {
        const PickleValue value = m.find("stride");
        const std::vector<double> strides = numbers(value);
        if (!value.is(PickleKind::absent) && strides != std::vector<double>{8, 16, 32})
            differs(name, "has the strides {} where the network has 8, 16, 32",
                    strides.empty() ? "'none'" : fmt::format("{}", fmt::join(strides, ", ")));
    }

    // A small tensor that is no parameter, or a list.
    std::vector<double> numbers(PickleValue value) const {
        std::vector<double> result;
        const std::optional<TorchTensor> tensor = file_.torch->tensor(value);
        if (!tensor) {
            for (size_t i = 0; i < std::min<size_t>(value.size(), 8); ++i) result.push_back(value[i].real());
            return result;
        }
        if (tensor->shape != std::vector<size_t>{3}) return result;
        const std::vector<std::byte> bytes = file_.torch->read(*tensor);
        const auto take = [&]<class T>(T one) {
            for (size_t i = 0; (i + 1) * sizeof one <= bytes.size() && i < 8; ++i) {
                std::memcpy(&one, bytes.data() + i * sizeof one, sizeof one);
                result.push_back(double(float(one)));
            }
        };
        if (tensor->dtype == DType::f32) take(float{});
        if (tensor->dtype == DType::f16) take(fp16{});
        if (tensor->dtype == DType::bf16) take(bf16{});
        if (tensor->dtype == DType::f64) take(double{});
        return result;
    }

    const WeightFile& file_;
    std::string_view family_;
    PickleValue layer_{}, parent_{};  // at the top, and the block that holds the module being looked at
    size_t number_ = 0;               // of the layer
    bool normalized_ = false;
};

}  // namespace

AnchorFreeModules check_anchor_free_modules(const WeightFile& file, std::string_view family) {
    Checker checker(file, family);
    if (file.module.is(PickleKind::object)) checker.network();
    return checker.found;
}
