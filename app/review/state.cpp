#include "app/review/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "app/survey/final_class.h"
#include "base/text.h"

bool is_human(const std::string& name) {
    static const std::vector<std::string> names{"person", "human", "people", "homo sapiens", "vehicle", "car"};
    return std::ranges::find(names, lower(name)) != names.end();
}

std::string species_text(const std::map<std::string, int>& species) {
    std::vector<std::pair<std::string, int>> all(species.begin(), species.end());
    std::ranges::stable_sort(all, [](const auto& a, const auto& b) { return a.second > b.second; });
    std::string text;
    for (const auto& [name, count] : all) text += fmt::format("{}{}:{}", text.empty() ? "" : "|", name, count);
    return text;
}

std::map<std::string, int> species_counts(std::string_view text) {
    std::map<std::string, int> counts;
    std::istringstream in{std::string(text)};
    for (std::string part; std::getline(in, part, '|');) {
        const size_t colon = part.rfind(':');
        const int count = colon == part.npos ? 1 : std::atoi(part.c_str() + colon + 1);
        if (const std::string name = part.substr(0, colon); !name.empty()) counts[name] += std::max(count, 1);
    }
    return counts;
}

StatedImage state_of(const SurveyFolder& survey, size_t image, const std::vector<Correction>* said) {
    StatedImage now{.final = survey.finals[survey.images[image].final],
                    .quality = survey.quality_of(image),
                    .species = species_counts(survey.species_of(image)),
                    .boxes = {}};
    for (const SurveyBox& box : survey.boxes(image))
        now.boxes.push_back({.number = std::to_string(now.boxes.size() + 1),
                             .at = box.at,
                             .category = survey.categories[box.category],
                             .species = box.species < 0 ? "" : survey.species[size_t(box.species)],
                             .confidence = box.confidence,
                             .touched = false,
                             .repeated = box.repeated});
    // Of a row with answers that were taken back since, only the boxes are the models'.
    bool boxes_changed = !said && survey.images[image].by_person, quality_changed = false;
    if (!said && !boxes_changed) return now;
    now.reviewed = said != nullptr;
    if (const std::string text = said ? accepted_answer(*said) : ""; !text.empty()) {
        const size_t space = std::min(text.find(' '), text.size());
        now.final = text.substr(0, space);
        std::map<std::string, int> accepted =
            species_counts(std::string_view(text).substr(std::min(space + 1, text.size())));
        if (std::ranges::none_of(accepted, [&](const auto& one) {  // "animal": there was no species model then
                return std::ranges::find(survey.categories, one.first) != survey.categories.end();
            }))
            now.species = std::move(accepted);
    }
    std::string final, species;
    for (const Correction& c : said ? *said : std::vector<Correction>()) {
        if (c.box.empty()) {
            if (c.field == "final") final = c.value;
            if (c.field == "species") species = c.value;
            if (c.field == "quality") now.quality = c.value, quality_changed = true;
            continue;
        }
        boxes_changed = true;
        auto known = std::ranges::find(now.boxes, c.box, &StatedBox::number);
        if (known == now.boxes.end()) {
            if (!c.box.starts_with('+')) continue;  // of another detector; the table passes it over, too
            known = now.boxes.insert(known, {c.box, {}, "none", "", 1, true, false});
        }
        StatedBox& box = *known;
        box.touched = true;
        box.repeated = false;
        box.confidence = 1;
        if (c.field == "category") box.category = c.value;
        if (c.field == "species") box.species = c.value;
        if (c.field == "bbox") {
            std::istringstream in(c.value);
            for (float& side : box.at) in >> side;
        }
    }
    // Counted again as the survey's table does.
    const bool is_readable = survey.finals[survey.images[image].final] != "failed";
    if (boxes_changed || quality_changed || !species.empty()) {
        std::map<std::string, int> counted;
        bool animal = false, human = false, repeated = false;
        for (const StatedBox& box : now.boxes) {
            if (box.category == "none" || box.confidence < survey.box_threshold) continue;
            if (box.repeated) {
                repeated = true;
                continue;
            }
            const std::string& name = box.species.empty() ? box.category : box.species;
            if (is_human(box.category) || is_human(name)) {
                human = true;
            } else if (std::ranges::find(survey.not_animals, name) == survey.not_animals.end()) {
                animal = true;
                ++counted[name];
            }
        }
        if (boxes_changed) now.species = counted;
        if (!boxes_changed) animal = !now.species.empty();  // which a vote may have changed
        if (!species.empty()) now.species = species_counts(species), animal = true;
        if (is_readable) now.final = final_name(final_of(animal, repeated, now.quality == survey.bad, human));
    }
    if (!final.empty()) now.final = final;
    if (!final.empty() && final != "animal") now.species.clear();
    return now;
}
