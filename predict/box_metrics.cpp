#include "predict/box_metrics.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace {

constexpr size_t kMaxBoxes = 100, kIouThresholds = 10, kRecalls = 101;
const double kNone = std::nan("");

double ratio(double part, double whole) { return whole > 0 ? part / whole : kNone; }

double mean_of_known(const std::vector<double>& values) {
    double sum = 0, known = 0;
    for (const double v : values)
        if (!std::isnan(v)) sum += v, ++known;
    return ratio(sum, known);
}

struct Scored {
    float score;
    std::array<bool, kIouThresholds> right;  // per IoU threshold
};

double iou_threshold(size_t i) { return 0.5 + 0.05 * double(i); }

// The boxes of one class on one image, best first, each with whether it matched a true box.
void match(const ImageBoxes& image, uint32_t category, std::vector<Scored>& out) {
    std::vector<const TrueBox*> truth;
    std::vector<const FoundBox*> found;
    for (const TrueBox& t : image.truth)
        if (t.category == category) truth.push_back(&t);
    for (const FoundBox& f : image.found)
        if (f.category == category) found.push_back(&f);
    std::ranges::stable_sort(found, [](auto* a, auto* b) { return a->score > b->score; });
    found.resize(std::min(found.size(), kMaxBoxes));
    std::vector<std::array<bool, kIouThresholds>> taken(truth.size());
    for (const FoundBox* f : found) {
        Scored scored{f->score, {}};
        std::vector<double> ious;
        for (const TrueBox* t : truth) ious.push_back(iou(*t, *f, image.h, image.w));
        for (size_t i = 0; i < kIouThresholds; ++i) {
            double best = std::min(iou_threshold(i), 1 - 1e-10);
            size_t at = truth.size();
            for (size_t k = 0; k < truth.size(); ++k)  // the last of equal ones, as in pycocotools
                if (!taken[k][i] && ious[k] >= best) best = ious[k], at = k;
            if (at < truth.size()) scored.right[i] = taken[at][i] = true;
        }
        out.push_back(scored);
    }
}

// Precision at the 101 recalls, which are numpy.linspace's: 35 * 0.01 is more than 35 / 100. `scored` by falling score.
std::vector<float> precision_curve(const std::vector<Scored>& scored, size_t threshold, size_t truth) {
    std::vector<double> precision, recall;
    double right = 0;
    for (const Scored& s : scored) {
        right += s.right[threshold];
        precision.push_back(right / (double(precision.size() + 1) + 2.220446049250313e-16));
        recall.push_back(right / double(truth));
    }
    for (size_t i = precision.size(); i-- > 1;) precision[i - 1] = std::max(precision[i - 1], precision[i]);
    std::vector<float> curve(kRecalls);
    for (size_t r = 0; r < kRecalls; ++r) {
        const size_t at = size_t(std::ranges::lower_bound(recall, double(r) * 0.01) - recall.begin());
        if (at < precision.size()) curve[r] = float(precision[at]);
    }
    return curve;
}

double mean(const std::vector<float>& values) {
    double sum = 0;
    for (const float v : values) sum += v;
    return sum / double(values.size());
}

std::vector<ThresholdRow> threshold_rows(const std::vector<ImageBoxes>& images,
                                         const std::vector<std::vector<Scored>>& scored, size_t truth) {
    std::vector<ThresholdRow> rows;
    for (int percent = 5; percent < 100; percent += 5) {
        ThresholdRow row{.threshold = percent / 100.0};
        const auto threshold = float(row.threshold);
        for (const auto& of_class : scored)
            for (const Scored& s : of_class)
                if (s.score >= threshold) ++(s.right[0] ? row.right : row.wrong);
        row.missed = truth - row.right;
        for (const ImageBoxes& p : images) {
            const bool any = std::ranges::any_of(p.found, [&](const FoundBox& f) { return f.score >= threshold; });
            if (p.truth.empty())
                ++row.empty, row.empty_alarmed += any;
            else
                ++row.full, row.full_found += any;
        }
        rows.push_back(row);
    }
    return rows;
}

}  // namespace

double ThresholdRow::precision() const { return ratio(double(right), double(right + wrong)); }
double ThresholdRow::recall() const { return ratio(double(right), double(right + missed)); }
double ThresholdRow::f1() const { return ratio(2 * double(right), double(2 * right + wrong + missed)); }

double iou(const TrueBox& t, const FoundBox& f, size_t h, size_t w) {
    const auto pixels = [](float share, size_t side) { return double(share) * double(side); };
    const auto common = [](double a, double a_length, double b, double b_length) {
        return std::max(0.0, std::min(a + a_length, b + b_length) - std::max(a, b));
    };
    const double tw = pixels(t.w, w), th = pixels(t.h, h), fw = pixels(f.w, w), fh = pixels(f.h, h);
    const double both = common(pixels(t.x, w), tw, pixels(f.x, w), fw) * common(pixels(t.y, h), th, pixels(f.y, h), fh);
    return both > 0 ? both / (tw * th + fw * fh - both) : 0;
}

BoxMetrics measure_boxes(const std::vector<ImageBoxes>& images, size_t classes) {
    BoxMetrics m;
    m.images = images.size();
    m.classes.resize(classes);
    for (const ImageBoxes& p : images) {
        for (const TrueBox& t : p.truth) {
            require(t.category < classes, "boxes: category {} with {} classes", t.category, classes);
            ++m.classes[t.category].truth;
        }
        for (const FoundBox& f : p.found)
            require(f.category < classes && f.score >= 0 && f.score <= 1,
                    "boxes: category {} with {} classes, score {}", f.category, classes, f.score);
    }
    std::vector<std::vector<Scored>> scored(classes);
    std::array<std::vector<double>, kIouThresholds> ap;
    size_t truth = 0;
    for (uint32_t c = 0; c < classes; ++c) {
        for (const ImageBoxes& p : images) match(p, c, scored[c]);
        std::ranges::stable_sort(scored[c], [](const Scored& a, const Scored& b) { return a.score > b.score; });
        ClassBoxes& of_class = m.classes[c];
        truth += of_class.truth;
        std::vector<double> ap_of_class;
        for (size_t i = 0; i < kIouThresholds && of_class.truth; ++i) {
            const std::vector<float> curve = precision_curve(scored[c], i, of_class.truth);
            ap_of_class.push_back(mean(curve));
            ap[i].push_back(ap_of_class.back());
            if (i == 0) of_class.precision = curve;
        }
        of_class.ap50 = ap_of_class.empty() ? kNone : ap_of_class[0];
        of_class.ap = mean_of_known(ap_of_class);
    }
    for (size_t i = 0; i < kIouThresholds; ++i) m.map_at[i] = mean_of_known(ap[i]);
    m.map50 = m.map_at[0];
    m.map = mean_of_known({m.map_at.begin(), m.map_at.end()});
    m.thresholds = threshold_rows(images, scored, truth);
    const auto f1 = [](const ThresholdRow& row) { return std::isnan(row.f1()) ? -1 : row.f1(); };
    m.proposed = size_t(std::ranges::max_element(m.thresholds, {}, f1) - m.thresholds.begin());
    for (size_t c = 0; c < classes; ++c)
        for (const Scored& s : scored[c])
            if (s.score >= float(m.best().threshold)) ++(s.right[0] ? m.classes[c].right : m.classes[c].wrong);
    return m;
}

nlohmann::json to_json(const BoxMetrics& m, const std::vector<std::string>& names) {
    require(names.size() == m.classes.size(), "boxes: {} names for {} classes", names.size(), m.classes.size());
    nlohmann::json out = {{"pictures", m.images},
                          {"map50", m.map50},
                          {"map", m.map},
                          {"map_at", m.map_at},
                          {"proposed_threshold", m.best().threshold},
                          {"classes", nlohmann::json::array()},
                          {"thresholds", nlohmann::json::array()}};
    for (size_t c = 0; c < names.size(); ++c) {
        const ClassBoxes& k = m.classes[c];
        out["classes"].push_back({{"name", names[c]},
                                  {"boxes", k.truth},
                                  {"ap50", k.ap50},
                                  {"ap", k.ap},
                                  {"right", k.right},
                                  {"wrong", k.wrong},
                                  {"precision_at_recall", k.precision}});
    }
    for (const ThresholdRow& t : m.thresholds)
        out["thresholds"].push_back({{"threshold", t.threshold},
                                     {"right", t.right},
                                     {"wrong", t.wrong},
                                     {"missed", t.missed},
                                     {"precision", t.precision()},
                                     {"recall", t.recall()},
                                     {"f1", t.f1()},
                                     {"pictures_with_something", t.full},
                                     {"of_them_found", t.full_found},
                                     {"empty_pictures", t.empty},
                                     {"of_them_alarmed", t.empty_alarmed}});
    return out;
}
