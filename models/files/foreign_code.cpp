// What a pickle asks Python to call or to make, apart from what checkpoints are made of.
#include <algorithm>

#include "models/files/torch_file.h"

namespace {

// Packages whose objects lie beside weights: optimizers, settings, histories. Only their classes, which begin with a
// capital letter, count as known; their functions may do anything.
constexpr std::string_view kPackages[] = {
    "torch.",     "torchvision.", "torchmetrics.", "timm.",          "lightning.",        "numpy.",
    "lightning_", "fastai.",      "fastcore.",     "fasttransform.", "transformers.",     "ultralytics.",
    "models.",    "utils.",       "yolov5.",       "omegaconf.",     "pathlib.",          "datetime.",
    "argparse.",  "collections.", "composer.",     "mmengine.",      "pytorch_lightning."};

constexpr std::string_view kFunctions[] = {"torch.device",
                                           "torch.nn.backends.thnn._get_thnn_function_backend",
                                           "torch.serialization._get_layout",
                                           "torch._tensor._rebuild_from_type_v2",
                                           "collections.defaultdict",
                                           "copy_reg._reconstructor",
                                           "copyreg._reconstructor",
                                           "copyreg.__newobj__",
                                           "_codecs.encode",
                                           "datetime.datetime",
                                           "datetime.date",
                                           "datetime.timedelta",
                                           "types.SimpleNamespace",
                                           "numpy.dtype",
                                           "numpy.ndarray"};

constexpr std::string_view kBuiltins[] = {"set",    "frozenset", "dict",  "list", "tuple", "slice", "range", "complex",
                                          "object", "bytearray", "bytes", "bool", "int",   "float", "str"};

bool known(std::string_view name) {
    if (std::ranges::count(kFunctions, name)) return true;
    if (name.find("multiarray.") != name.npos) return name.ends_with(".scalar") || name.ends_with("._reconstruct");
    for (const std::string_view module : {"builtins.", "__builtin__."})
        if (name.starts_with(module)) return std::ranges::count(kBuiltins, name.substr(module.size()));
    if (name.starts_with("torch._utils._rebuild_")) return true;
    const std::string_view last = name.substr(name.rfind('.') + 1);
    // v8DetectionLoss and v10Detect of ultralytics are classes too.
    const bool is_class =
        last.size() > 1 && ((last[0] >= 'A' && last[0] <= 'Z') || (last[0] == 'v' && last[1] >= '0' && last[1] <= '9'));
    return is_class && std::ranges::any_of(kPackages, [&](std::string_view p) { return name.starts_with(p); });
}

// Calls that give a builtin class, as dill pickles one, and the forward() that a fused layer of ultralytics has instead
// of its class's.
bool inert(PickleValue callee, PickleValue arguments) {
    if (callee.is_global("dill._dill._load_type"))
        return arguments.size() == 1 && std::ranges::count(kBuiltins, arguments[0].text()) > 0;
    const bool attribute = callee.is_global("__builtin__.getattr") || callee.is_global("builtins.getattr");
    return attribute && arguments[0].is(PickleKind::object) && arguments[1].text() == "forward_fuse";
}

std::string shown(PickleValue value) {
    if (value.is(PickleKind::text)) return "'" + std::string(value.text().substr(0, 60)) + "'";
    if (value.is(PickleKind::integer)) return std::to_string(value.integer());
    return value.is(PickleKind::global) ? std::string(value.text().substr(0, 60)) : "...";
}

}  // namespace

std::vector<std::string> TorchFile::foreign_code() const {
    std::vector<std::string> found;
    for (uint32_t i = 0; i < tree_->nodes.size() && found.size() < 20; ++i) {
        const PickleNode& node = tree_->nodes[i];
        if (node.kind != PickleKind::object) continue;
        const PickleValue callee(tree_.get(), node.callee), arguments = PickleValue(tree_.get(), i).arguments();
        if (known(callee.is_global("functools.partial") ? arguments[0].text() : callee.text())) continue;
        if (inert(callee, arguments)) continue;
        if (callee.callee().is_global("dill._dill._load_type") && inert(callee.callee(), callee.arguments())) continue;
        std::string text = callee.is(PickleKind::global) ? std::string(callee.text()) : "the result of a call";
        text += '(';
        for (size_t a = 0; a < std::min<size_t>(arguments.size(), 3); ++a)
            text += (a ? ", " : "") + shown(arguments[a]);
        text += arguments.size() > 3 ? ", ...)" : ")";
        if (std::ranges::find(found, text) == found.end()) found.push_back(std::move(text));
    }
    return found;
}
