#include "app/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/terminal.h"

namespace {

constexpr size_t kMaxName = 24, kMaxColumns = 12;  // characters of a name; classes in a confusion matrix
constexpr size_t kThresholdRows = 4;               // the best one and three around it; the report has all

// To `width` characters, not bytes; longer texts are cut.
std::string padded(const std::string& text, size_t width) {
    std::string result;
    size_t used = 0;
    for (char c : printable(text)) {
        const bool starts = (uint8_t(c) & 0xc0) != 0x80;
        if (starts && used == width) break;
        used += starts;
        result += c;
    }
    return result + std::string(width - std::min(used, width), ' ');
}

// Width of the first column of a table.
size_t column_width(const std::vector<std::string>& names) {
    size_t width = 6;
    for (const std::string& name : names) width = std::max(width, std::min(kMaxName, printable(name).size()));
    return width;
}

std::string share(double x) { return std::isnan(x) ? "-" : fmt::format("{:.3f}", x); }

void print_confusion(const Metrics& m, const std::vector<std::string>& classes, size_t width) {
    const size_t n = classes.size();
    if (n > kMaxColumns) return;  // the report and --out have it
    print_output("\nConfusion: a row is the true class, a column the predicted one\n{:{}}", "", width + 2);
    for (const std::string& name : classes)
        print_output("  {:>8}", padded(name, std::min<size_t>(8, printable(name).size())));
    for (size_t row = 0; row < n; ++row) {
        print_output("\n  {}", padded(classes[row], width));
        for (size_t column = 0; column < n; ++column) print_output("  {:>8}", m.confusion[row * n + column]);
    }
    print_output("\n");
}

}  // namespace

void print_metrics(const Metrics& m, const std::vector<std::string>& classes) {
    const size_t width = column_width(classes);
    print_output("accuracy {:.4f} ({} of {}), macro F1 {}\n\n", m.all.accuracy(), m.all.correct, m.all.images,
                 share(m.macro_f1()));
    print_output("{}  images  precision  recall     F1\n", padded("Class", width + 2));
    for (size_t c = 0; c < classes.size(); ++c) {
        const ClassScore& s = m.classes[c];
        print_output("  {}  {:>8}  {:>9}  {:>6}  {:>5}\n", padded(classes[c], width), s.images, share(s.precision()),
                     share(s.recall()), share(s.f1()));
    }
    print_confusion(m, classes, width);
    print_output("\nConfidence    images  accuracy\n");
    for (size_t bin = 0; bin < m.confidence.size(); ++bin)
        if (const Counts& t = m.confidence[bin]; t.images)
            print_output("  {:.1f} to {:.1f}  {:>8}  {:>8}\n", double(bin) / 10, double(bin + 1) / 10, t.images,
                         share(t.accuracy()));
    if (m.cameras.size() < 2) return;
    std::vector<std::string> cameras;
    for (const auto& [camera, counts] : m.cameras) cameras.push_back(camera);
    const size_t widest = column_width(cameras);
    print_output("\n{}  images  accuracy\n", padded("Camera", widest + 2));
    for (const auto& [camera, t] : m.cameras)
        print_output("  {}  {:>8}  {:>8}\n", padded(camera.empty() ? "?" : camera, widest), t.images,
                     share(t.accuracy()));
}

void print_box_metrics(const BoxMetrics& m, const std::vector<std::string>& classes) {
    const size_t width = column_width(classes);
    print_output("mAP50 {}, mAP {} (mean over IoU 0.5 to 0.95)\n\n", share(m.map50), share(m.map));
    print_output("{}     boxes   AP50     AP       TP       FP       FN   at confidence {:.2f}\n",
                 padded("Class", width + 2), m.best().threshold);
    for (size_t c = 0; c < classes.size(); ++c) {
        const ClassBoxes& k = m.classes[c];
        print_output("  {}  {:>8}  {:>5}  {:>5}  {:>7}  {:>7}  {:>7}\n", padded(classes[c], width), k.truth,
                     share(k.ap50), share(k.ap), k.right, k.wrong, k.truth - k.right);
    }
    print_output("\nThreshold  precision  recall     F1       TP       FP       FN   images found  false alarms\n");
    const size_t rows = std::min<size_t>(kThresholdRows, m.thresholds.size()),
                 first = std::min(m.proposed - std::min<size_t>(m.proposed, 1), m.thresholds.size() - rows);
    for (size_t i = first; i < first + rows; ++i) {
        const ThresholdRow& t = m.thresholds[i];
        print_output("  {:>5.2f}{}   {:>9}  {:>6}  {:>5}  {:>7}  {:>7}  {:>7}  {:>13}  {:>12}\n", t.threshold,
                     i == m.proposed ? " *" : "  ", share(t.precision()), share(t.recall()), share(t.f1()), t.right,
                     t.wrong, t.missed, fmt::format("{} of {}", t.full_found, t.full),
                     fmt::format("{} of {}", t.empty_alarmed, t.empty));
    }
    print_output(
        "  * the best F1. TP, FP, FN: true positive, false positive and false negative boxes at IoU 0.5.\n"
        "  Images found: those that show something, with a box. False alarms: empty images with a box.\n");
}
