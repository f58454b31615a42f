#include "app/review/measure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <tuple>

#include "app/review/state.h"
#include "app/survey/final_class.h"

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr double kWantedPrecision = 0.95;
constexpr size_t kFewestReviewed = 20;

double share(size_t part, size_t all) { return all ? double(part) / double(all) : kNone; }

bool has_reason(const std::string& reasons, const std::string& reason) {
    return ("|" + reasons + "|").find("|" + reason + "|") != std::string::npos;
}

// What the models said about a reviewed image. False if it is not known: images.csv of an earlier version holds the
// person's answer, and no row `seen` the models'.
bool model_answer(const SurveyFolder& survey, size_t image, const std::vector<Correction>& said, std::string& final,
                  std::map<std::string, int>& species) {
    final = survey.finals[survey.images[image].final];
    species = species_counts(survey.species_of(image));
    if (!survey.images[image].by_person) return true;
    const auto seen =
        std::ranges::find_if(said, [](const Correction& c) { return c.box.empty() && c.field == "seen"; });
    if (seen == said.end() || seen->old.empty()) return false;
    const size_t space = seen->old.find(' ');
    final = seen->old.substr(0, space);
    species = space == seen->old.npos ? std::map<std::string, int>() : species_counts(seen->old.substr(space + 1));
    return true;
}

void count(std::map<std::string, AnswerCounts>& scores, const std::string& model, const std::string& person) {
    if (model == person) {
        ++scores[model].right;
    } else {
        ++scores[model].only_model;
        ++scores[person].only_person;
    }
}

struct Scored {
    float score;
    bool reviewed, right;
};

ProposedThreshold propose(std::vector<Scored> answers) {
    std::ranges::sort(answers, [](const Scored& a, const Scored& b) { return a.score > b.score; });
    ProposedThreshold best{.score = kNone, .precision = kNone, .reviewed = 0, .spared = 0};
    size_t reviewed = 0, right = 0;
    for (size_t i = 0; i < answers.size(); ++i) {
        reviewed += answers[i].reviewed;
        right += answers[i].reviewed && answers[i].right;
        if (i + 1 < answers.size() && answers[i + 1].score == answers[i].score) continue;  // equal scores go together
        if (reviewed >= kFewestReviewed && share(right, reviewed) >= kWantedPrecision)
            best = {
                .score = answers[i].score, .precision = share(right, reviewed), .reviewed = reviewed, .spared = i + 1};
    }
    return best;
}

}  // namespace

double AnswerCounts::precision() const { return share(right, right + only_model); }
double AnswerCounts::recall() const { return share(right, right + only_person); }
double AnswerCounts::f1() const { return share(2 * right, 2 * right + only_model + only_person); }

Estimate estimate_accuracy(const std::vector<Stratum>& strata) {
    Estimate out{.accuracy = kNone, .low = kNone, .high = kNone};
    double known = 0, others = 0, looked = 0, right = 0;  // right answers of whole strata; of the others
    for (const Stratum& s : strata) {
        if (!s.sampled) continue;
        out.covered += s.images;
        if (s.sampled == s.images) {
            known += double(s.right);
        } else {
            others += double(s.images);
            looked += double(s.sampled);
            right += double(s.right);
        }
    }
    if (!out.covered) return out;
    const double all = double(out.covered), common = (right + 1) / (looked + 2);
    double p = 0, variance = 0, expected = 0;
    for (const Stratum& s : strata) {
        if (!s.sampled || s.sampled == s.images) continue;
        const double weight = double(s.images) / others, n = double(s.sampled),
                     q = (double(s.right) + 2 * common) / (n + 2);
        p += weight * double(s.right) / n;
        expected += weight * q;
        variance += weight * weight * (1 - n / double(s.images)) * q * (1 - q) / n;
    }
    const auto total = [&](double share) { return std::clamp((known + others * share) / all, 0.0, 1.0); };
    out.accuracy = out.low = out.high = total(p);
    if (!(variance > 0)) return out;
    const double z2 = 1.96 * 1.96, m = expected * (1 - expected) / variance;
    const double middle = (p + z2 / (2 * m)) / (1 + z2 / m),
                 half = std::sqrt(z2 * (p * (1 - p) / m + z2 / (4 * m * m))) / (1 + z2 / m);
    out.low = total(middle - half);
    out.high = total(middle + half);
    return out;
}

SurveyMeasures measure_survey(const SurveyFolder& survey, const CorrectionLog& corrections) {
    SurveyMeasures m;
    m.images = survey.images.size();
    // Strata: site x final class of the models x why somebody should look. Images that are all to be looked at are
    // known when the review is done; of the others the sample stands for the rest.
    std::map<std::tuple<uint32_t, std::string, bool>, Stratum> strata;
    std::map<std::string, std::vector<Scored>> scored;
    for (size_t i = 0; i < survey.images.size(); ++i) {
        const SurveyImage& image = survey.images[i];
        const auto* said = corrections.of(survey.file(i));
        m.to_review += image.to_review;
        m.reviewed += said != nullptr;
        m.unseen_of_those_to_review += image.to_review && !said;
        std::string final = survey.finals[image.final];
        std::map<std::string, int> species;
        for (const std::string& name : survey.species_sets[image.species_set]) species[name] = 1;
        const bool known = said && model_answer(survey, i, *said, final, species);
        const std::string reasons = image.to_review ? survey.row(i).at("review") : "";
        const bool sampled = has_reason(reasons, "sample"), certain = image.to_review && reasons != "sample";
        Stratum& stratum = strata[{image.site, final, certain}];
        ++stratum.images;
        const StatedImage answer = said ? state_of(survey, i, said)
                                        : StatedImage{.final = final, .quality = "", .species = species, .boxes = {}};
        ++m.found_finals[answer.final];
        if (shows_animals(answer.final))
            for (const auto& [name, n] : answer.species) ++m.found_species[name];
        bool right = false;
        std::map<std::string, int> truth;
        if (known) {
            ++m.measured;
            StatedImage now = answer;
            if (final == "repeated" && now.final == "empty")
                now.final = final;  // a rock and nothing else: both are right
            truth = now.species;
            right = now.final == final;
            m.right += right;
            count(m.finals, final, now.final);
            count(m.site_finals[survey.sites[image.site]], final, now.final);
            ++(right ? m.sites[survey.sites[image.site]].right : m.sites[survey.sites[image.site]].only_model);
            if (!shows_animals(final)) species.clear();
            if (!shows_animals(now.final)) truth.clear();
            for (auto* names : {&species, &truth})  // an animal of which nobody said what it is
                std::erase_if(*names, [&](const auto& each) {
                    return std::ranges::find(survey.categories, each.first) != survey.categories.end();
                });
            for (const auto& [name, n] : species)
                ++(truth.contains(name) ? m.species[name].right : m.species[name].only_model);
            for (const auto& [name, n] : truth)
                if (!species.contains(name)) ++m.species[name].only_person;
            if (final == "animal" && now.final == "animal") {
                ++m.with_species;
                m.right_species += species == truth;
            }
            const std::string model_text = final + (species.empty() ? "" : " " + species_text(species)),
                              person_text = now.final + (truth.empty() ? "" : " " + species_text(truth));
            if (model_text != person_text) m.disagreements.push_back({uint32_t(i), model_text, person_text});
            if (certain || sampled) {
                ++stratum.sampled;
                stratum.right += right;
            }
        }
        // Images with one species: the score is that of this species. The table of a reviewed image may hold a
        // person's.
        if (known && final == "animal" && species.size() == 1) {
            const std::string& name = species.begin()->first;
            const auto row = survey.row(i);
            const bool corrected = row.contains("reviewed") && !row.at("reviewed").empty();
            float score = corrected ? 0 : image.score;
            for (const SurveyBox& box : survey.boxes(i))
                if (corrected && box.species >= 0 && survey.species[size_t(box.species)] == name)
                    score = std::max(score, box.score);
            scored[name].push_back({score, true, truth.size() == 1 && truth.contains(name)});
        } else if (const auto& set = survey.species_sets[image.species_set];
                   !said && set.size() == 1 && final == "animal") {
            scored[set.front()].push_back({image.score, false, false});
        }
    }
    std::vector<Stratum> list;
    for (const auto& [key, stratum] : strata) list.push_back(stratum);
    m.everything = estimate_accuracy(list);
    for (auto& [name, answers] : scored) m.thresholds[name] = propose(std::move(answers));
    return m;
}
