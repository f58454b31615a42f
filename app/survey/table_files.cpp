// images.csv and events.csv.
#include <algorithm>
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

// One species in one burst, then one event.
struct Visit {
    std::string site, species, start, end, first_file;
    int64_t from, to;
    size_t sequences, images, count;
    double score;
};

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

void SurveyTable::write_events(const std::filesystem::path& csv) const {
    std::vector<Visit> visits;
    std::map<std::string, Visit> now;  // species of the burst at hand
    for (size_t k = 0; k < size(); ++k) {
        const size_t i = facts_[k].order;
        if (k == 0 || facts_[i].burst != facts_[facts_[k - 1].order].burst) {
            for (auto& [name, visit] : now) visits.push_back(std::move(visit));
            now.clear();
        }
        if (facts_[i].final != FinalClass::animal && facts_[i].final != FinalClass::human) continue;
        const ImageRow r = row(i);
        for (const SpeciesCount& s : r.species) {
            Visit& visit = now.try_emplace(s.name, Visit{r.site, s.name, r.date, r.date, r.file, facts_[i].time,
                                                         facts_[i].time, 1, 0, 0, 0})
                               .first->second;
            visit.end = r.date, visit.to = facts_[i].time;
            ++visit.images;
            visit.count = std::max(visit.count, s.count);
            visit.score = std::max(visit.score, s.score);
        }
    }
    for (auto& [name, visit] : now) visits.push_back(std::move(visit));
    std::ranges::sort(visits, {}, [](const Visit& v) { return std::tie(v.site, v.species, v.from, v.first_file); });
    std::vector<Visit> events;
    for (Visit& visit : visits) {
        Visit* last = events.empty() ? nullptr : &events.back();
        if (!last || last->site != visit.site || last->species != visit.species || last->from < 0 ||
            visit.from - last->to > options_.event_seconds) {
            events.push_back(std::move(visit));
            continue;
        }
        if (visit.to > last->to) last->to = visit.to, last->end = visit.end;
        last->sequences += 1, last->images += visit.images;
        last->count = std::max(last->count, visit.count);
        last->score = std::max(last->score, visit.score);
    }
    write_file_durably(csv, [&](FileWriter& out) {
        out.write("site,species,start,end,sequences,images,count,score,first_file\n");
        for (const Visit& v : events)
            out.write(fmt::format("{},{},{},{},{},{},{},{:.3f},{}\n", csv_field(v.site), csv_field(v.species), v.start,
                                  v.end, v.sequences, v.images, v.count, v.score, csv_field(v.first_file)));
    });
}
