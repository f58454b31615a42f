#include "app/export/observations.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

using namespace observation;

namespace {

// Four decimals, inside the image after rounding.
void put_box(const AnsweredBox& box, Row& row) {
    const auto put = [&](double from, double length, Column at, Column size) {
        const int64_t begin = std::clamp<int64_t>(std::llround(from * 1e4), 0, 9999);
        const int64_t side = std::clamp<int64_t>(std::llround((from + length) * 1e4) - begin, 1, 10000 - begin);
        row[at] = fmt::format("{:.4f}", double(begin) / 1e4);
        row[size] = fmt::format("{:.4f}", double(side) / 1e4);
    };
    put(box.x, box.w, box_x, box_w);
    put(box.y, box.h, box_y, box_h);
}

}  // namespace

std::vector<Row> Observations::rows(const AnsweredImage& image, const Row& shared) {
    rows_.clear(), image_ = &image, shared_ = &shared;
    if (image.final == "bad") add("unknown")[tags] = "quality:bad";
    if (image.final == "repeated") add("blank")[tags] = "repeatDetection";
    if (image.final == "empty") add("blank");
    if (image.final == "animal" || image.final == "human") {
        add_animals();
        for (const AnsweredBox& box : image.boxes)
            if (box.counts && (box.category == "person" || box.category == "vehicle")) {
                Row& row = add(box.category == "person" ? "human" : "vehicle");
                row[count] = "1";
                put_box(box, row);
                score(row, box.confidence, answers_.detector);
            }
        if (rows_.empty()) add(image.final);  // a reviewer said so, without a box
    }
    for (size_t i = 0; i < rows_.size(); ++i) rows_[i][id] = fmt::format("{}_{}", shared[media], i + 1);
    return rows_;
}

Row& Observations::add(const std::string& what) {
    Row row = *shared_;
    row[type] = what;
    if (!image_->reviewer.empty()) {
        row[method] = "human";
        row[classified_by] = image_->reviewer;
        row[classified_at] = image_->reviewed;
    } else {
        row[method] = "machine";
        row[classified_by] = answers_.detector;
    }
    rows_.push_back(std::move(row));
    return rows_.back();
}

void Observations::score(Row& row, double value, const std::string& model) {
    if (!image_->reviewer.empty()) return;
    if (value > 0) row[probability] = fmt::format("{:.4f}", std::min(value, 1.0));
    row[classified_by] = model;
}

std::string Observations::scientific(const std::string& name) {
    const auto found = taxa_.find(name);
    if (found == taxa_.end()) without_taxon_.insert(name);
    const std::string& taxon = found == taxa_.end() ? name : found->second;
    names_.insert(taxon);
    return taxon;
}

// The table's species and counts are the answer; each box goes to its own species if the table has it, else to the
// first. What the count says beyond the boxes is a row without a box.
void Observations::add_animals() {
    std::vector<size_t> left;
    for (const SurveySpecies& one : image_->species) left.push_back(one.count);
    for (const AnsweredBox& box : image_->boxes) {
        if (!box.counts || box.category == "person" || box.category == "vehicle") continue;
        if (left.empty()) {
            Row& row = add("animal");
            row[count] = "1";
            put_box(box, row);
            score(row, box.confidence, answers_.detector);
            continue;
        }
        size_t k = 0;
        for (size_t s = 0; s < left.size(); ++s)
            if (image_->species[s].name == box.best) k = s;
        if (left[k] == 0) continue;  // a reviewer counted fewer
        --left[k];
        const SurveySpecies& species = image_->species[k];
        Row& row = add("animal");
        row[scientific_name] = scientific(species.name);
        row[count] = "1";
        put_box(box, row);
        const auto own = box.species.find(species.name);
        score(row, own == box.species.end() ? species.score : own->second, answers_.classifier);
    }
    for (size_t s = 0; s < left.size(); ++s)
        if (left[s]) {
            Row& row = add("animal");
            row[scientific_name] = scientific(image_->species[s].name);
            row[count] = std::to_string(left[s]);
            score(row, image_->species[s].score, answers_.classifier);
        }
}
