#include "app/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/terminal.h"

namespace {

constexpr size_t kLongestName = 24, kMostColumns = 12;

// Characters, not bytes, and never longer than the column.
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

std::string share(double x) { return std::isnan(x) ? "-" : fmt::format("{:.3f}", x); }

void print_confusion(const Metrics& m, const std::vector<std::string>& classes, size_t width) {
    const size_t n = classes.size();
    if (n > kMostColumns) return;  // --json has it
    fmt::print("\nConfusion: rows are the truth, columns what was said\n{:{}}", "", width + 2);
    for (const std::string& name : classes)
        fmt::print("  {:>8}", padded(name, std::min<size_t>(8, printable(name).size())));
    for (size_t row = 0; row < n; ++row) {
        fmt::print("\n  {}", padded(classes[row], width));
        for (size_t column = 0; column < n; ++column) fmt::print("  {:>8}", m.confusion[row * n + column]);
    }
    fmt::print("\n");
}

}  // namespace

void print_metrics(const Metrics& m, const std::vector<std::string>& classes) {
    size_t width = 6;
    for (const std::string& name : classes) width = std::max(width, std::min(kLongestName, printable(name).size()));
    fmt::print("accuracy {:.4f} ({} of {}), macro F1 {}\n\n", m.all.accuracy(), m.all.correct, m.all.images,
               share(m.macro_f1()));
    fmt::print("{}  images  precision  recall     F1\n", padded("Class", width + 2));
    for (size_t c = 0; c < classes.size(); ++c) {
        const ClassScore& s = m.classes[c];
        fmt::print("  {}  {:>8}  {:>9}  {:>6}  {:>5}\n", padded(classes[c], width), s.images, share(s.precision()),
                   share(s.recall()), share(s.f1()));
    }
    print_confusion(m, classes, width);
    fmt::print("\nConfidence    images  accuracy\n");
    for (size_t bin = 0; bin < m.confidence.size(); ++bin)
        if (const Counts& t = m.confidence[bin]; t.images)
            fmt::print("  {:.1f} to {:.1f}  {:>8}  {:>8}\n", double(bin) / 10, double(bin + 1) / 10, t.images,
                       share(t.accuracy()));
    if (m.cameras.size() < 2) return;
    size_t widest = 6;
    for (const auto& [camera, tally] : m.cameras)
        widest = std::max(widest, std::min(kLongestName, printable(camera).size()));
    fmt::print("\n{}  images  accuracy\n", padded("Camera", widest + 2));
    for (const auto& [camera, t] : m.cameras)
        fmt::print("  {}  {:>8}  {:>8}\n", padded(camera.empty() ? "?" : camera, widest), t.images,
                   share(t.accuracy()));
}

void print_box_metrics(const BoxMetrics& m, const std::vector<std::string>& classes) {
    size_t width = 6;
    for (const std::string& name : classes) width = std::max(width, std::min(kLongestName, printable(name).size()));
    fmt::print("mAP50 {}, mAP {} (mean over IoU 0.5 to 0.95)\n\n", share(m.map50), share(m.map));
    fmt::print("{}     boxes   AP50     AP    right  wrong  from {:.2f} on\n", padded("Class", width + 2),
               m.best().threshold);
    for (size_t c = 0; c < classes.size(); ++c) {
        const ClassBoxes& k = m.classes[c];
        fmt::print("  {}  {:>8}  {:>5}  {:>5}  {:>7}  {:>5}\n", padded(classes[c], width), k.truth, share(k.ap50),
                   share(k.ap), k.right, k.wrong);
    }
    fmt::print("\nThreshold  precision  recall     F1   images with something   empty images\n");
    for (const ThresholdRow& t : m.thresholds)
        fmt::print("  {:>5.2f}{}   {:>9}  {:>6}  {:>5}   {:>9} of {:<6} found   {:>4} of {:<6} alarmed\n", t.threshold,
                   &t == &m.best() ? " *" : "  ", share(t.precision()), share(t.recall()), share(t.f1()), t.full_found,
                   t.full, t.empty_alarmed, t.empty);
    fmt::print("  * the best F1\n");
}
