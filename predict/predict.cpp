#include "predict/predict.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "predict/in_turn.h"

double Predictions::mean_loss() const {
    if (rows.empty()) return std::numeric_limits<double>::quiet_NaN();
    double sum = 0;
    for (const Prediction& p : rows) sum += p.loss;
    return sum / double(rows.size());
}

Metrics Predictions::metrics(const Dataset& data) const {
    std::vector<LabelledPrediction> judgements;
    for (const Prediction& p : rows)
        judgements.push_back({p.label, p.predicted, std::min(p.confidence, 1.0f), data.samples[p.sample].camera});
    return measure(judgements, data.classes.size());
}

Predictions predict(Classifier& classifier, const Dataset& data, const std::vector<uint32_t>& samples,
                    const LoaderOptions& options, Cache* cache, const std::function<bool(size_t)>& progress) {
    Predictions result;
    if (samples.empty()) return result;
    LoaderOptions in_order = options;
    in_order.batch = classifier.config().batch;
    in_order.shuffle = in_order.drop_last = false;
    in_order.epochs = 1;
    in_order.memory = &classifier.device().host_memory();
    Loader loader(data, samples, in_order, cache);
    const size_t classes = classifier.config().model.classes;
    size_t done = 0;
    const auto start = [&](const Batch& batch) { return classifier.start(batch.images, batch.labels); };
    for_each_batch(loader, classifier.device(), start, [&](const Batch& batch, const Classifier::Started& started) {
        const Classifier::Result found = classifier.finish(started);
        for (size_t row = 0; row < batch.labels.size(); ++row) {
            if (batch.samples[row] >= 0) ++done;
            if (batch.labels[row] < 0) continue;  // unreadable, or beyond the end
            const auto p = std::span(found.probabilities).subspan(row * classes, classes);
            if (!std::ranges::all_of(p, [](float x) { return std::isfinite(x); }))  // finite weights can overflow
                fail(Fault::not_finite, "{}: the network's output is not finite; train with a lower --lr",
                     data.path(data.samples[size_t(batch.samples[row])]));
            const size_t best = size_t(std::ranges::max_element(p) - p.begin()), label = size_t(batch.labels[row]);
            result.rows.push_back({uint32_t(batch.samples[row]),
                                   uint32_t(label),
                                   uint32_t(best),
                                   p[best],
                                   found.losses[row],
                                   {p.begin(), p.end()}});
        }
        return !progress || progress(done);
    });
    result.bad_files = loader.bad_files();
    result.counts = loader.counts();
    return result;
}
