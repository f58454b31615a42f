// Makes samples of the rows of a source: sizes from the files, boxes as shares of the sides, parts.
#include "data/box_dataset.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "data/box_source.h"
#include "data/dataset_parts.h"
#include "data/label_source.h"

namespace fs = std::filesystem;

namespace {

constexpr double kShapeSlack = 0.02;  // relative; a copy that was made smaller is off by less

void take_boxes(const SourceRow& row, Sample& sample, Warnings& odd) {
    const double w = row.w ? row.w : double(sample.w), h = row.h ? row.h : double(sample.h);
    if (!(w > 0 && h > 0)) return;  // the file cannot be read, which the loader reports
    for (const SourceBox& b : row.boxes) {
        if (b.w <= 0 || b.h <= 0) {
            odd.count("boxes have no area and were left out", b.where);
            continue;
        }
        const double x1 = std::clamp(b.x / w, 0.0, 1.0), x2 = std::clamp((b.x + b.w) / w, 0.0, 1.0);
        const double y1 = std::clamp(b.y / h, 0.0, 1.0), y2 = std::clamp((b.y + b.h) / h, 0.0, 1.0);
        if (x2 <= x1 || y2 <= y1) {
            odd.count("boxes lie outside of their image and were left out", b.where);
            continue;
        }
        const double cut = std::max({-b.x / w, -b.y / h, (b.x + b.w) / w - 1, (b.y + b.h) / h - 1});
        if (cut > 0.001) odd.count("boxes reach beyond their image and were cut", b.where);
        const TrueBox box{b.category, float(x1), float(y1), float(x2 - x1), float(y2 - y1)};
        if (std::ranges::find(sample.boxes, box) != sample.boxes.end())
            odd.count("boxes occur twice and count once", b.where);
        else
            sample.boxes.push_back(box);
    }
}

// The boxes of an image that was turned or cropped after labelling are in wrong places.
bool same_shape(const SourceRow& row, const Sample& sample) {
    if (!(row.w > 0 && row.h > 0 && sample.w && sample.h) || (row.w == 1 && row.h == 1)) return true;
    return std::abs(row.w / row.h / (double(sample.w) / double(sample.h)) - 1) <= kShapeSlack;
}

}  // namespace

std::vector<std::string> Warnings::notes() const {
    std::vector<std::string> notes;
    for (const auto& [what, seen] : seen_)
        notes.push_back(fmt::format("{} {} (first: {})", seen.number, what, seen.first));
    return notes;
}

std::string Warnings::in_brackets() const {
    return seen_.empty() ? "" : fmt::format(" ({})", fmt::join(notes(), "; "));
}

Dataset open_box_dataset(const std::string& path, const DatasetOptions& options) {
    std::error_code error;
    if (!fs::exists(path, error)) fail(Fault::usage, "{}: no such file or folder", path);
    BoxSource source;
    try {
        if (const fs::path package = data_package(path); !package.empty()) {
            source = read_camtrap_boxes(package);
        } else {
            const auto json = coco_files(path);
            source = json.empty() ? read_yolo_labels(path) : read_coco(json);
        }
    } catch (const fs::filesystem_error& problem) {
        fail(Fault::usage, "{}: {}", problem.path1().string(), problem.code().message());
    }
    std::ranges::sort(source.rows, {}, [](const SourceRow& row) { return row.sample.name; });
    Dataset data{.root = source.root.string(),
                 .classes = source.classes,
                 .samples = {},
                 .notes = source.notes,
                 .fingerprint = {}};
    for (const SourceRow& row : source.rows) data.samples.push_back(row.sample);
    refuse_repeated_images(path, data);
    read_all_facts(data, options, {.serial_first = true, .size = true});
    std::vector<Sample> kept;
    std::string first_missing;
    for (size_t i = 0; i < data.samples.size(); ++i) {
        Sample& sample = data.samples[i];
        if (!fs::exists(data.path(sample), error)) {
            if (first_missing.empty()) first_missing = data.path(sample);
            source.odd.count("images do not exist and were left out", data.path(sample));
        } else if (!same_shape(source.rows[i], sample)) {
            source.odd.count(
                "images have a different shape than their labels say (turned or cropped?) and were left out",
                sample.name);
        } else {
            if (!sample.h) source.odd.count("images cannot be read", data.path(sample));
            take_boxes(source.rows[i], sample, source.odd);
            sample.label =
                sample.boxes.empty() ? 0 : sample.boxes[0].category + 1;  // so that every part gets all classes
            kept.push_back(std::move(sample));
        }
    }
    data.samples = std::move(kept);
    if (data.samples.empty())
        fail(Fault::usage, "{}: {}", path,
             first_missing.empty() ? "no images that can be used" + source.odd.in_brackets()
                                   : "none of its images exist; the first would be " + first_missing);
    make_parts(source.has_parts, options, data.classes.size() + 1, data);
    for (Sample& sample : data.samples) sample.label = 0;
    const std::vector<std::string> odd = source.odd.notes();
    data.notes.insert(data.notes.end(), odd.begin(), odd.end());

    data.fingerprint = fingerprint_of(data, true);
    data.watch_drive();
    if (!options.for_training) return data;
    const std::vector<size_t> boxes = data.box_counts(Part::train);
    size_t all = 0, empty = 0;
    for (size_t c = 0; c < boxes.size(); ++c) {
        all += boxes[c];
        if (!boxes[c])
            data.notes.push_back(
                fmt::format("class '{}' has no boxes to train on: it will not be detected", data.classes[c]));
    }
    if (!all) fail(Fault::usage, "{}: there are no boxes to train on{}", path, source.odd.in_brackets());
    for (const Sample& sample : data.samples) empty += sample.part == Part::train && sample.boxes.empty();
    data.notes.push_back(fmt::format("{} boxes to train on; {} training images are empty", all, empty));
    return data;
}
