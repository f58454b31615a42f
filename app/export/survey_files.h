// The answers of a survey folder, image by image, as `tundra survey` and its reviewers left them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

struct AnsweredBox {
    std::string category = {};  // "animal", "person", "vehicle", ...
    double confidence = 0;
    double x = 0, y = 0, w = 0, h = 0;           // shares of the image's sides
    std::map<std::string, double> species = {};  // class to probability, the best five
    std::string best = {};                       // the class with the highest
    bool by_person = false;                      // drawn or named by a reviewer
    bool counts = true;                          // above the threshold, and no repeat detection
};

struct SurveySpecies {
    std::string name = {};
    size_t count = 1;
    double score = 0;  // 0: none
};

struct AnsweredImage {
    std::string file = {}, site = {}, camera = {}, sequence = {};
    int64_t time = -1;                         // seconds since 1970 by the camera's clock; -1: unknown
    std::string final = {};                    // animal, empty, bad, human, repeated, failed
    std::string reviewer = {}, reviewed = {};  // who checked it and when, "2026-11-30T08:00:00Z"; empty: nobody
    std::vector<SurveySpecies> species = {};
    bool has_problem = false;  // it could be read in part only
    std::vector<AnsweredBox> boxes =
        {};  // those that count, and those from confidence 0.05; none that a reviewer removed
};

struct SurveyAnswers {
    std::vector<AnsweredImage> images = {};      // in the order of images.csv
    std::string detector = {}, classifier = {};  // names of the models, empty if there was none
    std::set<std::string> categories = {};       // of boxes
    std::string base = {};                       // folder of the images, if the survey says
    std::vector<std::string> notes = {};         // on what in corrections.csv does not count
    int64_t event_seconds = 1800;                // visits of a species at most this far apart are one event
};

// Reads images.csv, results.json, and repeats.csv and corrections.csv where they exist. Fault::usage if the folder is
// no survey, Fault::damaged for files that contradict each other.
SurveyAnswers read_survey(const std::filesystem::path& folder);
// The same of a survey's folder or of a result file alone, whose images have no `final` but "failed".
SurveyAnswers read_answers(const std::filesystem::path& path);
