#include "app/review/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "app/jobs/names.h"
#include "app/review/state.h"
#include "base/error.h"
#include "base/json.h"

namespace {

constexpr size_t kMostText = 200, kMostInGroup = 2000, kMostUndo = 1000;

bool is_plain(const std::string& text) {
    return text.size() <= kMostText && std::ranges::none_of(text, [](unsigned char c) { return c < 32; });
}

// Why the page may not say this; "" if it may. An empty value takes an answer back.
std::string fault_of(const SurveyFolder& survey, size_t image, const std::string& box, const std::string& field,
                     const std::string& value) {
    if (!is_plain(value)) return "a value that is too long or has control characters";
    if (const std::string fault = fault_of_answer(box, field, value); !fault.empty()) return fault;
    static const std::vector<std::string> of_image{"seen", "final", "quality", "species"};
    if (box.empty()) return std::ranges::count(of_image, field) ? "" : "an image has no field " + field;
    const bool drawn = box.starts_with('+');
    const std::string digits = box.substr(drawn);
    if (digits.empty() || digits.size() > 5 || digits.find_first_not_of("0123456789") != digits.npos ||
        digits[0] == '0')
        return "no box " + box;
    if (!drawn && std::stoul(digits) > survey.boxes(image).size()) return "no box " + box;
    if (field == "bbox" || field == "species") return "";
    if (field != "category") return "a box has no field " + field;
    const bool known = value.empty() || value == "none" || std::ranges::count(survey.categories, value);
    return known ? "" : "the detector knows no " + value;
}

// "": images.csv has a person's answer in their place.
std::string model_answer(const SurveyFolder& survey, size_t image) {
    if (survey.images[image].by_person) return "";
    const std::string species = survey.species_of(image);
    return survey.finals[survey.images[image].final] + (species.empty() ? "" : " " + species);
}

// The answer that a correction changes: of a person, or else of the models.
std::string value_before(const SurveyFolder& survey, size_t image, const std::vector<Correction>* said,
                         const std::string& box, const std::string& field) {
    if (box.empty() && field == "seen") return model_answer(survey, image);
    const StatedImage now = state_of(survey, image, said);
    if (box.empty()) return field == "final" ? now.final : field == "quality" ? now.quality : species_text(now.species);
    for (const StatedBox& b : now.boxes)
        if (b.number == box)
            return field == "category" ? b.category : field == "species" ? b.species : place_text(place_of(b.at));
    return "";
}

const Correction* find_said(const std::vector<Correction>* said, const std::string& box, const std::string& field) {
    if (!said) return nullptr;
    const auto found =
        std::ranges::find_if(*said, [&](const Correction& c) { return c.box == box && c.field == field; });
    return found == said->end() ? nullptr : &*found;
}

}  // namespace

ReviewSession::ReviewSession(const SurveyFolder& survey, CorrectionLog& corrections, const std::string& reviewer)
    : survey_(survey), corrections_(corrections), reviewer_(reviewer), seen_(survey.images.size(), 0) {
    for (const auto& [file, rows] : corrections_.all())
        if (const size_t image = survey_.find(file); image < seen_.size()) seen_[image] = 1;
    for (size_t i = 0; i < seen_.size(); ++i) {
        reviewed_ += size_t(seen_[i]);
        to_review_ += survey_.images[i].to_review;
        reviewed_of_those_ += survey_.images[i].to_review && seen_[i];
    }
}

ReviewSession::Json ReviewSession::progress() const {
    return {{"images", survey_.images.size()},
            {"to_review", to_review_},
            {"done", reviewed_of_those_},
            {"reviewed", reviewed_}};
}

ReviewSession::Json ReviewSession::about() const {
    const std::scoped_lock lock(mutex_);
    std::vector<std::string> species = survey_.species;
    for (const auto& [file, rows] : corrections_.all())  // names that a person typed
        for (const Correction& c : rows)
            if (c.field == "species")
                for (const auto& [name, count] : species_counts(c.value))
                    if (std::ranges::find(species, name) == species.end()) species.push_back(name);
    std::vector<size_t> used(species.size(), 0);
    std::vector<size_t> finals(survey_.finals.size(), 0);
    std::vector<size_t> of_set(survey_.species_sets.size(), 0);
    for (const SurveyImage& image : survey_.images) ++finals[image.final], ++of_set[image.species_set];
    for (size_t s = 0; s < of_set.size(); ++s)
        for (const std::string& name : survey_.species_sets[s])
            used[size_t(std::ranges::find(species, name) - species.begin())] += of_set[s];
    Json list = Json::array(), classes = Json::array();
    std::vector<size_t> order(species.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return used[a] > used[b]; });
    for (const size_t i : order) list.push_back({species[i], used[i]});
    for (size_t i = 0; i < finals.size(); ++i)
        if (finals[i]) classes.push_back({survey_.finals[i], finals[i]});
    std::vector<std::string> sites = survey_.sites;
    std::ranges::sort(sites);
    return {{"name", survey_.folder.filename().string()},
            {"id", survey_.id},
            {"reviewer", reviewer_},
            {"threshold", survey_.box_threshold},
            {"species", list},
            {"finals", classes},
            {"sites", sites},
            {"categories", survey_.categories},
            {"qualities", survey_.qualities},
            {"bad", survey_.bad},
            {"not_animals", survey_.not_animals},
            {"progress", progress()}};
}

std::vector<uint32_t> ReviewSession::list(const ReviewFilter& f) const {
    if (f.state != "todo" && f.state != "all" && f.state != "done") fail(Fault::usage, "no state '{}'", f.state);
    if (f.order != "doubt" && f.order != "species" && f.order != "file" && f.order != "newest")
        fail(Fault::usage, "no order '{}'", f.order);
    const std::scoped_lock lock(mutex_);
    std::vector<char> set_has(survey_.species_sets.size(), 0);
    for (size_t s = 0; s < set_has.size(); ++s)
        set_has[s] = std::ranges::find(survey_.species_sets[s], f.species) != survey_.species_sets[s].end();
    std::vector<uint32_t> found;
    for (uint32_t i = 0; i < survey_.images.size(); ++i) {
        const SurveyImage& image = survey_.images[i];
        if (f.state == "todo" ? !image.to_review || seen_[i] : f.state == "done" && !seen_[i]) continue;
        if (!f.site.empty() && survey_.sites[image.site] != f.site) continue;
        if (image.score < f.min || image.score > f.max) continue;
        if (!f.final.empty() || !f.species.empty()) {
            bool fits = (f.final.empty() || survey_.finals[image.final] == f.final) &&
                        (f.species.empty() || set_has[image.species_set]);
            if (seen_[i]) {
                const StatedImage now = state_of(survey_, i, corrections_.of(survey_.file(i)));
                fits =
                    (f.final.empty() || now.final == f.final) && (f.species.empty() || now.species.contains(f.species));
            }
            if (!fits) continue;
        }
        if (!f.reason.empty() &&
            ("|" + survey_.row(i).at("review") + "|").find("|" + f.reason + "|") == std::string::npos)
            continue;
        found.push_back(i);
    }
    if (f.order == "doubt" ||
        f.order == "species") {  // bursts stay together; the mean, because each image of a burst takes a look
        std::vector<float> sum(survey_.images.size(), 0);
        std::vector<uint32_t> count(survey_.images.size(), 0);
        for (const uint32_t i : found)
            sum[survey_.images[i].sequence] +=
                f.order == "doubt" ? survey_.images[i].wrong : survey_.images[i].species_doubt,
                ++count[survey_.images[i].sequence];
        for (size_t s = 0; s < sum.size(); ++s)
            if (count[s]) sum[s] /= float(count[s]);
        std::ranges::stable_sort(found, [&](uint32_t a, uint32_t b) {
            const uint32_t x = survey_.images[a].sequence, y = survey_.images[b].sequence;
            return sum[x] != sum[y] ? sum[x] > sum[y] : x < y;
        });
    } else if (f.order == "newest") {
        std::vector<std::string> times(survey_.images.size());
        for (const uint32_t i : found)
            if (const auto* said = corrections_.of(survey_.file(i))) times[i] = said->back().time;
        std::ranges::stable_sort(found, [&](uint32_t a, uint32_t b) { return times[a] > times[b]; });
    }
    return found;
}

ReviewSession::Json ReviewSession::item(uint32_t i) const {
    const SurveyImage& image = survey_.images[i];
    const auto row = survey_.row(i);
    const auto* said = corrections_.of(survey_.file(i));
    const StatedImage now = state_of(survey_, i, said);
    const auto text = [&](const char* column) { return row.contains(column) ? row.at(column) : ""; };
    const auto repeats = survey_.repeats(i);
    Json boxes = Json::array();
    for (const StatedBox& b : now.boxes) {
        const size_t k = boxes.size();
        boxes.push_back({{"n", b.number},
                         {"at", b.at},
                         {"category", b.category},
                         {"species", b.species},
                         {"confidence", b.confidence},
                         {"score", k < survey_.boxes(i).size() ? survey_.boxes(i)[k].score : 0},
                         {"touched", b.touched},
                         {"repeated", b.repeated}});
    }
    std::vector<uint32_t> burst = survey_.sequence(i);
    if (burst.size() > kMostInGroup) burst.resize(kMostInGroup);
    Json group = Json::array();
    for (const auto& [member, box] : repeats)
        if (group.size() < kMostInGroup) group.push_back({member, box});
    return {{"id", i},
            {"file", json_name(survey_.file(i))},
            {"site", survey_.sites[image.site]},
            {"camera", text("camera")},
            {"date", text("date")},
            {"final", now.final},
            {"model", survey_.finals[image.final]},
            {"quality", now.quality},
            {"good", survey_.good_of(i)},
            {"bad", text("quality_score")},
            {"species", species_text(now.species)},
            {"model_species", survey_.species_of(i)},
            {"species_doubt", image.species_doubt},
            {"before_vote", text("before_vote")},
            {"reasons", text("review")},
            {"problem", text("problem")},
            {"seen", bool(seen_[i])},
            {"by", said ? said->back().reviewer : ""},
            {"boxes", boxes},
            {"burst", burst},
            {"group", group}};
}

ReviewSession::Json ReviewSession::items(const std::vector<uint32_t>& images) const {
    const std::scoped_lock lock(mutex_);
    Json all = Json::array();
    for (const uint32_t i : images)
        if (i < seen_.size()) all.push_back(item(i));
    return {{"items", all}};
}

ReviewSession::Json ReviewSession::write(const std::vector<Correction>& rows) {
    survey_.check_unchanged();
    corrections_.append(rows);
    Json items = Json::array();
    std::set<std::string> files;
    for (const Correction& row : rows) {
        if (!files.insert(row.file).second) continue;
        const uint32_t i = uint32_t(survey_.find(row.file));
        const bool now = corrections_.of(row.file);
        if (now != bool(seen_[i])) {
            seen_[i] = now;
            reviewed_ = now ? reviewed_ + 1 : reviewed_ - 1;
            if (survey_.images[i].to_review) reviewed_of_those_ = now ? reviewed_of_those_ + 1 : reviewed_of_those_ - 1;
        }
        items.push_back(item(i));
    }
    return {{"items", items}, {"progress", progress()}};
}

ReviewSession::Json ReviewSession::save(const Json& answer) {
    const std::scoped_lock lock(mutex_);
    const std::string time = time_now();
    std::vector<Correction> rows, back;
    const Json& images = member(answer, "images");
    if (!images.is_array() || images.empty()) fail(Fault::usage, "an answer without images");
    std::set<size_t> named;
    for (const Json& one : images) {
        const double number = number_of(one, "id");
        if (!(number >= 0 && number < double(seen_.size())) || number != std::floor(number) ||
            !named.insert(size_t(number)).second)
            fail(Fault::usage, "no image with this number, or twice the same");
        const size_t i = size_t(number);
        const auto* said = corrections_.of(survey_.file(i));
        std::set<std::pair<std::string, std::string>> places;
        const auto add = [&](const std::string& box, const std::string& field, const std::string& value) {
            if (const std::string fault = fault_of(survey_, i, box, field, value); !fault.empty())
                fail(Fault::usage, "{}: {}", survey_.file(i), fault);
            if (!places.emplace(box, field).second) fail(Fault::usage, "{}: {} twice", survey_.file(i), field);
            const Correction* before = find_said(said, box, field);
            if (before ? before->value == value : value.empty()) return;  // holds already
            const std::string old = value_before(survey_, i, said, box, field);
            const bool drawn = box.empty() || box[0] == '+';
            const std::string place = drawn ? "" : place_text(place_of(survey_.boxes(i)[std::stoul(box) - 1].at));
            rows.push_back({survey_.file(i), box, field, old, value, reviewer_, time, place});
            back.push_back({survey_.file(i), box, field, before && field == "seen" ? before->old : value,
                            before ? before->value : "", reviewer_, time, place});
        };
        bool seen = true;
        if (const Json& set = member(one, "set"); set.is_array())
            for (const Json& part : set) {
                if (text_of(part, "field") == "seen") seen = false;  // said by the page itself: a taking back
                add(text_of(part, "box"), text_of(part, "field"), text_of(part, "value"));
            }
        if (seen) add("", "seen", "yes");
    }
    if (rows.empty()) {  // said before: nothing to write, nothing to undo
        Json items = Json::array();
        for (const size_t i : named) items.push_back(item(uint32_t(i)));
        return {{"items", items}, {"progress", progress()}};
    }
    Json result = write(rows);
    done_.push_back(std::move(back));
    if (done_.size() > kMostUndo) done_.erase(done_.begin());
    return result;
}

ReviewSession::Added ReviewSession::add(const CorrectionLog& other) {
    const std::scoped_lock lock(mutex_);
    Added added;
    std::vector<Correction> rows;
    const auto is_same = [](const Correction* a, const Correction& b) {
        return a && a->value == b.value && (b.field != "seen" || a->old == b.old);
    };
    const auto take_back = [&](const Correction& ours, const Correction& by) {
        rows.push_back(ours);
        rows.back().old = ours.value, rows.back().value.clear();
        rows.back().reviewer = by.reviewer, rows.back().time = by.time;
    };
    for (const auto& [name, said] : other.all()) {
        const size_t i = survey_.find(name), before = rows.size();
        if (i == seen_.size()) {
            added.unknown.push_back(name);
            continue;
        }
        for (const Correction& one : said)
            if (const std::string fault = fault_of(survey_, i, one.box, one.field, one.value); !fault.empty())
                fail(Fault::usage, "{}: {}: {}", other.path().string(), name, fault);
        const Correction& latest = *std::ranges::max_element(said, {}, &Correction::time);
        const auto* held = corrections_.of(survey_.file(i));
        const bool is_older = held && std::ranges::max(*held, {}, &Correction::time).time > latest.time;
        if (held && !is_older)
            for (const Correction& ours : *held)
                if (!find_said(&said, ours.box, ours.field)) take_back(ours, latest);
        for (const Correction& one : said) {
            if (is_same(find_said(held, one.box, one.field), one)) continue;
            added.older += is_older;
            if (is_older) continue;
            rows.push_back(one);
            rows.back().file = survey_.file(i);
        }
        added.images += rows.size() > before;
        if (held && rows.size() > before && held->back().reviewer != latest.reviewer) added.replaced.push_back(name);
    }
    // What its reviewer took back after it was taken in once.
    std::map<std::string, std::vector<const Correction*>> undone;
    for (const Correction& one : other.rows())
        if (!other.of(one.file) && std::ranges::count(other.lost(), json_name(one.file)) == 0)
            undone[json_name(one.file)].push_back(&one);
    for (const auto& [name, theirs] : undone) {
        const size_t i = survey_.find(name);
        const auto* held = i == seen_.size() ? nullptr : corrections_.of(survey_.file(i));
        if (!held || !std::ranges::all_of(*held, [&rows = theirs](const Correction& ours) {
                return std::ranges::any_of(rows, [&](const Correction* one) {
                    return one->field == ours.field && one->value == ours.value && one->time == ours.time &&
                           one->reviewer == ours.reviewer;
                });
            }))
            continue;
        for (const Correction& ours : *held) take_back(ours, *theirs.back());
        ++added.images;
    }
    added.rows = size_t(std::ranges::count_if(rows, [](const Correction& row) { return !row.value.empty(); }));
    if (!rows.empty()) write(rows);
    return added;
}

ReviewSession::Json ReviewSession::undo() {
    const std::scoped_lock lock(mutex_);
    if (done_.empty()) return {{"items", Json::array()}, {"progress", progress()}};
    std::vector<Correction> rows = done_.back();
    for (Correction& row : rows) row.time = time_now();
    Json result = write(rows);
    done_.pop_back();
    return result;
}
