#include "models/yolov5_start.h"

#include <algorithm>
#include <cmath>

namespace {

std::string head_name(const YoloConfig& config, size_t level, const char* part) {
    return fmt::format("model.{}.m.{}.{}", config.detect_layer(), level, part);
}

}  // namespace

std::pair<std::string, HostTensor> anchor_tensor(const YoloConfig& config) {
    std::vector<float> anchors;
    for (const BoxLevel& level : config.levels)
        for (const auto& sides : level.anchors)
            for (const float side : sides) anchors.push_back(side / level.stride);
    return {fmt::format("model.{}.anchors", config.detect_layer()), {{config.levels.size(), 3, 2}, std::move(anchors)}};
}

StateDict initialize_yolov5(const YoloConfig& config, uint64_t seed) {
    const auto host = open_device("cpu");
    Graph graph(DType::f32, true);
    const size_t side = 2 * config.largest_stride();
    yolov5(graph.input("x", {1, side, side, 3}, DType::f32), config);
    Parameters parameters(*host, graph);
    initialize(parameters, seed);
    StateDict state = download(parameters);
    const size_t values = 5 + config.classes;
    for (size_t level = 0; level < config.levels.size(); ++level) {
        const std::span<float> bias = state.at(head_name(config, level, "bias")).values.own();
        const double cells = std::pow(640 / double(config.levels[level].stride), 2);
        for (size_t row = 0; row < bias.size(); ++row)
            if (row % values >= 4)  // one class: nothing is learned about it, and its score is 1
                bias[row] =
                    float(row % values == 4 ? std::log(8 / cells) : std::log(0.6 / (double(config.classes) - 0.99999)));
    }
    state.insert(anchor_tensor(config));
    return state;
}

YoloModel retarget_yolov5(const YoloModel& from, const std::vector<std::string>& classes, uint64_t seed,
                          std::string& note) {
    note.clear();
    if (from.classes == classes) return from;
    YoloModel model = from;
    model.classes = classes;
    model.config.classes = classes.size();
    const StateDict fresh = initialize_yolov5(model.config, seed);
    const size_t values = 5 + classes.size(), old_values = 5 + from.config.classes;
    std::vector<size_t> source(values);  // row of an old head for each new one; old_values: none
    std::vector<std::string> anew;
    for (size_t k = 0; k < values; ++k) {
        source[k] = k;
        if (k < 5) continue;
        // The only class of a network was never learned against another: its rows say nothing.
        const auto found =
            from.config.classes > 1 ? std::ranges::find(from.classes, classes[k - 5]) : from.classes.end();
        source[k] =
            found == from.classes.end() || classes.size() == 1 ? old_values : 5 + size_t(found - from.classes.begin());
        if (source[k] == old_values) anew.push_back(classes[k - 5]);
    }
    for (size_t level = 0; level < model.config.levels.size(); ++level)
        for (const char* part : {"weight", "bias"}) {
            const std::string name = head_name(model.config, level, part);
            const HostTensor& old = from.state.at(name);
            HostTensor& head = model.state[name] = fresh.at(name);
            const std::span<float> values_of_head = head.values.own();
            const size_t length = old.values.size() / (3 * old_values);
            for (size_t row = 0; row < 3 * values; ++row)
                if (const size_t k = source[row % values]; k < old_values)
                    std::copy_n(&old.values[(row / values * old_values + k) * length], length,
                                &values_of_head[row * length]);
        }
    if (!anew.empty() && classes.size() > 1)
        note = fmt::format("{} knows {}: in its heads {} start anew",
                           from.file_name.empty() ? "the network" : from.file_name, fmt::join(from.classes, ", "),
                           fmt::join(anew, ", "));
    return model;
}
