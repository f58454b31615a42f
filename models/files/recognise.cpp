#include "models/files/recognise.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "models/anchor_free.h"
#include "models/files/checkpoint_facts.h"
#include "models/files/module_check.h"

namespace {

using nlohmann::json;

// The name of an architecture, as timm and training scripts store it, if it is a ResNet's and none that tundra builds:
// "resnetaa50", "seresnet50", but not "timm/resnet50.a1_in1k" or "tv_resnet50".
bool is_other_resnet(const std::string& text) {
    const std::string name = lower(text);
    const size_t at = name.find("resne");
    if (at == name.npos) return false;
    const auto letter = [&](size_t i) { return i < name.size() && name[i] >= 'a' && name[i] <= 'z'; };
    if ((at > 0 && letter(at - 1)) || name.find("wide") < at || name.find("dilat") != name.npos) return true;
    const std::string rest = name.substr(at);
    for (const char* plain : {"resnet50", "resnet101", "resnet152", "resnet-50", "resnet-101", "resnet-152"})
        if (rest.starts_with(plain)) {
            const size_t end = at + std::string_view(plain).size();
            return letter(end) || (end < name.size() && name[end] >= '0' && name[end] <= '9');
        }
    return rest.size() > 6 || rest != "resnet";
}

// "torch.nn.ReLU(inplace=True)" as relu; "" of what is no name.
std::string layer_word(const json& value) {
    if (!value.is_string()) return value.is_structured() ? "unknown" : "";
    std::string word = lower(value.get<std::string>());
    word = word.substr(0, word.find('('));
    word = word.substr(word.rfind('.') + 1);
    std::erase_if(word, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
    return word;
}

// Settings of timm and torchvision that make another network of the same tensors: another pooling or activation,
// filters against aliasing, dilation; "" without any.
std::string other_settings(const json& facts) {
    std::string other;
    const auto look = [&](const std::string& above, const json& level) {
        const auto differs = [&](const std::string& key, auto usual) {
            const json& value = member(level, key);
            if (!value.is_null() && !usual(value) && other.empty())
                other = fmt::format("a ResNet with {}{}{} = {}, which tundra does not build", above,
                                    above.empty() ? "" : ".", key, one_line(value));
        };
        const auto one_of = [](std::initializer_list<const char*> usual) {
            return [usual](const json& v) { return std::ranges::count(usual, layer_word(v)) > 0; };
        };
        for (const char* pool : {"gp", "global_pool"})
            differs(pool, one_of({"", "avg", "fast", "fastavg", "mean", "average", "gap", "adaptiveavgpool2d"}));
        differs("act_layer", one_of({"", "relu", "none"}));
        differs("aa_layer", one_of({"", "none", "false"}));
        differs("output_stride", [](const json& v) { return !v.is_number() || v == json(32); });
        differs("replace_stride_with_dilation", [](const json& v) {
            return !v.is_array() || std::ranges::none_of(v, [](const json& one) { return one == json(true); });
        });
    };
    look("", facts);
    for (const auto& [name, level] : facts.items()) {
        look(name, level);
        for (const char* of_network : {"model_kwargs", "model_args"})
            look(name + "." + of_network, member(level, of_network));
    }
    return other;
}

// Settings in the file that the names of its tensors cannot tell.
std::string stated_difference(const WeightFile& file, const json& facts, bool transformers, bool yolo) {
    for (const auto& [key, value] : file.metadata) {
        const std::string last = key.substr(key.rfind('.') + 1);
        if (yolo && last == "activation" && value.find("SiLU") == value.npos)
            return fmt::format("a YOLOv5 with the activation {} ({}); tundra builds SiLU", value, key);
        const bool names_network = last == "arch" || last == "architecture" || last == "model_name" ||
                                   last == "backbone" || key == "args.model";
        if (!yolo && names_network && !key.starts_with("preprocess.") && is_other_resnet(value))
            return fmt::format("a network called '{}' ({}), which tundra does not build", value, key);
    }
    if (!yolo)
        if (std::string other = other_settings(facts); !other.empty()) return other;
    const auto config = facts.find("config.json");
    if (!transformers || config == facts.end() || !config->is_object()) return "";
    for (const char* key : {"downsample_in_bottleneck", "downsample_in_first_stage"})
        if (config->value(key, json(false)) != json(false))
            return fmt::format("a ResNet of transformers with {}, which tundra does not build", key);
    if (const json activation = config->value("hidden_act", json("relu")); activation != json("relu"))
        return fmt::format("a ResNet of transformers with the activation {}; tundra builds ReLU", activation.dump());
    return "";
}

// The pickled module around the network, by the name under which the file has it.
std::pair<std::string, PickleValue> module_of(const WeightFile& file, const FoundNetwork& found) {
    if (file.torch)
        for (const auto& [path, module] : file.torch->content(file.torch->root()).modules)
            if (found.prefix.starts_with(path.empty() ? "" : path + ".")) return {path, module};
    return {};
}

struct OtherYolo {
    std::string_view type, what;
};
// By the class of a layer. YOLOv5 has a Segment and a Classify of its own, and C3.
constexpr OtherYolo kUltralytics[] = {{"Segment", "a YOLO for segmentation (-seg)"},
                                      {"Pose", "a YOLO for poses (-pose)"},
                                      {"OBB", "a YOLO for oriented boxes (-obb)"},
                                      {"Classify", "a YOLO for whole images (-cls)"},
                                      {"RTDETRDecoder", "an RT-DETR"},
                                      {"WorldDetect", "a YOLO-World"},
                                      {"YOLOEDetect", "a YOLOE"},
                                      {"v10Detect", "a YOLOv10"},
                                      {"C3", "a YOLOv5 with a head without anchors (yolov5nu, yolov5su, ...)"}};
constexpr OtherYolo kYolos[] = {{"A2C2f", "a YOLOv12"},
                                {"CBLinear", "a YOLOv9-E, or a YOLOv9 with the second branch that only training uses"},
                                {"DualDDetect", "a YOLOv9 with the second branch that only training uses"},
                                {"TripleDDetect", "a YOLOv9 with the branches that only training uses"},
                                {"DSegment", "a YOLOv9 for segmentation"},
                                {"ELAN1", "a YOLOv9-T or -S"},
                                {"AConv", "a YOLOv9-T, -S or -M"}};

// Which YOLO a pickled network is, if its layers show that it is none that tundra runs; else "".
std::string other_yolo(const WeightFile& file) {
    if (!file.torch) return "";
    for (const auto& [path, module] : file.torch->content(file.torch->root()).modules) {
        const bool ultralytics = module.type_name().starts_with("ultralytics.");
        const PickleValue layers = child_module(module, "model").find("_modules");
        std::string_view what;
        for (size_t i = 0; i < layers.size(); ++i) {
            const std::string_view type = layers[i].type_name();
            const auto look = [&](std::span<const OtherYolo> table) {
                for (const OtherYolo& other : table)
                    if (type.substr(type.rfind('.') + 1) == other.type && (what.empty() || i + 1 == layers.size()))
                        what = other.what;
            };
            if (ultralytics) look(kUltralytics);
            look(kYolos);
            if (ultralytics && child_module(layers[i], "one2one_cv3").is(PickleKind::object) && what.empty())
                what = "a YOLO26, or another YOLO that selects its boxes by itself";
        }
        if (what.empty()) continue;
        const std::string_view yaml = module.find("yaml").find("yaml_file").text();
        return not_covered(yaml.empty() ? std::string(what)
                                        : fmt::format("{} ({})", what, yaml.substr(yaml.rfind('/') + 1)));
    }
    return "";
}

std::string check_layers(WeightFile& file, const FoundNetwork& found, std::span<const CheckpointTensor> tensors) {
    const auto [path, module] = module_of(file, found);
    if (!module.is(PickleKind::object)) return "";
    file.module = module;
    if (const size_t above = path.empty() ? 0 : path.size() + 1; found.prefix.size() > above)
        file.module =
            child_module(module, std::string_view(found.prefix).substr(above, found.prefix.size() - above - 1));
    std::map<std::string, std::string> names;
    for (size_t i = 0; i < tensors.size(); ++i)
        if (!found.names[i].empty()) names.emplace(tensors[i].name, found.names[i]);
    for (const auto& [full, name] : names)
        if (name.ends_with(".dfl.conv.weight")) return "";  // models/files/anchor_free_modules.h looks at these
    const ModuleCheck check = check_modules(module, path, found.prefix, names, !found.lacks.empty());
    if (check.epsilon > 0) file.metadata.emplace("batch_norm_epsilon", fmt::format("{}", float(check.epsilon)));
    return check.problem;
}

// What an unknown file holds, for the message that refuses it.
std::string shown_names(std::span<const CheckpointTensor> tensors) {
    std::string text;
    for (size_t i = 0; i < std::min<size_t>(tensors.size(), 3); ++i)
        text += (i ? ", " : "") + tensors[i].name.substr(0, 80);
    return text + (tensors.size() > 3 ? ", ..." : "");
}

RecognisedModel recognised(WeightFile& file, const FoundNetwork& found, std::span<const CheckpointTensor> tensors,
                           const json& facts) {
    if (file.metadata.contains("state") && file.metadata.contains("xxh3"))
        return {
            .text =
                "a training checkpoint of tundra; name its run folder instead, which has model.safetensors once the "
                "training has finished"};
    if (std::string other = other_yolo(file); !other.empty()) return {.text = std::move(other)};
    if (!found.trouble.empty()) return {.text = found.trouble};
    const std::string layers = check_layers(file, found, tensors);
    for (const ModelFamily& family : model_families()) {
        std::optional<RecognisedModel> model = family.recognise({file.path, file.state, file.metadata});
        if (!model) continue;
        if (!model->model && model->classes == 0) return *model;  // known by name, but not one that tundra builds
        model->task = family.task;
        const bool yolo = family.task == "detect";
        if (!layers.empty()) return {.text = fmt::format("a network like {}, but {}", model->text, layers)};
        if (std::string other = stated_difference(file, facts, found.transformers, yolo); !other.empty())
            return {.text = std::move(other)};
        if (found.transformers && !file.torch && !member(facts, "config.json").is_object())
            file.notes.push_back(
                "config.json of transformers is not beside the file; its defaults are assumed (ReLU, strides in "
                "the 3x3 convolutions)");
        if (model->lacks.empty() || model->classes == 0)
            model->lacks = found.lacks.empty() ? model->lacks : found.lacks;
        if (model->classes == 0) {
            model->text += ", without a last layer that tundra can use";
            return *model;
        }
        model->class_names = class_names(facts, model->classes, file.notes);
        model->text += fmt::format(", {} classes", model->classes);
        if (!model->class_names.empty() && model->classes <= 10)
            model->text += fmt::format(": {}", fmt::join(model->class_names, ", "));
        return *model;
    }
    return {.text = fmt::format("no network that tundra knows (it has {})", shown_names(tensors))};
}

}  // namespace

void recognise(WeightFile& file, const FoundNetwork& found, std::span<const CheckpointTensor> tensors,
               const json& facts) {
    file.model = recognised(file, found, tensors, facts);
    if (!file.torch) return;
    for (const std::string& code : file.torch->foreign_code())
        file.notes.push_back(fmt::format("the file asks Python for {}, which tundra never runs; {}", code,
                                         file.model.task.empty() || !file.model.lacks.empty()
                                             ? "whether the weights need it is not known"
                                             : "the weights are complete without it"));
}
