// What holds for an image once people's corrections are laid over the answers of the models.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "app/review/corrections.h"
#include "app/review/folder.h"

// Categories and classes of people and vehicles, in any case.
bool is_human(const std::string& name);

struct StatedBox {
    std::string number;  // "1", "2", ... as in results.json, "+1", ... drawn
    std::array<float, 4> at;
    std::string category;  // "none": removed
    std::string species;   // "": not known
    double confidence;     // 1 where a person decided
    bool touched;          // a person changed or drew it
    bool repeated;         // a repeat detection, of which nobody said anything
};

struct StatedImage {
    std::string final, quality;
    std::map<std::string, int> species;  // animals of each, counted
    std::vector<StatedBox> boxes;
    bool reviewed = false;
};

// `said`: CorrectionLog::of(); null: the models' answers alone.
StatedImage state_of(const SurveyFolder& survey, size_t image, const std::vector<Correction>* said);

// "fox:2|hare:1" and back; the most frequent first, equal ones by name. A part without a number counts one.
std::string species_text(const std::map<std::string, int>& species);
std::map<std::string, int> species_counts(std::string_view text);
