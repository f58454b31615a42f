// Results of a classifier: confusion, classes, confidence, cameras.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "app/report/html.h"
#include "app/report/sections.h"
#include "app/report/svg.h"

namespace {

constexpr size_t kMixUps = 8, kCameras = 60, kName = 60;
constexpr double kWantedAccuracy = 0.99;

std::string name_cell(const std::string& name) { return html_escaped(shortened(name, kName)); }

std::string classes_table(const RunFiles& run, const EvaluatedPart& part) {
    Rows rows;
    for (size_t c = 0; c < run.classes.size(); ++c) {
        const ClassScore& score = part.metrics.classes[c];
        rows.push_back({name_cell(run.classes[c]), count_text(score.images), percent_text(score.precision()),
                        percent_text(score.recall()), fixed_text(score.f1(), 3)});
    }
    return html_table("", {{"Class"}, {"Images", true}, {"Precision", true}, {"Recall", true}, {"F1", true}}, rows) +
           fmt::format(
               "<p class=\"quiet\"><em>Recall</em>: share of the images of a class that the model found. "
               "<em>Precision</em>: share of the images put into a class that belong there. F1 joins both; its mean "
               "over the classes is {}.</p>\n",
               fixed_text(part.metrics.macro_f1(), 3));
}

std::string mix_ups(const RunFiles& run, const EvaluatedPart& part) {
    const size_t n = run.classes.size();
    std::vector<size_t> cells;
    for (size_t i = 0; i < n * n; ++i)
        if (i / n != i % n && part.metrics.confusion[i]) cells.push_back(i);
    std::stable_sort(cells.begin(), cells.end(),
                     [&](size_t a, size_t b) { return part.metrics.confusion[a] > part.metrics.confusion[b]; });
    if (cells.empty()) return "<p>No image was put into a wrong class.</p>\n";
    Rows rows;
    for (size_t i = 0; i < std::min(cells.size(), kMixUps); ++i)
        rows.push_back({name_cell(run.classes[cells[i] / n]), name_cell(run.classes[cells[i] % n]),
                        count_text(part.metrics.confusion[cells[i]]),
                        percent_text(double(part.metrics.confusion[cells[i]]) /
                                     double(part.metrics.classes[cells[i] / n].images))});
    return html_table("", {{"True class"}, {"Predicted"}, {"Images", true}, {"Share of class", true}}, rows);
}

std::string work_row(const ManualWork& work) {
    return fmt::format("{} ({}) are below {:.2f}; of the rest {} are right and {} would go unnoticed",
                       images_text(work.looked_at), percent_text(work.share()), work.threshold,
                       percent_text(work.accuracy_of_rest()),
                       work.errors_left == 1 ? "1 error" : count_text(work.errors_left) + " errors");
}

std::string proposal(const EvaluatedPart& part) {
    if (const auto work = proposed_work(part, kWantedAccuracy))
        return fmt::format("<p class=\"proposal\"><strong>Proposal: look at images below {:.2f}.</strong> {}.</p>\n",
                           work->threshold, work_row(*work));
    ManualWork best = manual_work(part, 0.5);
    for (int t = 51; t <= 99; ++t)
        if (const ManualWork work = manual_work(part, t / 100.0); work.accuracy_of_rest() > best.accuracy_of_rest())
            best = work;
    return fmt::format(
        "<p class=\"proposal\"><strong>No threshold makes the rest {} right.</strong> The nearest is {:.2f}: {}.</p>\n",
        percent_text(kWantedAccuracy), best.threshold, work_row(best));
}

std::string work_chart(const EvaluatedPart& part) {
    Series looked{.name = "a person looks at", .css = "s1", .points = {}},
        right{.name = "right, of the rest", .css = "s0", .points = {}};
    for (int t = 50; t <= 99; ++t) {
        const ManualWork work = manual_work(part, t / 100.0);
        looked.points.push_back({work.threshold, work.share()});
        right.points.push_back({work.threshold, work.accuracy_of_rest()});
    }
    const auto proposed = proposed_work(part, kWantedAccuracy);
    const ManualWork low = manual_work(part, 0.5), high = manual_work(part, 0.99);
    return line_chart(
        {.title = "Work and accuracy",
         .description = fmt::format(
             "At threshold 0.50 a person looks at {} and {} of the rest are right; at 0.99 it is {} and {}.",
             percent_text(low.share()), percent_text(low.accuracy_of_rest()), percent_text(high.share()),
             percent_text(high.accuracy_of_rest())),
         .x_label = "confidence threshold",
         .series = {right, looked},
         .x_low = 0.5,
         .x_high = 1,
         .y_low = 0,
         .y_high = 1,
         .percent = true,
         .marker_x = proposed ? proposed->threshold : kUnknown});
}

std::string work_table(const EvaluatedPart& part) {
    Rows rows;
    for (double threshold : {0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99}) {
        const ManualWork work = manual_work(part, threshold);
        rows.push_back({fmt::format("{:.2f}", threshold), percent_text(work.share()), count_text(work.looked_at),
                        percent_text(work.accuracy_of_rest()), count_text(work.errors_left)});
    }
    return html_table(
        "", {{"Threshold"}, {"To look at", true}, {"Images", true}, {"Rest right", true}, {"Errors left", true}}, rows);
}

std::string confidence_bars(const EvaluatedPart& part) {
    BarChart chart{.title = "Accuracy per confidence",
                   .description = "Share of right images in each tenth of confidence, with the number of images:",
                   .x_label = "confidence, lower end of each tenth; above the bars: images",
                   .bars = {}};
    for (size_t b = 0; b < part.metrics.confidence.size(); ++b) {
        const Counts& bin = part.metrics.confidence[b];
        chart.bars.push_back(
            {fmt::format("0.{}", b), bin.images ? count_text(bin.images) : "", bin.accuracy(), (double(b) + 0.5) / 10});
        if (bin.images)
            chart.description += fmt::format(" 0.{} to {:.1f}: {} of {};", b, double(b + 1) / 10,
                                             percent_text(bin.accuracy()), count_text(bin.images));
    }
    return bar_chart(chart);
}

}  // namespace

double ManualWork::accuracy_of_rest() const {
    const size_t rest = images - looked_at;
    return rest ? 1 - double(errors_left) / double(rest) : kUnknown;
}

std::string part_images(const std::string& name, size_t images) {
    return fmt::format("{} {} image{}", count_text(images), html_escaped(name), images == 1 ? "" : "s");
}
std::string part_images(const EvaluatedPart& part) { return part_images(part.name, part.images.size()); }

std::array<double, 2> accuracy_range(size_t correct, size_t images) {
    const double n = double(images), p = double(correct) / n, z = 1.959964;
    const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

ManualWork manual_work(const EvaluatedPart& part, double threshold) {
    ManualWork work{.threshold = threshold, .images = part.images.size(), .looked_at = 0, .errors_left = 0};
    for (const ClassifiedImage& p : part.images) {
        // Both as float: the file holds 0.7f in full, which is a little below 0.7.
        if (float(p.confidence) < float(threshold))
            ++work.looked_at;
        else
            work.errors_left += p.label != p.predicted;
    }
    return work;
}

std::optional<ManualWork> proposed_work(const EvaluatedPart& part, double wanted) {
    for (int t = 50; t <= 99; ++t)
        if (const ManualWork work = manual_work(part, t / 100.0); work.accuracy_of_rest() >= wanted) return work;
    return std::nullopt;
}

std::string confusion_section(const RunFiles& run, const EvaluatedPart& part) {
    std::string what =
        fmt::format("{} of {} are right.", count_text(part.metrics.all.correct), count_text(part.metrics.all.images));
    for (size_t c = 0; c < std::min<size_t>(run.classes.size(), 20); ++c)
        what += fmt::format(" {}: {} of {}.", shortened(run.classes[c], kName),
                            count_text(part.metrics.classes[c].correct), count_text(part.metrics.classes[c].images));
    const std::string matrix = heat_map(
        {.title = "Confusion matrix", .description = what, .names = run.classes, .counts = part.metrics.confusion});
    // With two or three classes the matrix itself shows the mix-ups.
    const std::string beside =
        run.classes.size() > 3 ? "<h3>Most frequent mix-ups</h3>\n" + mix_ups(run, part) : classes_table(run, part);
    return fmt::format(
        "<section><h2>Results by class</h2>\n<p>Rows are the true classes of {}, columns the predicted ones. Blue is "
        "right, orange is wrong; the stronger the colour, the larger the share of the row.</p>\n<div "
        "class=\"grid\">{}<div>{}</div></div>\n{}</section>\n",
        part_images(part), matrix, beside, run.classes.size() > 3 ? classes_table(run, part) : "");
}

std::string confidence_section(const EvaluatedPart& part) {
    return fmt::format(
        "<section><h2>Images left for a person</h2>\n<p>The model gives each prediction a confidence. A person looks "
        "at the images below a threshold and trusts the rest.</p>\n{}<div class=\"grid\">{}{}</div>\n{}<p "
        "class=\"quiet\">Counted on {}. The short lines across the bars mark the accuracy that the confidence "
        "promises. At cameras or in seasons that the model has not seen, expect more errors: check a sample there "
        "first.</p></section>\n",
        proposal(part), work_chart(part), confidence_bars(part), work_table(part), part_images(part));
}

std::string cameras_section(const EvaluatedPart& part) {
    std::vector<std::pair<std::string, Counts>> cameras(part.metrics.cameras.begin(), part.metrics.cameras.end());
    const bool known = cameras.size() > 1 || (cameras.size() == 1 && !cameras[0].first.empty());
    std::string out = "<section><h2>Camera by camera</h2>\n";
    if (!known) return out + "<p class=\"quiet\">The data does not say which camera took which image.</p></section>\n";
    std::stable_sort(cameras.begin(), cameras.end(),
                     [](auto& a, auto& b) { return a.second.accuracy() < b.second.accuracy(); });
    Rows rows;
    for (size_t i = 0; i < std::min(cameras.size(), kCameras); ++i) {
        const Counts& counts = cameras[i].second;
        const auto [low, high] = accuracy_range(counts.correct, counts.images);
        rows.push_back({cameras[i].first.empty() ? "<em>not known</em>" : name_cell(cameras[i].first),
                        count_text(counts.images), percent_text(counts.accuracy()),
                        fmt::format("{:.0f}\u2013{:.0f}\u202F%", 100 * low, 100 * high)});
    }
    out += html_table("", {{"Camera"}, {"Images", true}, {"Right", true}, {"Range", true}}, rows);
    if (cameras.size() > kCameras)
        out += fmt::format("<p>{} more are better than these.</p>\n", count_text(cameras.size() - kCameras));
    return out + fmt::format(
                     "<p class=\"quiet\">Worst first, of {}. <em>Range</em>: where the accuracy lies with 95\u202F% "
                     "certainty; few images make it wide.</p></section>\n",
                     part_images(part));
}
