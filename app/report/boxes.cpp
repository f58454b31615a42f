// Results of a detector: losses, precision and recall, classes, images with true and found boxes.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "app/report/html.h"
#include "app/report/sections.h"
#include "app/report/svg.h"
#include "app/report/thumbnail.h"

namespace {

using nlohmann::json;
using Points = std::vector<std::pair<double, double>>;

constexpr size_t kWorst = 12, kGood = 6, kCurves = 3, kName = 60;
constexpr size_t kSide = 480;  // of an image that is shown at up to 340 px
constexpr std::array<unsigned char, 3> kTrue{86, 180, 233}, kFound{213, 94, 0};  // as in app/report/style.h

const json& list_of(const json& object, const char* key) {
    static const json nothing = json::array();
    const json& list = member(object, key);
    return list.is_array() ? list : nothing;
}

std::string precision_chart(const EvaluatedBoxes& part) {
    std::vector<const json*> classes;
    for (const json& c : list_of(part.metrics, "classes")) classes.push_back(&c);
    std::ranges::stable_sort(classes, std::greater(), [](const json* c) { return number_of(*c, "boxes"); });
    LineChart chart{.title = "Precision and recall",
                    .description = "",
                    .x_label = "recall: share of the true boxes that are found",
                    .series = {},
                    .x_low = 0,
                    .x_high = 1,
                    .y_low = 0,
                    .y_high = 1,
                    .percent = true};
    for (size_t i = 0; i < std::min(kCurves, classes.size()); ++i) {
        const json& c = *classes[i];
        Series series{.name = shortened(text_of(c, "name"), 24), .css = fmt::format("s{}", i), .points = {}};
        const json& precision = list_of(c, "precision_at_recall");
        for (size_t r = 0; r < precision.size(); ++r)
            if (precision[r].is_number()) series.points.push_back({double(r) / 100, precision[r].get<double>()});
        // The curve is drawn to the point where it falls to 0.
        const auto end = std::ranges::find_if(series.points, [](auto& p) { return p.second <= 0; });
        if (end != series.points.end()) series.points.erase(end + 1, series.points.end());
        chart.description += fmt::format("{}: average precision {}. ", shortened(text_of(c, "name"), kName),
                                         percent_text(number_of(c, "ap50")));
        if (!series.points.empty()) chart.series.push_back(std::move(series));
    }
    return line_chart(chart);
}

std::string threshold_chart(const EvaluatedBoxes& part) {
    Series precision{.name = "precision", .css = "s0", .points = {}},
        recall{.name = "recall", .css = "s1", .points = {}}, f1{.name = "F1", .css = "s2", .points = {}};
    for (const json& t : list_of(part.metrics, "thresholds")) {
        const double x = number_of(t, "threshold");
        precision.points.push_back({x, number_of(t, "precision")});
        recall.points.push_back({x, number_of(t, "recall")});
        f1.points.push_back({x, number_of(t, "f1")});
    }
    const double proposed = number_of(part.metrics, "proposed_threshold");
    return line_chart({.title = "Precision, recall and F1 by threshold",
                       .description = fmt::format(
                           "Precision grows and recall falls with the threshold; F1 is best at {:.2f}.", proposed),
                       .x_label = "confidence threshold",
                       .series = {precision, recall, f1},
                       .x_low = 0,
                       .x_high = 1,
                       .y_low = 0,
                       .y_high = 1,
                       .percent = true,
                       .marker_x = proposed});
}

std::string count_cell(const json& object, const char* key) {
    const double value = number_of(object, key);
    return value >= 0 && value < 1e15 ? count_text(uint64_t(value)) : "\u2013";
}

std::string classes_table(const EvaluatedBoxes& part) {
    Rows rows;
    for (const json& c : list_of(part.metrics, "classes")) {
        const double right = number_of(c, "right"), wrong = number_of(c, "wrong"), boxes = number_of(c, "boxes");
        rows.push_back({html_escaped(shortened(text_of(c, "name"), kName)), count_cell(c, "boxes"),
                        percent_text(number_of(c, "ap50")), percent_text(number_of(c, "ap")),
                        percent_text(boxes > 0 ? right / boxes : kUnknown),
                        percent_text(right + wrong > 0 ? right / (right + wrong) : kUnknown)});
    }
    return html_table(
               "",
               {{"Class"}, {"True boxes", true}, {"AP50", true}, {"AP", true}, {"Recall", true}, {"Precision", true}},
               rows) +
           fmt::format(
               "<p class=\"quiet\"><em>AP50</em>: average precision where a box counts as right if its intersection "
               "over union (IoU) with a true box is at least 0.5. <em>AP</em>: the mean over IoU 0.5 to 0.95, which "
               "asks for exact boxes. Recall and precision are for detections of confidence {:.2f} or more.</p>\n",
               number_of(part.metrics, "proposed_threshold"));
}

std::string thresholds_table(const EvaluatedBoxes& part) {
    Rows rows;
    const double proposed = number_of(part.metrics, "proposed_threshold");
    for (const json& t : list_of(part.metrics, "thresholds")) {
        const double x = number_of(t, "threshold");
        rows.push_back(
            {fmt::format("{}{:.2f}{}", x == proposed ? "<strong>" : "", x, x == proposed ? "</strong>" : ""),
             percent_text(number_of(t, "precision")), percent_text(number_of(t, "recall")),
             fixed_text(number_of(t, "f1"), 3),
             fmt::format("{} of {}", count_cell(t, "of_them_found"), count_cell(t, "pictures_with_something")),
             fmt::format("{} of {}", count_cell(t, "of_them_alarmed"), count_cell(t, "empty_pictures"))});
    }
    return html_table("",
                      {{"Threshold"},
                       {"Precision", true},
                       {"Recall", true},
                       {"F1", true},
                       {"Images with objects, found", true},
                       {"Empty images, false alarms", true}},
                      rows);
}

struct Verdict {
    const BoxImage* image;
    size_t right, wrong, missed;
    float loudest;  // score of a found box, for the order among equals
};

std::vector<Verdict> verdicts(const EvaluatedBoxes& part, size_t classes, float threshold) {
    std::vector<Verdict> all;
    for (const BoxImage& p : part.images) {
        ImageBoxes seen = p.boxes;
        std::erase_if(seen.found, [&](const FoundBox& f) { return f.score < threshold; });
        const ThresholdRow row = measure_boxes({seen}, classes).thresholds[0];
        float loudest = 0;
        for (const FoundBox& f : seen.found) loudest = std::max(loudest, f.score);
        all.push_back({&p, row.right, row.wrong, row.missed, loudest});
    }
    return all;
}

std::string card(const RunFiles& run, const Verdict& v, float threshold) {
    std::vector<ThumbnailBox> boxes;
    std::string found;
    for (const TrueBox& t : v.image->boxes.truth) boxes.push_back({t.x, t.y, t.w, t.h, kTrue, true});
    for (const FoundBox& f : v.image->boxes.found) {
        if (f.score < threshold) continue;
        boxes.push_back({f.x, f.y, f.w, f.h, kFound, false});
        found += fmt::format("{}{} {}", found.empty() ? "" : ", ", html_escaped(shortened(run.classes[f.category], 24)),
                             percent_text(f.score));
    }
    const std::string what = fmt::format("{} right, {} missed, {} false", v.right, v.missed, v.wrong);
    const Thumbnail small = make_thumbnail(v.image->file, kSide, boxes);
    const std::string image =
        small.data_url.empty()
            ? fmt::format("<div class=\"gone\">{}</div>", html_escaped(shortened(small.trouble, 120)))
            : fmt::format("<img src=\"{}\" width=\"{}\" height=\"{}\" alt=\"{}\"/>", small.data_url, small.w, small.h,
                          what);
    const std::string name = std::filesystem::path(v.image->file).filename().string();
    return fmt::format(
        "<li>{}<p><strong class=\"{}\">{}</strong> <span class=\"quiet\">{}</span></p><p class=\"file\" "
        "title=\"{}\">{}</p></li>\n",
        image, v.missed + v.wrong ? "wrong" : "right", what, found.empty() ? "nothing found" : found,
        html_escaped(v.image->file), html_escaped(shortened(name, 48)));
}

std::string images(const RunFiles& run, const EvaluatedBoxes& part) {
    const auto threshold = float(number_of(part.metrics, "proposed_threshold"));
    std::vector<Verdict> all = verdicts(part, run.classes.size(), threshold);
    std::ranges::stable_sort(all, [](const Verdict& a, const Verdict& b) {
        return std::pair(a.missed + a.wrong, a.loudest) > std::pair(b.missed + b.wrong, b.loudest);
    });
    const auto with_errors =
        size_t(std::ranges::count_if(all, [](const Verdict& v) { return v.missed + v.wrong > 0; }));
    std::string out = fmt::format(
        "<section><h2>Images to look at</h2>\n<p><span class=\"swatch true\"></span>true <span class=\"swatch "
        "found\"></span>found, with confidence {:.2f} or more. {} of {} have a missed or a false box.</p>\n",
        threshold, count_text(with_errors), part_images(part.name, part.images.size()));
    if (with_errors) {
        out +=
            "<h3>Worst</h3>\n<p class=\"quiet\">In some the label may be wrong: a box forgotten or badly "
            "drawn.</p>\n<ul class=\"images shots\">\n";
        for (size_t i = 0; i < std::min(kWorst, with_errors); ++i) out += card(run, all[i], threshold);
        out += "</ul>\n";
    }
    std::vector<const Verdict*> good;
    for (const Verdict& v : all)
        if (!v.missed && !v.wrong && v.right) good.push_back(&v);
    if (!good.empty()) {
        out += "<h3>Correct examples</h3>\n<ul class=\"images shots\">\n";
        const size_t shown = std::min(kGood, good.size());
        for (size_t i = 0; i < shown; ++i) out += card(run, *good[i * good.size() / shown], threshold);
        out += "</ul>\n";
    }
    return out + "</section>\n";
}

}  // namespace

std::string box_losses_chart(const RunFiles& run, const std::string& x_label) {
    LineChart chart{.title = "Losses", .description = "", .x_label = x_label, .series = {}, .x_low = 0, .y_low = 0};
    const std::pair<const char*, double StepLine::*> parts[] = {
        {"box", &StepLine::box}, {"objectness", &StepLine::objectness}, {"class", &StepLine::classes}};
    for (size_t i = 0; i < std::size(parts); ++i) {
        Points points;
        for (const StepLine& line : run.steps)
            if (std::isfinite(line.*parts[i].second)) points.push_back({line.step, line.*parts[i].second});
        points = smoothed(points);
        if (points.empty()) continue;
        chart.description += fmt::format("{} goes from {} to {}. ", parts[i].first,
                                         fixed_text(points.front().second, 4), fixed_text(points.back().second, 4));
        chart.series.push_back({.name = parts[i].first, .css = fmt::format("s{}", i), .points = std::move(points)});
    }
    return line_chart(chart);
}

std::string map_chart(const RunFiles& run) {
    Series half{.name = "mAP50", .css = "s0", .points = {}}, mean{.name = "mAP", .css = "s1", .points = {}};
    for (const EpochLine& line : run.epochs) {
        half.points.push_back({line.epoch, line.map50});
        mean.points.push_back({line.epoch, line.map});
    }
    half.dots = mean.dots = run.epochs.size() <= 60;
    const std::string description =
        run.epochs.empty() ? "No epoch has ended."
                           : fmt::format("After epoch {}: mAP50 {}, mAP {}.", fixed_text(run.epochs.back().epoch, 0),
                                         percent_text(run.epochs.back().map50), percent_text(run.epochs.back().map));
    return line_chart({.title = "Validation per epoch",
                       .description = description,
                       .x_label = "epoch",
                       .series = {half, mean},
                       .y_low = 0,
                       .y_high = 1,
                       .percent = true});
}

std::string boxes_sections(const RunFiles& run, const EvaluatedBoxes& part) {
    return fmt::format(
        "<section><h2>Results by class</h2>\n<div class=\"grid\">{}<div>{}</div></div></section>\n"
        "<section><h2>Choosing the threshold</h2>\n<p class=\"proposal\"><strong>Proposal: accept detections of "
        "confidence {:.2f} or more.</strong> F1, which balances precision and recall, is highest there. Where a "
        "missed animal is worse than one more empty image, choose a lower threshold.</p>\n<div "
        "class=\"grid\">{}<div>{}</div></div><p class=\"quiet\">Counted on {}. At cameras or in seasons that the "
        "model has not seen, expect worse results: check a sample there first.</p></section>\n{}",
        precision_chart(part), classes_table(part), number_of(part.metrics, "proposed_threshold"),
        threshold_chart(part), thresholds_table(part), part_images(part.name, part.images.size()), images(run, part));
}
