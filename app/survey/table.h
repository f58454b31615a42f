// The table of a survey: results of the models, sites, repeats and corrections joined to one row per image.
// docs/survey.md says what each column means and by which rules it is made.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "app/survey/corrections.h"
#include "app/survey/final_class.h"
#include "app/survey/sites.h"

// Why a person should look, as bits.
constexpr uint8_t kReviewAnimal = 1, kReviewSample = 2, kReviewDoubtful = 4, kReviewRepeat = 8, kReviewUnreadable = 16;

struct TableOptions {
    std::vector<std::string> categories = {};             // of boxes, in the order of their numbers
    std::vector<std::string> species = {}, quality = {};  // classes of the models; empty: no such model
    std::vector<std::string> not_animals = {};            // species that are none, such as empty and rock
    double box_threshold = 0.2;
    std::string bad = "bad";      // class of the quality model
    double bad_threshold = 0.95;  // at least this probability; else the best other class
    double sample = 0.1;          // of each site and final class, rounded up
    uint64_t seed = 0;            // of the sample
    int64_t burst_seconds = 60, event_seconds = 1800;
};

struct SurveyResults {
    size_t count;
    std::function<ImageResult(size_t)> at;    // in the order of names; asked for in any order
    std::function<std::string(size_t)> file;  // its name alone
};

// The camera's serial number, else the folder of the image without those that cameras make themselves (DCIM, ...).
std::string camera_of(const ImageResult& result);

struct SpeciesCount {
    std::string name;
    size_t count;
    double score;  // of the surest box
};

struct ImageRow {
    std::string file = {}, site = {}, camera = {}, date = {}, sequence = {}, quality = {};
    double quality_score = -1;               // probability of the bad class; -1: no quality model
    std::vector<size_t> boxes = {};          // by category, then repeated
    std::vector<SpeciesCount> species = {};  // most frequent first
    std::string before_vote = {};            // names of the species before the vote, if it changed one
    FinalClass final = FinalClass::empty;
    std::string reviewed = {};
    std::string models = {};  // what the models said of a reviewed image, such as "animal fox:2|hare:1"
    uint8_t review = 0;
    std::string problem = {};
};

// Visits of a species to one site, not far apart.
struct SurveyEvent {
    std::string site = {}, species = {};
    std::string start = {}, end = {}, first_file = {};  // dates as in images.csv; empty: not known
    int64_t from = -1, to = -1;        // the same in seconds since 1970 by the camera's clock; -1: not known
    size_t sequences = 1, images = 0;  // bursts
    size_t count = 0;                  // the largest number in one image
    double score = 0;                  // of the surest box
};

class SurveyTable {
public:
    // Reads every result once, and those of bursts a second time. Memory: 32 bytes per image, and up to 24
    // more for a moment.
    SurveyTable(SurveyResults results, Sites sites, Repeats repeats, Corrections corrections, TableOptions options);

    size_t size() const { return facts_.size(); }
    ImageRow row(size_t i) const;
    FinalClass final_class(size_t i) const { return facts_[i].final; }
    uint8_t review(size_t i) const { return facts_[i].review; }  // as the models' answers have it, before corrections
    const std::vector<std::string>& notes() const { return notes_; }  // missing dates, clocks that were reset

    // As events.csv has them: by site, species and time.
    void each_event(const std::function<void(const SurveyEvent&)>& each) const;

    void write_images(const std::filesystem::path& csv) const;
    void write_events(const std::filesystem::path& csv) const;

private:
    struct Facts {  // what must be known of all images at once
        int64_t time;
        uint32_t site, camera, sequence, burst;
        uint32_t order;  // of the images by camera and time
        FinalClass final;
        uint8_t review;
        bool clock_reset;
    };
    struct Winner {
        uint32_t species;  // number of its text
        float share;       // of the votes
    };
    struct Answer;
    uint32_t number(const std::string& text);  // of texts that many images share
    void vote(size_t first, size_t last);
    void draw_sample();
    void apply_corrections(Corrections corrections, const std::vector<size_t>& corrected);
    const ImageCorrections* said_of(const std::string& file) const;  // nullptr: nothing
    std::optional<std::vector<SpeciesCount>> species_said(const std::string& file) const;
    bool is_animal(const std::string& name) const;
    const RepeatedBox* repeat_of(const std::string& file, size_t box) const;  // nullptr: it is none
    Answer answer(size_t i) const;
    ImageRow row(size_t i, const Answer& answer) const;

    SurveyResults results_;
    Sites sites_;
    Repeats repeats_;
    Corrections corrections_;  // none while the sample is drawn
    TableOptions options_;
    std::vector<Facts> facts_;
    std::vector<std::string> texts_;
    std::unordered_map<std::string, uint32_t> numbers_;
    std::unordered_map<uint32_t, Winner> winners_;         // by burst, where the vote can change a box
    std::unordered_map<std::string, std::string> models_;  // ImageRow::models by file
    std::vector<std::string> notes_;
};
