// Counting images.
#include "predict/metrics.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace {

double ratio(double part, double whole) { return whole > 0 ? part / whole : std::numeric_limits<double>::quiet_NaN(); }

void count(Counts& counts, bool correct) {
    counts.images++;
    counts.correct += correct;
}

nlohmann::json to_json(const Counts& counts) {
    return {{"pictures", counts.images}, {"correct", counts.correct}, {"accuracy", counts.accuracy()}};
}

}  // namespace

double Counts::accuracy() const { return ratio(correct, images); }
double ClassScore::precision() const { return ratio(correct, predicted); }
double ClassScore::recall() const { return ratio(correct, images); }
double ClassScore::f1() const { return ratio(2.0 * correct, images + predicted); }

double Metrics::macro_f1() const {
    double sum = 0, present = 0;
    for (const ClassScore& score : classes)
        if (score.images) sum += score.f1(), present++;
    return ratio(sum, present);
}

Metrics measure(std::span<const LabelledPrediction> judgements, size_t classes) {
    Metrics metrics;
    metrics.classes.resize(classes);
    metrics.confusion.resize(classes * classes);
    for (const LabelledPrediction& j : judgements) {
        require(j.label < classes && j.predicted < classes, "metrics: label {} and prediction {} with {} classes",
                j.label, j.predicted, classes);
        require(j.confidence >= 0 && j.confidence <= 1, "metrics: confidence {} is not in 0..1", j.confidence);
        bool correct = j.label == j.predicted;
        count(metrics.all, correct);
        metrics.classes[j.label].images++;
        metrics.classes[j.label].correct += correct;
        metrics.classes[j.predicted].predicted++;
        metrics.confusion[j.label * classes + j.predicted]++;
        // The product in float: 0.7f is a little below 0.7, 0.7f * 10.f is 7.
        count(metrics.confidence[std::min(size_t(j.confidence * 10.f), size_t(9))], correct);
        count(metrics.cameras[j.camera], correct);
    }
    return metrics;
}

nlohmann::json to_json(const Metrics& metrics, std::span<const std::string> class_names) {
    size_t classes = metrics.classes.size();
    require(class_names.size() == classes, "metrics: {} names for {} classes", class_names.size(), classes);
    nlohmann::json out = to_json(metrics.all);
    out["macro_f1"] = metrics.macro_f1();
    for (size_t c = 0; c < classes; c++) {
        const ClassScore& score = metrics.classes[c];
        out["classes"].push_back({{"name", class_names[c]},
                                  {"pictures", score.images},
                                  {"predicted", score.predicted},
                                  {"correct", score.correct},
                                  {"precision", score.precision()},
                                  {"recall", score.recall()},
                                  {"f1", score.f1()}});
        auto row = metrics.confusion.begin() + ptrdiff_t(c * classes);
        out["confusion"].push_back(std::vector<size_t>(row, row + ptrdiff_t(classes)));
    }
    for (const Counts& bin : metrics.confidence) out["confidence"].push_back(to_json(bin));
    for (const auto& [camera, counts] : metrics.cameras) {
        out["cameras"].push_back(to_json(counts));
        out["cameras"].back()["camera"] = camera;
    }
    return out;
}
