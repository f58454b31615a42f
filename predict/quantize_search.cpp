#include "predict/quantize_search.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "engine/op.h"
#include "models/int8.h"

namespace {

constexpr double kTries[] = {0.5, 0.25, 0.125};  // the noise of the quantized layers falls by 3, 6, 9 dB
constexpr double kMostInFloat = 0.5;             // beyond, int8 is hardly faster than bf16

// Without the worst layers: those that are left have this share of the sum of errors.
Int8Layers without_worst(Int8Layers layers, const std::vector<LayerError>& errors, double share) {
    double left = 0;
    for (const LayerError& one : errors) left += one.error;
    const double enough = share * left;
    for (const LayerError& one : errors) {
        if (left <= enough) break;
        layers.convolutions.erase(one.layer);
        left -= one.error;
    }
    return layers;
}

// What just passes on one half often fails on the other.
bool loses_little(const CheckRow& row) { return row.fp32 - row.other <= row.limit / 2 + 1e-9; }

}  // namespace

std::vector<LayerError> errors_of_layers(QuantizedSubject& subject, const Int8Layers& layers,
                                         const std::vector<std::vector<uint8_t>>& images,
                                         const std::function<void(size_t)>& progress) {
    const auto shares = arithmetic_shares(subject.model());
    const auto given_by = output_layers(subject.model());
    using Outputs = std::vector<std::vector<float>>;  // of all images, in the order of the steps
    const auto outputs_of = [&](const Int8Layers& on_bytes) {
        Outputs outputs;
        const auto network = subject.open(on_bytes, [&](const Step& step) {
            const auto found = given_by.find(step.layer);
            if (found == given_by.end() || found->second != step.op->name()) return;
            const float* values = step.out[0].as<const float>();
            outputs.emplace_back(values, values + numel(step.out[0].shape));
        });
        for (const std::vector<uint8_t>& image : images) network(image);
        return outputs;
    };
    const Outputs fp32 = outputs_of({});
    std::vector<LayerError> errors;
    for (const std::string& layer : layers.convolutions) {
        const Outputs outputs = outputs_of({.convolutions = {layer}, .ranges = layers.ranges});
        std::vector<double> squares(given_by.size()), differences(given_by.size());
        for (size_t i = 0; i < outputs.size(); ++i)
            for (size_t k = 0; k < outputs[i].size(); ++k) {
                const double value = 1 / (1 + std::exp(-double(fp32[i][k]))),
                             difference = 1 / (1 + std::exp(-double(outputs[i][k]))) - value;
                squares[i % given_by.size()] += value * value;
                differences[i % given_by.size()] += difference * difference;
            }
        double sum = 0;
        for (size_t i = 0; i < given_by.size(); ++i)
            if (squares[i] > 0) sum += differences[i] / squares[i];
        errors.push_back({layer, sum, shares.at(layer)});
        if (progress) progress(errors.size());
    }
    std::ranges::stable_sort(errors, std::greater(), [](const LayerError& e) { return e.error / e.share; });
    return errors;
}

ChosenLayers choose_layers(QuantizedSubject& subject, const Int8Layers& all,
                           const std::vector<std::vector<uint8_t>>& images, const std::vector<uint32_t>& holdout,
                           const std::function<void(const std::string&)>& say,
                           const std::function<void(size_t)>& progress) {
    ChosenLayers chosen{.layers = all};
    const auto passes = [&](const std::vector<uint32_t>& samples) {
        ++chosen.checks;
        chosen.check = subject.check(chosen.layers, samples);
        for (const std::string& line : chosen.check.lines()) say(line);
        return chosen.check.passed();
    };
    chosen.passed = passes(holdout);
    if (chosen.passed || chosen.check.rows.empty() || chosen.check.images < 2 * chosen.check.fewest) return chosen;
    const size_t rows = chosen.check.rows.size();
    // Eighths in turns, so that few bursts of a camera are in both halves; only images that could be read.
    const std::vector<uint32_t> read = chosen.check.samples;
    std::vector<uint32_t> halves[2];
    for (size_t i = 0; i < read.size(); ++i) halves[i * 8 / read.size() % 2].push_back(read[i]);
    const std::vector<LayerError> errors = errors_of_layers(subject, all, images, progress);
    bool holds = false;  // the last try, on the first half
    for (const double share : kTries) {
        Int8Layers layers = without_worst(all, errors, share);
        if (layers.convolutions == chosen.layers.convolutions) continue;  // one layer alone has most of the errors
        const double in_float = float32_share(subject.model(), layers);
        const bool slow = in_float > kMostInFloat;
        std::vector<std::string> kept;
        for (const LayerError& one : errors)
            if (!layers.convolutions.contains(one.layer)) kept.push_back(one.layer);
        say(fmt::format("with {} more layers in float32 ({}), which has {:.1f} % of the arithmetic then{}", kept.size(),
                        fmt::join(kept, ", "), 100 * in_float,
                        slow ? ": too slow to be worth it" : ", on half of these images:"));
        if (slow) break;
        chosen.layers = std::move(layers);
        holds = passes(halves[0]);
        if (holds && std::ranges::all_of(chosen.check.rows, loses_little)) break;
    }
    if (holds) {
        say("the same on the other half, which decides:");
        chosen.passed = passes(halves[1]);
        if (chosen.check.rows.size() != rows) {
            say("this half has no objects of one of the sizes, so it cannot decide; more images can");
            chosen.passed = false;
        }
    }
    return chosen;
}
