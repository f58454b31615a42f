// The rows of Camtrap DP's table `observations`, of one image after the other.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "app/export/survey_files.h"

using Row = std::vector<std::string>;

// The columns that are written into; all of them stand in the file.
// clang-format off
namespace observation {
enum Column : size_t {
    id, deployment, media, event, start, end, level, type, scientific_name = 9, count, box_x = 18, box_y, box_w,
    box_h, method, classified_by, classified_at, probability, tags
};
}  // namespace observation
// clang-format on
constexpr size_t kObservationColumns = 28;
constexpr const char* kObservationHeader =
    "observationID,deploymentID,mediaID,eventID,eventStart,eventEnd,observationLevel,observationType,cameraSetupType,"
    "scientificName,count,lifeStage,sex,behavior,individualID,individualPositionRadius,individualPositionAngle,"
    "individualSpeed,bboxX,bboxY,bboxWidth,bboxHeight,classificationMethod,classifiedBy,classificationTimestamp,"
    "classificationProbability,observationTags,observationComments\n";

class Observations {
public:
    // `taxa`: scientific names by class.
    Observations(const SurveyAnswers& answers, std::map<std::string, std::string> taxa)
        : answers_(answers), taxa_(std::move(taxa)) {}
    // `shared`: what is the same in every row of the image.
    std::vector<Row> rows(const AnsweredImage& image, const Row& shared);
    const std::set<std::string>& names() const { return names_; }            // scientific
    const std::set<std::string>& unknown() const { return without_taxon_; }  // classes that `taxa` lacks

private:
    Row& add(const std::string& what);
    void score(Row& row, double value, const std::string& model);
    std::string scientific(const std::string& name);
    void add_human(const AnsweredBox& box);
    void add_animals();

    const SurveyAnswers& answers_;
    std::map<std::string, std::string> taxa_;
    std::set<std::string> names_, without_taxon_;
    std::vector<Row> rows_;
    const AnsweredImage* image_ = nullptr;
    const Row* shared_ = nullptr;
};
