#include "models/yolov5_start.h"

#include <algorithm>
#include <cmath>

namespace {

std::string head_name(const YoloConfig& config, size_t level, const char* part) {
    return fmt::format("model.{}.m.{}.{}", config.detect_layer(), level, part);
}

}  // namespace

StateDict initialize_yolov5(const YoloConfig& config, uint64_t seed) {
    const Model model = make_model(config);
    StateDict state = initialize_state(model, seed);
    const size_t values = 5 + config.classes;
    for (size_t level = 0; level < config.levels.size(); ++level) {
        const std::span<float> bias = state.at(head_name(config, level, "bias")).values.mutable_data();
        const double cells = std::pow(640 / double(config.levels[level].stride), 2);
        for (size_t row = 0; row < bias.size(); ++row)
            if (row % values >= 4)  // a single class is not learned: its score is 1
                bias[row] =
                    float(row % values == 4 ? std::log(8 / cells) : std::log(0.6 / (double(config.classes) - 0.99999)));
    }
    state.insert(model.constants.begin(), model.constants.end());
    return state;
}

DetectorModel retarget_yolov5(const DetectorModel& from, const std::vector<std::string>& classes, uint64_t seed,
                              std::string& note) {
    note.clear();
    if (from.classes == classes) return from;
    DetectorModel model = from;
    model.classes = classes;
    model.config.classes = classes.size();
    const StateDict fresh = initialize_yolov5(model.config, seed);
    const size_t values = 5 + classes.size(), old_values = 5 + from.config.classes;
    std::vector<size_t> source(values);  // old row of each new one; old_values: none
    std::vector<std::string> unknown;
    for (size_t k = 0; k < values; ++k) {
        source[k] = k;
        if (k < 5) continue;
        // The only class of a network was never learned against another, so its rows mean nothing.
        const auto found =
            from.config.classes > 1 ? std::ranges::find(from.classes, classes[k - 5]) : from.classes.end();
        source[k] =
            found == from.classes.end() || classes.size() == 1 ? old_values : 5 + size_t(found - from.classes.begin());
        if (source[k] == old_values) unknown.push_back(classes[k - 5]);
    }
    for (size_t level = 0; level < model.config.levels.size(); ++level)
        for (const char* part : {"weight", "bias"}) {
            const std::string name = head_name(model.config, level, part);
            const HostTensor& old = from.state.at(name);
            HostTensor& head = model.state[name] = fresh.at(name);
            const std::span<float> values_of_head = head.values.mutable_data();
            const size_t length = old.values.size() / (3 * old_values);
            for (size_t row = 0; row < 3 * values; ++row)
                if (const size_t k = source[row % values]; k < old_values)
                    std::copy_n(&old.values[(row / values * old_values + k) * length], length,
                                &values_of_head[row * length]);
        }
    if (!unknown.empty() && classes.size() > 1)
        note = fmt::format("{} knows {}: the outputs for {} start from random weights",
                           from.file_name.empty() ? "the network" : from.file_name, fmt::join(from.classes, ", "),
                           fmt::join(unknown, ", "));
    return model;
}
