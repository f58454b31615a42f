// A survey folder in memory, for looking at hundreds of thousands of images: images.csv, results.json, repeats.csv and
// survey.json; about 250 bytes per image and 28 per box
// beside the text of images.csv.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"

struct SurveyBox {
    std::array<float, 4> at;  // left, top, width, height as shares of the sides
    float confidence, score;  // score of the class
    uint16_t category;        // number in SurveyFolder::categories
    int16_t species;          // number in SurveyFolder::species; -1: not classified
};

struct SurveyImage {
    uint64_t row;                                         // where its row begins in images.csv
    uint32_t site, sequence, species_set, first_box = 0;  // species_set: number in SurveyFolder::species_sets
    uint16_t boxes = 0, final;
    uint32_t repeat = ~0u;  // number of its group of repeat detections; ~0: none
    float change = 0;       // how many answers of its row a person is expected to change: see expected_change()
    float score = 0;        // of its first species, else the highest confidence of its boxes
    bool to_review = false;
};

class SurveyFolder {
public:
    // `base`: where the images are now; "": where survey.json says they were. Fault::usage if `folder` holds no survey,
    // Fault::damaged, with file and row, where the files cannot be read.
    SurveyFolder(const std::filesystem::path& folder, const std::string& base);

    std::filesystem::path folder, base;
    std::string id;              // of the survey, for what a browser keeps
    double box_threshold = 0.2;  // boxes below it do not count
    std::string bad = "bad";     // class of the quality model
    std::vector<std::string> categories, species, sites, finals, qualities, not_animals;
    std::vector<std::vector<std::string>> species_sets;  // that occur together in an image
    std::vector<SurveyImage> images;                     // by their number, which is the order of images.csv
    std::vector<std::string> notes;

    std::span<const SurveyBox> boxes(size_t image) const;
    const std::string& file(size_t image) const { return files_[image]; }
    size_t find(std::string_view file) const;                    // images.size() if there is none
    std::map<std::string, std::string> row(size_t image) const;  // column: text
    std::string species_of(size_t image) const;                  // "fox:2|hare:1"
    std::vector<uint32_t> sequence(size_t image) const;          // the images of its burst, itself among them
    // The group of repeat detections of this image, and which box of each image is the repeated one.
    std::vector<std::pair<uint32_t, uint32_t>> repeats(size_t image) const;

    void require_images() const;  // Fault::usage if their folder is not there

    // Fault::usage if images.csv or results.json is no longer the file that was read.
    void check_unchanged() const;

private:
    void read_record();
    void read_table();
    void read_boxes();
    void read_repeats();

    FileBytes table_;
    std::string base_option_;  // "--base " if it was given
    std::vector<std::string> columns_, files_;
    std::vector<std::vector<uint32_t>> sequences_;
    std::vector<std::vector<std::pair<uint32_t, uint32_t>>> repeats_;
    std::unordered_map<std::string_view, uint32_t> numbers_;
    std::vector<SurveyBox> boxes_;
    std::array<std::string, 2> stamps_;  // of images.csv and results.json
};

// The expected number of answers in this image's row that a person would change, from the models' own scores:
//
//   P(quality answer wrong) + P(presence of an animal wrong) + sum over species of (1 - score)
//
// quality: the probability of the class that was not chosen; presence: 1 - c where the most confident box has the
// confidence c and counts, c where it does not. The scores are taken as probabilities: an order, not a forecast.
struct ChangeFacts {
    double bad = 0;  // probability that the image is bad; NaN: no quality model
    bool called_bad = false, has_species = false;
    double box = 0;  // highest confidence of a box that may be an animal
    bool box_counts = false;
    double species_doubt = 0;  // sum of 1 - score
};
double expected_change(const ChangeFacts& facts);
