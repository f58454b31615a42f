// Softmax cross-entropy on the CPU: see cross_entropy.h.
#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "base/ranks.h"
#include "kernels/parallel.h"

namespace {
constexpr size_t grain = 8;  // rows

float weight_of(const float* class_weight, size_t k) { return class_weight ? class_weight[k] : 1.0f; }

// Fills one row of probabilities and returns its loss.
float forward_row(const CrossEntropyForward& op, size_t row) {
    const size_t classes = op.shape.classes;
    const float* const logits = op.logits + row * classes;
    float* const p = op.probabilities + row * classes;
    const float max_logit = *std::max_element(logits, logits + classes);
    double sum = 0;
    for (size_t k = 0; k < classes; ++k) {
        p[k] = std::exp(logits[k] - max_logit);
        sum += double(p[k]);
    }
    for (size_t k = 0; k < classes; ++k) p[k] = float(double(p[k]) / sum);
    const int32_t label = op.labels[row];
    if (label < 0) return 0;

    const double log_sum = double(max_logit) + std::log(sum);
    const double uniform = double(op.shape.smoothing) / double(classes);
    double loss = 0;
    for (size_t k = 0; k < classes; ++k) {
        const double q = uniform + (k == size_t(label) ? 1 - double(op.shape.smoothing) : 0);
        if (q != 0) loss -= double(weight_of(op.class_weight, k)) * q * (double(logits[k]) - log_sum);
    }
    return float(loss);
}

double total_weight(const CrossEntropyShape& shape, const int32_t* labels, const float* class_weight) {
    double total = 0;
    for (size_t row = 0; row < shape.rows; ++row)
        if (labels[row] >= 0) total += double(weight_of(class_weight, size_t(labels[row])));
    return total;
}
}  // namespace

void compute(const Cpu& cpu, const CrossEntropyForward& op) {
    const auto [rows, classes, smoothing] = op.shape;
    parallel_for(cpu, rows, grain, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) op.sample_loss[row] = forward_row(op, row);
    });
    double loss = 0, first = 0, fifth = 0;
    for (size_t row = 0; row < rows; ++row) {
        if (op.labels[row] < 0) continue;
        loss += double(op.sample_loss[row]);
        const float* const logits = op.logits + row * classes;
        const float label_logit = logits[op.labels[row]];
        const auto above =
            std::count_if(logits, logits + classes, [label_logit](float other) { return other > label_logit; });
        first += above < 1;
        fifth += above < 5;
    }
    double sums[] = {loss, first, fifth, total_weight(op.shape, op.labels, op.class_weight)};
    if (op.ranks) op.ranks->sum(sums);
    const double weight = sums[3];
    *op.loss = weight > 0 ? float(sums[0] / weight) : 0.0f;
    op.correct[0] = float(sums[1]);
    op.correct[1] = float(sums[2]);
}

void compute(const Cpu& cpu, const CrossEntropyBackward& op) {
    const size_t classes = op.shape.classes;
    double weight = total_weight(op.shape, op.labels, op.class_weight);
    if (op.ranks) op.ranks->sum({&weight, 1});
    const float factor = weight > 0 ? float(double(*op.dloss) / weight) : 0.0f;
    const float uniform = op.shape.smoothing / float(classes);
    parallel_for(cpu, op.shape.rows, grain, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) {
            const float* const p = op.probabilities + row * classes;
            float* const dlogits = op.dlogits + row * classes;
            const int32_t label = op.labels[row];
            if (label < 0) {
                std::fill(dlogits, dlogits + classes, 0.0f);
                continue;
            }
            const auto target = [&](size_t k) {
                const float q = uniform + (k == size_t(label) ? 1 - op.shape.smoothing : 0);
                return weight_of(op.class_weight, k) * q;
            };
            double total = 0;
            for (size_t k = 0; k < classes; ++k) total += double(target(k));
            for (size_t k = 0; k < classes; ++k) dlogits[k] = factor * (p[k] * float(total) - target(k));
        }
    });
}
