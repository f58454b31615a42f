// The sections of a report as HTML; a section without data is one sentence that says so.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "app/report/files.h"

std::string headline_section(const RunFiles& run);
std::string curves_section(const RunFiles& run);
std::string confusion_section(const RunFiles& run, const EvaluatedPart& part);
std::string confidence_section(const EvaluatedPart& part);
std::string cameras_section(const EvaluatedPart& part);
std::string images_section(const RunFiles& run, const EvaluatedPart& part);   // reads the images
std::string boxes_sections(const RunFiles& run, const EvaluatedBoxes& part);  // of a detector; reads images
std::string unreadable_section(const RunFiles& run);
std::string provenance_section(const RunFiles& run);
std::string config_section(const RunFiles& run);

// "310 test images"; other names than "validation" and "test" are shown unchanged.
std::string part_images(const std::string& name, size_t images);
std::string part_images(const EvaluatedPart& part);

// 95 % confidence interval of the accuracy if images were independent of each other: Wilson's interval,
// https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
std::array<double, 2> accuracy_range(size_t correct, size_t images);

// The images that a person has to check if predictions below a confidence are not trusted.
struct ManualWork {
    double threshold;
    size_t images;       // all of them
    size_t looked_at;    // confidence < threshold
    size_t errors_left;  // wrong, but not looked at
    double share() const { return double(looked_at) / double(images); }
    double accuracy_of_rest() const;  // NaN if a person checks all images
};
ManualWork manual_work(const EvaluatedPart& part, double threshold);

// The lowest of 0.50, 0.51, ..., 0.99 above which the accuracy is at least `wanted`; nothing if there is none.
std::optional<ManualWork> proposed_work(const EvaluatedPart& part, double wanted);

// x: steps, y: centered moving average over about 1/40 of the run.
std::vector<std::pair<double, double>> smoothed(const std::vector<std::pair<double, double>>& points);
std::string box_losses_chart(const RunFiles& run, const std::string& x_label);
std::string map_chart(const RunFiles& run);
