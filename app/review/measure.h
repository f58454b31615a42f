// How right a survey's models were, as far as people looked: counts over the reviewed images, and an estimate for the
// images that nobody looked at.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "app/review/corrections.h"
#include "app/review/folder.h"

struct AnswerCounts {
    size_t right = 0, only_model = 0, only_person = 0;  // true positives, false positives, false negatives
    double precision() const;                           // NaN where nothing was said
    double recall() const;
    double f1() const;
};

struct Disagreement {
    uint32_t image;
    std::string model, person;  // final class, a space, species
};

// A score from which on the answers of a class need no look any more.
struct ProposedThreshold {
    double score;             // NaN: none is good enough
    double precision;         // of the reviewed images with at least this score
    size_t reviewed, spared;  // images behind that precision; images of the survey with at least this score
};

struct Estimate {
    double accuracy, low, high;  // NaN where no stratum was sampled
    size_t covered = 0;          // images in strata of which somebody looked at one
};

struct SurveyMeasures {
    size_t images = 0, to_review = 0, reviewed = 0,
           measured = 0;                                    // measured: reviewed, and the models' answer is known
    size_t right = 0, right_species = 0, with_species = 0;  // of the animals that both saw
    std::map<std::string, AnswerCounts> finals, species;
    std::map<std::string, size_t> found_finals, found_species;  // images, with people's answers where there are some
    std::map<std::string, AnswerCounts> sites;  // right and only_model: images with the right and the wrong final class
    std::map<std::string, std::map<std::string, AnswerCounts>> site_finals;
    std::vector<Disagreement> disagreements;
    std::map<std::string, ProposedThreshold> thresholds;  // of species
    Estimate everything;                                  // final class of all images of the survey
    size_t unseen_of_those_to_review = 0;
};

SurveyMeasures measure_survey(const SurveyFolder& survey, const CorrectionLog& corrections);

// Share of right answers in a population, from simple random samples without replacement within strata. Strata that
// were looked at as a whole are known; for the others, of N images,
//
//   p = sum N_h/N x_h/n_h,  V = sum (N_h/N)^2 (1 - n_h/N_h) q_h (1 - q_h) / n_h
//   95 % interval: Wilson's for p of a sample of m = P (1 - P) / V images, P = sum N_h/N q_h
//
// (Cochran 1977, Sampling Techniques, chapter 5; Wilson 1927, JASA 22:209; the effective size m as in Korn & Graubard
// 1998, Survey Methodology 24:193.) q_h = (x_h + 2 c) / (n_h + 2), with the common share c = (sum x + 1) / (sum n + 2),
// stands for x_h/n_h, because a small sample without an error does not prove that there is none. A stratum without a
// sample is left out of N.
struct Stratum {
    size_t images = 0, sampled = 0, right = 0;
};
Estimate estimate_accuracy(const std::vector<Stratum>& strata);
