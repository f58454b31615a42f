// images.csv and events.csv.
#include <algorithm>
#include <deque>
#include <map>
#include <string_view>
#include <tuple>

#include "app/survey/table.h"
#include "base/csv.h"
#include "base/file.h"

namespace {

std::string join(const std::vector<SpeciesCount>& species, const auto& text) {
    std::string result;
    for (const SpeciesCount& s : species) result += (result.empty() ? "" : "|") + std::string(text(s));
    return csv_field(result);
}

std::string review_text(uint8_t review) {
    std::string result;
    for (const auto& [bit, name] : {std::pair{kReviewAnimal, "animal"},
                                    {kReviewSample, "sample"},
                                    {kReviewDoubtful, "doubtful"},
                                    {kReviewRepeat, "repeat"},
                                    {kReviewUnreadable, "unreadable"}})
        if (review & bit) result += (result.empty() ? "" : "|") + std::string(name);
    return result;
}

}  // namespace

void SurveyTable::write_images(const std::filesystem::path& csv) const {
    write_file_durably(csv, [&](FileWriter& out) {
        std::string text = "file,site,camera,date,sequence,quality,quality_score";
        for (const std::string& name : options_.categories) text += "," + csv_field(name);
        text += ",repeated,species,counts,scores,before_vote,final,reviewed,models,review,problem\n";
        for (size_t i = 0; i < size(); ++i) {
            const ImageRow r = row(i);
            text += csv_field(r.file) + "," + csv_field(r.site) + "," + csv_field(r.camera) + "," + r.date + "," +
                    csv_field(r.sequence) + "," + csv_field(r.quality) + "," +
                    (r.quality_score < 0 ? "" : fmt::format("{:.6f}", r.quality_score));
            for (const size_t n : r.boxes) text += r.final == FinalClass::failed ? "," : fmt::format(",{}", n);
            text += "," + join(r.species, [](const auto& s) { return s.name; }) + "," +
                    join(r.species, [](const auto& s) { return std::to_string(s.count); }) + "," +
                    join(r.species, [](const auto& s) { return fmt::format("{:.3f}", s.score); }) + "," +
                    csv_field(r.before_vote) + "," + final_name(r.final) + "," + csv_field(r.reviewed) + "," +
                    csv_field(r.models) + "," + review_text(r.review) + "," + csv_field(r.problem) + "\n";
            if (text.size() < size_t(1) << 16) continue;
            out.write(text);
            text.clear();
        }
        out.write(text);
    });
}

void SurveyTable::each_event(const std::function<void(const SurveyEvent&)>& each) const {
    struct Visit {  // of one species in one burst; small, because there may be one for each image
        uint32_t first, last, species, images, count;
        float score;
    };
    std::map<std::string, uint32_t> numbers;
    std::vector<const std::string*> names;
    std::deque<Visit> visits;  // a vector that grows takes twice the memory
    size_t burst_begin = 0;    // of the visits of the burst at hand
    for (size_t k = 0; k < size(); ++k) {
        const uint32_t i = facts_[k].order;
        if (k == 0 || facts_[i].burst != facts_[facts_[k - 1].order].burst) burst_begin = visits.size();
        if (!shows_animals(final_name(facts_[i].final))) continue;
        for (const SpeciesCount& s : row(i).species) {
            const auto [number, is_new] = numbers.try_emplace(s.name, uint32_t(names.size()));
            if (is_new) names.push_back(&number->first);
            auto visit = std::ranges::find(visits.begin() + ptrdiff_t(burst_begin), visits.end(), number->second,
                                           &Visit::species);
            if (visit == visits.end()) visit = visits.insert(visit, {i, i, number->second, 0, 0, 0});
            visit->last = i;
            ++visit->images;
            visit->count = std::max(visit->count, uint32_t(s.count));
            visit->score = std::max(visit->score, float(s.score));
        }
    }
    std::ranges::sort(visits, {}, [&](const Visit& v) {
        return std::tuple(std::string_view(texts_[facts_[v.first].site]), std::string_view(*names[v.species]),
                          facts_[v.first].time, v.first);
    });
    SurveyEvent event;
    const Visit* before = nullptr;
    uint32_t last = 0;  // image of the event at hand
    const auto end = [&] {
        if (!before) return;
        event.end = row(last).date;
        each(event);
    };
    for (const Visit& v : visits) {
        const Facts &first = facts_[v.first], &latest = facts_[v.last];
        const bool same = before && facts_[before->first].site == first.site && before->species == v.species &&
                          event.from >= 0 && first.time - event.to <= options_.event_seconds;
        if (!same) {
            end();
            const ImageRow r = row(v.first);
            event = {.site = r.site,
                     .species = *names[v.species],
                     .start = r.date,
                     .end = {},
                     .first_file = r.file,
                     .from = first.time,
                     .to = latest.time};
            last = v.last;
        }
        if (latest.time > event.to) event.to = latest.time, last = v.last;
        event.sequences += same;
        event.images += v.images;
        event.count = std::max<size_t>(event.count, v.count);
        event.score = std::max(event.score, double(v.score));
        before = &v;
    }
    end();
}

void SurveyTable::write_events(const std::filesystem::path& csv) const {
    write_file_durably(csv, [&](FileWriter& out) {
        out.write("site,species,start,end,sequences,images,count,score,first_file\n");
        each_event([&](const SurveyEvent& v) {
            out.write(fmt::format("{},{},{},{},{},{},{},{:.3f},{}\n", csv_field(v.site), csv_field(v.species), v.start,
                                  v.end, v.sequences, v.images, v.count, v.score, csv_field(v.first_file)));
        });
    });
}
