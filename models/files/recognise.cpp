// Which network a weight file belongs to, from the names and shapes of its tensors.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "models/files/weights.h"

namespace {

const HostTensor* find(const StateDict& state, const std::string& name) {
    const auto found = state.find(name);
    return found == state.end() ? nullptr : &found->second;
}

// The number of i = 0, 1, ... for which PREFIX i SUFFIX is there.
size_t counted(const StateDict& state, const std::string& prefix, const std::string& suffix) {
    size_t i = 0;
    while (state.contains(prefix + std::to_string(i) + suffix)) ++i;
    return i;
}

std::string and_classes(const RecognisedModel& model) {
    std::string text = fmt::format(", {} classes", model.classes);
    if (!model.class_names.empty() && model.class_names.size() <= 10)
        text += fmt::format(": {}", fmt::join(model.class_names, ", "));
    return text;
}

// A list of names, or a dict {0: name, ...}, of a pickled module; or JSON text in the metadata.
std::vector<std::string> class_names(const WeightFile& file) {
    std::vector<std::string> names;
    const PickleValue pickled = file.module.find("names");
    for (size_t i = 0; i < std::min<size_t>(pickled.size(), 10'000); ++i)
        if (pickled[i].is(PickleKind::text)) names.emplace_back(pickled[i].text().substr(0, 1000));
    for (const char* key : {"class_names", "names", "classes"}) {
        const auto found = file.metadata.find(key);
        if (!names.empty() || found == file.metadata.end()) continue;
        const nlohmann::json list = nlohmann::json::parse(found->second, nullptr, false);
        if (list.is_array())
            for (const auto& name : list)
                if (name.is_string()) names.push_back(name);
    }
    return names;
}

std::optional<RecognisedModel> resnet(const WeightFile& file) {
    const StateDict& state = file.state;
    const HostTensor *stem = find(state, "conv1.weight"), *head = find(state, "fc.weight");
    if (find(state, "conv1.0.weight") && find(state, "layer1.0.conv1.weight"))
        return RecognisedModel{.text = "ResNet with a deep stem (resnet50d and its kin), which tundra does not build"};
    if (!stem || !head || stem->shape.size() != 4 || head->shape.size() != 2) return {};
    size_t blocks[4];
    for (size_t stage = 0; stage < 4; ++stage)
        blocks[stage] = counted(state, fmt::format("layer{}.", stage + 1), ".conv1.weight");
    if (blocks[0] == 0) return {};
    if (head->shape[0] == 0 || stem->shape[0] == 0) return {};
    RecognisedModel model;
    model.classes = head->shape[0];
    model.class_names = class_names(file);
    if (model.class_names.size() != model.classes) model.class_names.clear();
    const bool bottleneck = state.contains("layer1.0.conv3.weight");
    const bool plain = state.contains("layer1.0.downsample.0.weight") && !state.contains("layer1.0.conv1_se.weight");
    for (const auto& [depth, wanted] :
         {std::pair{50u, std::to_array<size_t>({3, 4, 6, 3})}, {101u, {3, 4, 23, 3}}, {152u, {3, 8, 36, 3}}}) {
        if (!std::equal(blocks, blocks + 4, wanted.begin()) || !bottleneck || !plain) continue;
        ResNetConfig config;
        config.depth = depth;
        config.classes = model.classes;
        config.width = stem->shape[0];
        config.keras = state.contains("conv1.bias");
        const auto epsilon = file.metadata.find("batch_norm_epsilon");
        if (config.keras && epsilon != file.metadata.end())
            config.keras_epsilon = std::strtof(epsilon->second.c_str(), nullptr);
        model.resnet = config;
        model.text =
            (config.keras ? "Keras resnet" : "torchvision resnet") + std::to_string(depth) + and_classes(model);
        if (config.width != 64) model.text += fmt::format(", stem of {} channels", config.width);
        return model;
    }
    model.text = fmt::format("ResNet with {}, {}, {}, {} {} blocks, which tundra does not build{}", blocks[0],
                             blocks[1], blocks[2], blocks[3], bottleneck ? "bottleneck" : "basic", and_classes(model));
    return model;
}

std::optional<RecognisedModel> yolov5(const WeightFile& file) {
    const StateDict& state = file.state;
    const HostTensor* stem = find(state, "model.0.conv.weight");
    if (!stem) stem = find(state, "model.0.conv.conv.weight");  // the Focus layer of v5.0
    if (!stem || stem->shape.size() != 4) return {};
    for (const unsigned detect : {24u, 33u}) {
        const std::string layer = fmt::format("model.{}.", detect);
        const HostTensor *anchors = find(state, layer + "anchors"), *head = find(state, layer + "m.0.weight");
        if (!anchors || !head || anchors->shape.size() != 3 || head->shape.size() != 4 || anchors->shape[1] == 0)
            continue;
        const size_t per_anchor = head->shape[0] / anchors->shape[1];
        if (head->shape[0] % anchors->shape[1] || per_anchor < 6) continue;
        RecognisedModel model;
        model.yolov5 = true;
        model.classes = per_anchor - 5;
        model.class_names = class_names(file);
        if (model.class_names.size() != model.classes) model.class_names.clear();
        const size_t width = stem->shape[0], depth = counted(state, "model.2.m.", ".cv1.conv.weight");
        std::string size = fmt::format(" ({} channels, {} bottlenecks)", width, depth);
        for (const auto& [letter, channels, bottlenecks] :
             {std::tuple{"n", 16u, 1u}, {"s", 32u, 1u}, {"m", 48u, 2u}, {"l", 64u, 3u}, {"x", 80u, 4u}})
            if (width == channels && depth == bottlenecks) size = letter;
        model.text =
            fmt::format("YOLOv5{}{}{}", size, detect == 33 ? size.size() == 1 ? "6" : ", P6" : "", and_classes(model));
        return model;
    }
    return {};
}

}  // namespace

RecognisedModel recognise(const WeightFile& file) {
    if (const auto model = resnet(file)) return *model;
    if (const auto model = yolov5(file)) return *model;
    return {};
}
