// What people's corrections say about a survey: for the terminal, as JSON, and as the page survey.html.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "app/review/measure.h"

std::string measures_text(const SurveyMeasures& measures);
nlohmann::ordered_json measures_json(const SurveyFolder& survey, const SurveyMeasures& measures);

// Writes FOLDER/survey.html from the files of the folder; the path.
std::filesystem::path write_survey_report(const SurveyFolder& survey, const SurveyMeasures& measures);
