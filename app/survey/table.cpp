#include "app/survey/table.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "app/jobs/names.h"
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

}  // namespace

std::string camera_of(const ImageResult& r) { return r.camera.empty() ? camera_folder(r.file) : r.camera; }

namespace {

// "2024:07:31 13:05:59" as tables have it; empty if it is no date.
std::string table_date(const std::string& date) {
    if (exif_seconds(date) < 0) return "";
    std::string text = date.substr(0, 19);
    text[4] = text[7] = '-';
    text[10] = ' ';
    return text;
}

// "fox:2|hare:1"
std::vector<SpeciesCount> parse_counts(const std::string& text, const std::string& file) {
    std::vector<SpeciesCount> result;
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('|', at), text.size());
        const std::string one = text.substr(at, end - at);
        const size_t colon = one.rfind(':');
        const std::string count = colon == one.npos ? "" : one.substr(colon + 1);
        if (colon != one.npos &&
            (count.empty() || count.size() > 6 || count.find_first_not_of("0123456789") != count.npos))
            fail(Fault::usage, "corrections.csv: {}: species '{}' must be like fox:2|hare:1", file, text);
        result.push_back({one.substr(0, colon), count.empty() ? 1 : std::stoul(count), 1});
        at = end + 1;
    }
    return result;
}

}  // namespace

const char* final_name(FinalClass final) {
    constexpr const char* names[] = {"animal", "empty", "bad", "human", "repeated", "failed"};
    return names[size_t(final)];
}

struct SurveyTable::Answer {
    struct Box {
        std::string category, species = {};  // species: empty without an answer
        double score = 0;
        bool repeated = false;
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
      corrections_(std::move(corrections)),
      options_(std::move(options)),
      facts_(results_.count) {
    std::string first_undated, first_reset, last_folder;
    size_t undated = 0, resets = 0, of_repeats = 0, of_corrections = 0;
    int64_t latest = -1;
    bool reset = false;
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
        of_corrections += corrections_.contains(json_name(r.file));
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
    if (of_repeats < repeats_.size() || of_corrections < corrections_.size())
        notes_.push_back(fmt::format("corrections.csv or repeats.csv name {} images that the survey does not have",
                                     repeats_.size() - of_repeats + corrections_.size() - of_corrections));
    std::vector<uint32_t> order(facts_.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, {}, [&](uint32_t i) { return std::pair(facts_[i].camera, facts_[i].time); });
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
    draw_sample();
}

uint32_t SurveyTable::number(const std::string& text) {
    const auto [found, added] = numbers_.try_emplace(text, uint32_t(texts_.size()));
    if (added) texts_.push_back(text);
    return found->second;
}

bool SurveyTable::is_animal(const std::string& name) const {
    return !is_human(name) && std::ranges::find(options_.not_animals, name) == options_.not_animals.end();
}

// Every box counts for its class with its score. Where one animal has two thirds of all votes, boxes that are not sure
// of theirs get it too.
void SurveyTable::vote(size_t first, size_t last) {
    if (last - first < 2 || options_.species.empty()) return;
    std::map<uint32_t, float> votes;
    float all = 0;
    size_t count = 0;
    bool unsure = false;
    for (size_t k = first; k < last; ++k) {
        ImageResult r = results_.at(facts_[k].order);
        for (Detection& d : r.detections) {
            exclude(d.classes, sites_.find(texts_[facts_[facts_[k].order].site]));
            if (d.confidence < options_.box_threshold || d.classes.empty() ||
                repeat_of(r.file, size_t(&d - r.detections.data()) + 1))
                continue;
            const auto& [best, score] = d.classes[0];
            votes[best] += score, all += score, ++count;
            unsure = unsure || score < kSure;
        }
    }
    if (count < kFewestVotes || !unsure) return;
    const auto winner = std::ranges::max_element(votes, {}, [](const auto& v) { return v.second; });
    if (winner->second < kWinnersShare * all || !is_animal(options_.species.at(winner->first)) || votes.size() == 1)
        return;
    winners_[facts_[facts_[first].order].burst] = {winner->first, winner->second / all};
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
    const auto corrected = corrections_.find(json_name(r.file));
    const auto value = [&](const std::string& box, const char* field) {
        return corrected == corrections_.end() ? "" : corrected->second.value(box, field);
    };
    const auto winner = winners_.find(facts_[i].burst);
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
                        .repeated = repeat != nullptr};
        a.first_repeat |= repeat && repeat->first;
        exclude(d.classes, sites_.find(texts_[facts_[i].site]));
        if (!d.classes.empty() && !repeat) {
            box.species = options_.species.at(d.classes[0].first);
            box.score = d.classes[0].second;
            before.insert(box.species);
            a.doubtful = a.doubtful || d.classes[0].second < kDoubtful;
            if (winner != winners_.end() && d.classes[0].first != winner->second.species &&
                d.classes[0].second < kSure) {
                box.species = options_.species.at(winner->second.species);
                box.score = winner->second.share;
                changed = a.doubtful = true;
            }
        }
        if (const std::string species = value(number, "species"); !species.empty())
            box.species = species, box.score = 1;
        a.boxes.push_back(std::move(box));
    }
    if (corrected != corrections_.end())
        for (const auto& [key, category] : corrected->second.values)
            if (key.first.starts_with('+') && key.second == "category" && category != "none")
                a.boxes.push_back({.category = category, .species = value(key.first, "species"), .score = 1});
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
    const auto corrected = corrections_.find(json_name(r.file));
    const auto value = [&](const char* field) {
        return corrected == corrections_.end() ? "" : corrected->second.value("", field);
    };
    if (corrected != corrections_.end()) {
        row.reviewed = corrected->second.reviewer;
        if (const auto said = models_.find(r.file); said != models_.end()) row.models = said->second;
    }
    bool animal = false, human = false, repeated = false, doubtful = a.doubtful || r.damaged;
    for (const Answer::Box& box : a.boxes) {
        const auto category = std::ranges::find(options_.categories, box.category);
        if (category == options_.categories.end())
            fail(Fault::usage, "corrections.csv: {}: category '{}' must be none or one of {}", r.file, box.category,
                 fmt::join(options_.categories, ", "));
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
    if (const std::string text = value("species"); !text.empty())
        row.species = parse_counts(text, r.file), animal = !row.species.empty();
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
    if (const std::string text = value("quality"); !text.empty()) row.quality = text;
    row.final = animal ? FinalClass::animal : repeated ? FinalClass::repeated : FinalClass::empty;
    if (!row.quality.empty() && row.quality == options_.bad) row.final = FinalClass::bad;
    if (human) row.final = FinalClass::human, doubtful = doubtful || animal;
    if (!r.failure.empty()) row.final = FinalClass::failed;
    if (const std::string text = value("final"); !text.empty()) {
        constexpr FinalClass all[] = {FinalClass::animal, FinalClass::empty, FinalClass::bad, FinalClass::human};
        const auto found = std::ranges::find_if(all, [&](FinalClass c) { return final_name(c) == text; });
        if (found == std::end(all))
            fail(Fault::usage, "corrections.csv: {}: final '{}' must be animal, empty, bad or human", r.file, text);
        row.final = *found;
        // "human" for what the models called a fox: no fox was there.
        if (row.final != FinalClass::animal && value("species").empty()) row.species.clear();
    }
    // Other models may say something else by now; a person's yes belongs to what was shown.
    if (corrected != corrections_.end() && !row.models.empty() && !corrected->second.accepted.empty() &&
        corrected->second.accepted != row.models) {
        const std::string& text = corrected->second.accepted;
        const size_t space = std::min(text.find(' '), text.size());
        constexpr FinalClass all[] = {FinalClass::animal, FinalClass::empty,    FinalClass::bad,
                                      FinalClass::human,  FinalClass::repeated, FinalClass::failed};
        const auto found =
            std::ranges::find_if(all, [&](FinalClass c) { return text.substr(0, space) == final_name(c); });
        if (found != std::end(all)) {
            row.final = *found;
            row.species = parse_counts(text.substr(std::min(space + 1, text.size())), r.file);
        }
    }
    row.review = f.review;
    if (corrected == corrections_.end())
        row.review |= uint8_t((doubtful ? kReviewDoubtful : 0) | (a.first_repeat ? kReviewRepeat : 0));
    row.sequence = f.burst == i ? r.file : results_.at(f.burst).file;
    return row;
}

// Every site and final class gets its share, with the images that follow from the seed and their names alone, so that
// new images hardly change the sample. The models' answers decide, not corrections: what was drawn stays drawn.
void SurveyTable::draw_sample() {
    Corrections given;
    std::swap(given, corrections_);
    std::map<std::pair<uint32_t, FinalClass>, std::vector<std::pair<uint64_t, uint32_t>>> groups;
    std::vector<size_t> corrected;
    for (size_t i = 0; i < facts_.size(); ++i) {
        const ImageRow row = this->row(i);
        if (given.contains(json_name(row.file))) {
            corrected.push_back(i);
            std::string species;
            for (const SpeciesCount& one : row.species)
                species += fmt::format("{}{}:{}", species.empty() ? " " : "|", one.name, one.count);
            models_[row.file] = final_name(row.final) + species;
        }
        facts_[i].final = row.final;
        Hash hash;
        hash.add(options_.seed);
        hash.add(row.file);
        groups[{facts_[i].site, row.final}].emplace_back(hash.value(), uint32_t(i));
        facts_[i].review = row.review;
        if (row.final == FinalClass::animal) facts_[i].review |= kReviewAnimal;
        if (row.final == FinalClass::failed) facts_[i].review = kReviewUnreadable;
    }
    for (auto& [key, images] : groups) {
        if (key.second == FinalClass::failed) continue;
        const auto drawn = size_t(std::ceil(options_.sample * double(images.size()) - 1e-9));
        std::ranges::nth_element(images, images.begin() + ptrdiff_t(std::min(drawn, images.size())));
        for (size_t k = 0; k < std::min(drawn, images.size()); ++k) facts_[images[k].second].review |= kReviewSample;
    }
    std::swap(given, corrections_);
    for (const size_t i : corrected) facts_[i].final = row(i).final;
}
