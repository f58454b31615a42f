// A survey folder in memory, for looking at hundreds of thousands of images: images.csv, results.json, repeats.csv and
// survey.json; about 250 bytes per image and 36 per box beside the text of images.csv. What it says is the models'
// answer, also where images.csv holds a person's (column `models`).
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

class CorrectionLog;

struct SurveyBox {
    std::array<float, 4> at;  // left, top, width, height as shares of the sides
    float confidence, score;  // score of the class
    float animal, human;      // shares of its classes, or all by its category: how much of it is an animal, or people
    uint16_t category;        // number in SurveyFolder::categories
    int16_t species;          // number in SurveyFolder::species; -1: not classified
    bool repeated = false;    // in a group of repeat detections
};

struct SurveyImage {
    uint64_t row;                                         // where its row begins in images.csv
    uint32_t site, sequence, species_set, first_box = 0;  // species_set: number in SurveyFolder::species_sets
    uint16_t boxes = 0, final, good = 0;  // good: number in SurveyFolder::qualities of its best class that is not bad
    uint32_t repeat = ~0u;                // number of its group of repeat detections; ~0: none
    float wrong = 0;                      // probability that its final class is wrong: see wrong_probability()
    float species_doubt = 0;              // expected number of wrong ones among its species, the sum of 1 - score
    float score = 0;                      // of its first species, else the highest confidence of its boxes
    bool to_review = false;
    bool by_person = false;  // the models' answer is not known: images.csv of an earlier version has a person's
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
    std::string path(size_t image) const;  // of it on the disk
    // Its name, or how JSON writes it (json_name()); images.size() if there is none.
    size_t find(std::string_view file) const;
    std::map<std::string, std::string> row(size_t image) const;  // column: text, as images.csv has it
    std::string quality_of(size_t image) const;
    std::string good_of(size_t image) const { return qualities[images[image].good]; }  // its class if it is not bad
    std::string species_of(size_t image) const;                                        // "fox:2|hare:1"
    std::vector<uint32_t> sequence(size_t image) const;  // the images of its burst, itself among them
    // The group of repeat detections of this image, and which box of each image is the repeated one.
    std::vector<std::pair<uint32_t, uint32_t>> repeats(size_t image) const;

    void match(CorrectionLog& log) const;  // with the boxes of this survey: CorrectionLog::match()

    void require_images() const;  // Fault::usage if their folder is not there

    // Fault::usage if images.csv or results.json is no longer the file that was read.
    void check_unchanged() const;

private:
    void read_record();
    void read_table();
    void read_boxes();
    void read_repeats();
    void weigh();  // SurveyImage::wrong

    FileBytes table_bytes_;
    std::string table_copy_;  // with commas, where a spreadsheet saved it
    std::string_view table_;  // one of them
    double bad_threshold_ = 0.95;
    std::string base_option_;  // "--base " if it was given
    std::vector<std::string> columns_, files_;
    std::vector<std::vector<uint32_t>> sequences_;
    std::vector<std::vector<std::pair<uint32_t, uint32_t>>> repeats_;
    std::unordered_map<std::string_view, uint32_t> numbers_;
    std::map<std::string, uint32_t, std::less<>> json_numbers_;  // of names that are not UTF-8
    std::vector<SurveyBox> boxes_;
    std::array<std::string, 2> stamps_;  // of images.csv and results.json
};

// The probability that a final class is wrong, from the models' own scores taken as probabilities: an order, not a
// forecast. With the rule of the table (people before bad images before animals before empty ones):
//
//   P(human) = h,  P(bad) = (1 - h) b,  P(animal) = (1 - h) (1 - b) a,  P(empty) = the rest
//
// h, a: the largest confidence of a box times its share of people, of animals; repeated boxes are none. b: the quality
// model's.
struct ClassFacts {
    double animal = 0, bad = 0, human = 0;
};
double wrong_probability(const ClassFacts& facts, const std::string& final);
