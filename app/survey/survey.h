// A survey: cards full of images to one table. Folder: survey.journal (every answer of every model; the store from
// which all else is made), survey.json (models, settings, counts), results.json (MegaDetector 1.6), images.csv,
// events.csv, sites.csv; corrections.csv and repeats.csv count where they are there. docs/survey.md
#pragma once

#include <memory>

#include "app/detect/job.h"
#include "app/survey/table.h"

struct SurveyJob {
    DetectJob detect;  // images, models, machine; `out` is the folder
    std::string sites = {};
    std::vector<std::string> not_animals = {};  // empty: what usual names say
    TableOptions table = {};                    // settings of people; categories and classes come from the models
};

struct SurveyOutcome {
    DetectOutcome detect = {};
    size_t images = 0, to_review = 0;
    std::map<std::string, size_t> finals = {};
};

// Looks at the images that the survey lacks, then writes its tables.
SurveyOutcome survey(SurveyJob job);

// A finished survey as its folder has it, corrections included. Fault::usage if the folder holds none.
struct OpenedSurvey {
    nlohmann::ordered_json record;  // survey.json
    std::shared_ptr<const DetectRun> run;
    std::unique_ptr<SurveyTable> table;
};
OpenedSurvey open_survey(const std::filesystem::path& folder);

// Writes results.json, images.csv and events.csv anew, after corrections.
SurveyOutcome rewrite_survey(const std::filesystem::path& folder,
                             const std::function<void(const std::string&)>& note = {});

// The same where corrections.csv or repeats.csv is newer than images.csv; nothing in a folder without a journal.
bool refresh_survey(const std::filesystem::path& folder);

// Joins the folders that `tundra survey --shard` left, with what people corrected there. Fault::usage if one is
// missing, given twice, or of other models or sites.
SurveyOutcome merge_surveys(const std::vector<std::string>& folders, const std::filesystem::path& out,
                            const std::function<void(const std::string&)>& note);
