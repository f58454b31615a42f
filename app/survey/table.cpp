#include "app/survey/table.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "app/jobs/names.h"
#include "app/review/corrections.h"
#include "app/review/state.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "data/exif.h"

namespace {

constexpr float kSure = 0.8f, kWinnersShare = 2.0f / 3;  // of the vote
constexpr size_t kFewestVotes = 3;
constexpr float kDoubtful = 0.5f;
constexpr int64_t kNumberedSeconds = 600;  // a card starts its numbers again, so equal ones alone say nothing
constexpr int64_t kClockJump = 86400;

// The folder of an image without the folders that cameras make themselves: DCIM, 100EK113, ...
std::string camera_folder(const std::string& file) {
    std::filesystem::path folder = std::filesystem::path(file).parent_path();
    const auto made_by_camera = [](const std::string& name) {
        return lower(name) == "dcim" || (name.size() == 8 && std::all_of(name.begin(), name.begin() + 3,
                                                                         [](char c) { return c >= '0' && c <= '9'; }));
    };
    while (folder.has_parent_path() && made_by_camera(folder.filename().string())) folder = folder.parent_path();
    return folder.generic_string();
}

// "2024:07:31 13:05:59" as tables have it; empty if it is no date.
std::string table_date(const std::string& date) {
    if (exif_seconds(date) < 0) return "";
    std::string text = date.substr(0, 19);
    text[4] = text[7] = '-';
    text[10] = ' ';
    return text;
}

}  // namespace

std::string camera_of(const ImageResult& r) { return r.camera.empty() ? camera_folder(r.file) : r.camera; }

struct SurveyTable::Answer {
    struct Box {
        std::string category, species = {};  // species: empty without an answer
        double score = 0;
        bool repeated = false, by_person = false;
    };
    ImageResult result = {};
    std::vector<Box> boxes = {};  // that count
    std::string before_vote = {};
    bool doubtful = false, first_repeat = false;
};

SurveyTable::SurveyTable(SurveyResults results, Sites sites, Repeats repeats, Corrections corrections,
                         TableOptions options)
    : results_(std::move(results)),
      sites_(std::move(sites)),
      repeats_(std::move(repeats)),
      options_(std::move(options)),
      facts_(results_.count) {
    std::string first_undated, first_reset, last_folder;
    size_t undated = 0, resets = 0, of_repeats = 0;
    int64_t latest = -1;
    bool reset = false;
    std::vector<size_t> corrected, lost;
    for (size_t i = 0; i < facts_.size(); ++i) {
        const ImageResult r = results_.at(i);
        const std::string site = sites_.name_of(r.file), folder = r.file.substr(0, r.file.rfind('/') + 1);
        Facts& f = facts_[i];
        f = {.time = exif_seconds(r.date),
             .site = number(site),
             .camera = number(site + "\n" + camera_of(r)),
             .sequence = r.sequence.empty() ? 0 : number(r.sequence) + 1,
             .burst = 0,
             .order = uint32_t(i),
             .final = FinalClass::failed,
             .review = 0,
             .clock_reset = false};
        of_repeats += repeats_.contains(json_name(r.file));
        if (const auto said = corrections.find(json_name(r.file)); said != corrections.end())
            (said->second.lost ? lost : corrected).push_back(i);
        if (!r.failure.empty()) continue;
        if (f.time < 0 && undated++ == 0) first_undated = r.file;
        if (folder != last_folder) latest = -1, reset = false, last_folder = folder;
        if (f.time >= 0 && latest - f.time > kClockJump && !reset) {
            reset = true;
            if (resets++ == 0)
                first_reset = fmt::format("{} is dated {}, before the images it follows", r.file, table_date(r.date));
        }
        f.clock_reset = reset && f.time >= 0 && f.time < latest;
        latest = std::max(latest, f.time);
    }
    if (undated)
        notes_.push_back(
            fmt::format("{} images have no date, the first is {}: each is a sequence and an event of its own", undated,
                        first_undated));
    if (resets)
        notes_.push_back(fmt::format(
            "the clock seems to have been reset in {} folders: {}; such images are named in the column problem", resets,
            first_reset));
    if (const size_t strange = repeats_.size() - of_repeats + corrections.size() - corrected.size() - lost.size())
        notes_.push_back(
            fmt::format("corrections.csv or repeats.csv name {} images that the survey does not have", strange));
    std::erase_if(corrections, [](const auto& said) { return said.second.lost; });
    std::vector<uint32_t> order(facts_.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, {}, [&](uint32_t i) { return std::tuple(facts_[i].camera, facts_[i].time, i); });
    for (size_t k = 0; k < order.size(); ++k) facts_[k].order = order[k];
    for (size_t first = 0, last = 1; last <= order.size(); ++last) {
        if (last < order.size()) {
            const Facts &a = facts_[order[last - 1]], &b = facts_[order[last]];
            if (a.camera == b.camera && a.time >= 0 && a.sequence == b.sequence &&
                b.time - a.time <= (a.sequence ? kNumberedSeconds : options_.burst_seconds))
                continue;
        }
        for (size_t k = first; k < last; ++k)
            facts_[order[k]].burst = *std::min_element(&order[first], &order[0] + last);
        vote(first, last);
        first = last;
    }
    order = {};
    draw_sample();
    for (const size_t i : lost) facts_[i].review |= kReviewDoubtful;
    apply_corrections(std::move(corrections), corrected);
}

uint32_t SurveyTable::number(const std::string& text) {
    const auto [found, added] = numbers_.try_emplace(text, uint32_t(texts_.size()));
    if (added) texts_.push_back(text);
    return found->second;
}

bool SurveyTable::is_animal(const std::string& name) const {
    return !is_human(name) && std::ranges::find(options_.not_animals, name) == options_.not_animals.end();
}

const ImageCorrections* SurveyTable::said_of(const std::string& file) const {
    const auto found = corrections_.find(json_name(file));
    return found == corrections_.end() ? nullptr : &found->second;
}

// What a person said of the whole image: its species, that it shows none, or that the answer is right.
std::optional<std::vector<SpeciesCount>> SurveyTable::species_said(const std::string& file) const {
    const ImageCorrections* said = said_of(file);
    if (!said) return {};
    std::string text = said->value("", "species");
    const std::string final = said->value("", "final");
    if (!final.empty() && final != final_name(FinalClass::animal)) return std::vector<SpeciesCount>();
    const bool as_accepted = text.empty();
    if (as_accepted) {
        if (said->accepted.empty()) return {};
        const size_t space = said->accepted.find(' ');
        if (space != std::string::npos) text = said->accepted.substr(space + 1);
    }
    std::vector<SpeciesCount> species;
    for (const auto& [name, count] : named_counts(text)) species.push_back({name, count, 1});
    const auto unnamed = [&](const SpeciesCount& s) {  // "animal": there was no species model then
        return std::ranges::find(options_.categories, s.name) != options_.categories.end();
    };
    if (as_accepted && std::ranges::any_of(species, unnamed)) return {};
    return species;
}

// Every box counts for its class with its score, and for a person's answer with 1. Where one animal has two thirds of
// all votes, boxes that are not sure of theirs get it too; but if people named boxes, only a class that they named.
void SurveyTable::vote(size_t first, size_t last) {
    const uint32_t burst = facts_[facts_[first].order].burst;
    winners_.erase(burst);
    if (last - first < 2 || options_.species.empty()) return;
    std::map<uint32_t, float> votes;  // by the number of the class's text
    std::set<uint32_t> named;
    float all = 0;
    size_t count = 0;
    bool unsure = false;
    const auto add = [&](const std::string& species, double weight, size_t boxes) {
        votes[number(species)] += float(weight), all += float(weight), count += boxes;
    };
    for (size_t k = first; k < last; ++k) {
        const Answer a = answer(facts_[k].order);
        if (const auto said = species_said(a.result.file)) {
            for (const SpeciesCount& s : *said) add(s.name, double(s.count), s.count), named.insert(number(s.name));
            continue;
        }
        for (const Answer::Box& box : a.boxes) {
            if (box.species.empty() || box.repeated) continue;
            add(box.species, box.score, 1);
            if (box.by_person) named.insert(number(box.species));
            unsure = unsure || box.score < kSure;
        }
    }
    if (count < kFewestVotes || !unsure || votes.size() < 2) return;
    const auto winner = std::ranges::max_element(votes, {}, [](const auto& v) { return v.second; });
    if (winner->second < kWinnersShare * all || !is_animal(texts_[winner->first]) ||
        !(named.empty() || named.contains(winner->first)))
        return;
    winners_[burst] = {winner->first, winner->second / all};
}

const RepeatedBox* SurveyTable::repeat_of(const std::string& file, size_t box) const {
    const auto boxes = repeats_.find(json_name(file));
    if (boxes == repeats_.end()) return nullptr;
    const RepeatedBox* found = nullptr;  // a box may be in several groups, and be the first of one
    for (const RepeatedBox& one : boxes->second)
        if (one.box == box && (!found || one.first)) found = &one;
    return found;
}

SurveyTable::Answer SurveyTable::answer(size_t i) const {
    Answer a{.result = results_.at(i)};
    ImageResult& r = a.result;
    const ImageCorrections* said = said_of(r.file);
    const auto value = [&](const std::string& box, const char* field) { return said ? said->value(box, field) : ""; };
    // No vote changes what a person looked at. Where boxes were changed the others have their own answers, as the
    // review shows them; else species_said() has what the models had said, their vote included.
    const auto winner = said ? winners_.end() : winners_.find(facts_[i].burst);
    std::set<std::string> before;
    bool changed = false;
    for (size_t k = 0; k < r.detections.size(); ++k) {
        Detection& d = r.detections[k];
        const std::string number = std::to_string(k + 1), category = value(number, "category");
        const bool by_person = !(category + value(number, "species") + value(number, "bbox")).empty();
        if (category == "none" || (d.confidence < options_.box_threshold && !by_person)) continue;
        const RepeatedBox* repeat = by_person ? nullptr : repeat_of(r.file, k + 1);
        Answer::Box box{.category = category.empty() ? options_.categories.at(size_t(d.category) - 1) : category,
                        .score = d.confidence,
                        .repeated = repeat != nullptr,
                        .by_person = by_person};
        a.first_repeat |= repeat && repeat->first;
        exclude(d.classes, sites_.find(texts_[facts_[i].site]));
        if (!d.classes.empty() && !repeat) {
            box.species = options_.species.at(d.classes[0].first);
            box.score = d.classes[0].second;
            before.insert(box.species);
            a.doubtful = a.doubtful || d.classes[0].second < kDoubtful;
            if (winner != winners_.end() && box.species != texts_[winner->second.species] &&
                d.classes[0].second < kSure) {
                box.species = texts_[winner->second.species];
                box.score = winner->second.share;
                changed = a.doubtful = true;
            }
        }
        if (is_human(category)) box.species.clear();  // the class that a model gave the animal
        if (const std::string species = value(number, "species"); !species.empty())
            box.species = species, box.score = 1;
        a.boxes.push_back(std::move(box));
    }
    if (said)
        for (const auto& [key, category] : said->values)
            if (key.first.starts_with('+') && key.second == "category" && category != "none")
                a.boxes.push_back({.category = category,
                                   .species = value(key.first, "species"),
                                   .score = 1,
                                   .repeated = false,
                                   .by_person = true});
    if (changed) a.before_vote = fmt::format("{}", fmt::join(before, "|"));
    return a;
}

ImageRow SurveyTable::row(size_t i) const { return row(i, answer(i)); }

ImageRow SurveyTable::row(size_t i, const Answer& a) const {
    const ImageResult& r = a.result;
    const Facts& f = facts_[i];
    ImageRow row{.file = r.file, .site = texts_[f.site], .camera = camera_of(r), .date = table_date(r.date)};
    row.boxes.resize(options_.categories.size() + 1);
    row.before_vote = a.before_vote;
    row.problem = !r.reason.empty()                 ? r.reason
                  : f.time < 0 && r.failure.empty() ? "date_missing: the image has no date"
                  : f.clock_reset                   ? "date_reset: dated before the images that it follows"
                                                    : "";
    const ImageCorrections* said = said_of(r.file);
    if (said) {
        row.reviewed = said->reviewer;
        if (const auto models = models_.find(r.file); models != models_.end()) row.models = models->second;
    }
    bool animal = false, human = false, repeated = false, doubtful = a.doubtful || r.damaged;
    for (const Answer::Box& box : a.boxes) {
        const auto category = std::ranges::find(options_.categories, box.category);
        ++row.boxes[box.repeated ? options_.categories.size() : size_t(category - options_.categories.begin())];
        if (box.repeated) {
            repeated = true;
            continue;
        }
        const std::string& name = box.species.empty() ? box.category : box.species;
        if (is_human(box.category) || is_human(name)) {
            human = true;
            continue;
        }
        if (!is_animal(name)) continue;
        animal = true;
        const auto known = std::ranges::find(row.species, name, &SpeciesCount::name);
        if (known == row.species.end())
            row.species.push_back({name, 1, box.score});
        else
            ++known->count, known->score = std::max(known->score, box.score);
    }
    if (std::optional<std::vector<SpeciesCount>> species = species_said(r.file)) {
        for (SpeciesCount& one : *species)  // accepted as the models had it: with their scores
            if (const auto own = std::ranges::find(row.species, one.name, &SpeciesCount::name);
                said->value("", "species").empty() && own != row.species.end())
                one.score = own->score;
        row.species = std::move(*species);
        animal = !row.species.empty();
    }
    std::ranges::stable_sort(row.species, [](const SpeciesCount& x, const SpeciesCount& y) {
        return std::tuple(y.count, y.score, x.name) < std::tuple(x.count, x.score, y.name);
    });
    if (!r.quality.empty()) {
        const auto bad = size_t(std::ranges::find(options_.quality, options_.bad) - options_.quality.begin());
        row.quality_score = r.quality.at(bad);
        size_t best = SIZE_MAX;
        for (size_t c = 0; c < r.quality.size(); ++c)
            if (c != bad && (best == SIZE_MAX || r.quality[c] > r.quality[best])) best = c;
        const bool is_bad = row.quality_score >= options_.bad_threshold || best == SIZE_MAX;
        row.quality = is_bad ? options_.bad : options_.quality[best];
        doubtful = doubtful || (!is_bad && row.quality_score >= kDoubtful) || (is_bad && animal);
    }
    if (const std::string text = said ? said->value("", "quality") : ""; !text.empty()) row.quality = text;
    row.final = final_of(animal, repeated, !row.quality.empty() && row.quality == options_.bad, human);
    doubtful = doubtful || (human && animal);
    if (!r.failure.empty()) row.final = FinalClass::failed;
    std::string final = said ? said->value("", "final") : "";
    if (said && final.empty() && (said->value("", "quality") + said->value("", "species")).empty())
        final = said->accepted.substr(0, said->accepted.find(' '));
    for (const FinalClass one : {FinalClass::animal, FinalClass::empty, FinalClass::bad, FinalClass::human,
                                 FinalClass::repeated})  // not "failed": it may be readable today
        if (final == final_name(one)) row.final = one;
    row.review = f.review;
    if (!said) row.review |= uint8_t((doubtful ? kReviewDoubtful : 0) | (a.first_repeat ? kReviewRepeat : 0));
    row.sequence = f.burst == i ? r.file : results_.file(f.burst);
    return row;
}

// Every site and final class gets its share, with the images that follow from the seed and their names alone, so that
// new images hardly change the sample. The models' answers decide, not corrections: what was drawn stays drawn.
void SurveyTable::draw_sample() {
    const auto place = [&](size_t i) {  // in the order of its group
        Hash hash;
        hash.add(options_.seed);
        hash.add(results_.file(i));
        return hash.value();
    };
    std::map<std::pair<uint32_t, FinalClass>, std::deque<uint64_t>> groups;  // a vector that grows takes twice as much
    for (size_t i = 0; i < facts_.size(); ++i) {
        const ImageRow row = this->row(i);
        facts_[i].final = row.final;
        facts_[i].review = row.review;
        if (row.final == FinalClass::animal) facts_[i].review |= kReviewAnimal;
        if (row.final == FinalClass::failed)
            facts_[i].review = kReviewUnreadable;
        else if (options_.sample > 0)
            groups[{facts_[i].site, row.final}].push_back(place(i));
    }
    for (auto& [key, places] : groups) {  // of each group the last place that is drawn
        const auto drawn = size_t(std::ceil(options_.sample * double(places.size()) - 1e-9));
        const auto last = places.begin() + ptrdiff_t(std::clamp<size_t>(drawn, 1, places.size()) - 1);
        std::ranges::nth_element(places, last);
        places = {*last};
    }
    for (size_t i = 0; i < facts_.size(); ++i)
        if (const auto group = groups.find({facts_[i].site, facts_[i].final});
            group != groups.end() && place(i) <= group->second.front())
            facts_[i].review |= kReviewSample;
}

// Bursts about which a person said something vote again; in all others nothing changes.
void SurveyTable::apply_corrections(Corrections corrections, const std::vector<size_t>& corrected) {
    for (const size_t i : corrected) {  // before: what the models say
        const ImageRow row = this->row(i);
        std::string species;
        for (const SpeciesCount& one : row.species)
            species += fmt::format("{}{}:{}", species.empty() ? " " : "|", one.name, one.count);
        models_[row.file] = final_name(row.final) + species;
        if (ImageCorrections& said = corrections.at(json_name(row.file)); said.accepted.empty() && !said.of_boxes())
            said.accepted = models_[row.file];
    }
    corrections_ = std::move(corrections);
    std::set<uint32_t> bursts;
    for (const size_t i : corrected) bursts.insert(facts_[i].burst);
    for (size_t first = 0, last = 0; first < facts_.size(); first = last) {
        const uint32_t burst = facts_[facts_[first].order].burst;
        while (last < facts_.size() && facts_[facts_[last].order].burst == burst) ++last;
        if (!bursts.contains(burst)) continue;
        vote(first, last);
        for (size_t k = first; k < last; ++k) facts_[facts_[k].order].final = row(facts_[k].order).final;
    }
}
