#include "app/export/observations.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "app/review/state.h"
#include "app/survey/final_class.h"
#include "base/text.h"

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
    if (shows_animals(image.final)) {
        add_animals();
        for (const AnsweredBox& box : image.boxes)
            if (box.counts && is_human(box.category)) add_human(box);
        if (rows_.empty()) add(image.final);  // a reviewer said so, without a box
    }
    for (size_t i = 0; i < rows_.size(); ++i) rows_[i][id] = fmt::format("{}_{}", shared[media], i + 1);
    return rows_;
}

void Observations::add_human(const AnsweredBox& box) {
    const std::string name = lower(is_human(box.category) ? box.category : box.best);
    Row& row = add(name == "vehicle" || name == "car" ? "vehicle" : "human");
    row[count] = "1";
    put_box(box, row);
    score(row, box.confidence, answers_.detector);
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
    if (!model.empty()) row[classified_by] = model;  // else the detector's
}

std::string Observations::scientific(const std::string& name) {
    const auto found = taxa_.find(name);
    if (found == taxa_.end() && answers_.categories.contains(name)) return "";  // "animal": no model named a species
    if (found == taxa_.end()) without_taxon_.insert(name);
    const std::string& taxon = found == taxa_.end() ? name : found->second;
    names_.insert(taxon);
    return taxon;
}

// The table's species and counts are the answer; each box goes to its own species if the table has it, else (a vote or
// a reviewer gave it another) to the first that lacks a box. What the count says beyond the boxes is a row without a
// box. Boxes of people and of rocks are left over.
void Observations::add_animals() {
    std::vector<size_t> left;
    for (const SurveySpecies& one : image_->species) left.push_back(one.count);
    for (const bool own : {true, false})
        for (const AnsweredBox& box : image_->boxes) {
            if (!box.counts || is_human(box.category)) continue;
            const auto named = std::ranges::find(image_->species, box.best, &SurveySpecies::name);
            if ((named != image_->species.end()) != own) continue;
            if (left.empty() && image_->final == "animal") {
                Row& row = add("animal");
                row[count] = "1";
                put_box(box, row);
                score(row, box.confidence, answers_.detector);
                continue;
            }
            const auto room = own ? left.begin() + (named - image_->species.begin())
                                  : std::ranges::find_if(left, [](size_t n) { return n > 0; });
            if (room == left.end() || *room == 0) {  // a reviewer counted fewer, or it is no animal
                if (image_->final == "human" && is_human(box.best)) add_human(box);
                continue;
            }
            --*room;
            const SurveySpecies& species = image_->species[size_t(room - left.begin())];
            Row& row = add("animal");
            row[scientific_name] = scientific(species.name);
            row[count] = "1";
            put_box(box, row);
            const auto probable = box.species.find(species.name);
            score(row, probable == box.species.end() ? species.score : probable->second, answers_.classifier);
        }
    for (size_t s = 0; s < left.size(); ++s)
        if (left[s]) {
            Row& row = add("animal");
            row[scientific_name] = scientific(image_->species[s].name);
            row[count] = std::to_string(left[s]);
            score(row, image_->species[s].score, answers_.classifier);
        }
}
