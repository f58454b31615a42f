// The page, the measures and the training read an answer as the table does: final class, quality, species with counts,
// for images of every kind and whatever a person may say of them. 1 s.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "app/review/session.h"
#include "app/review/state.h"
#include "app/survey/table.h"
#include "tests/files.h"
#include "tests/images.h"

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::vector<std::string> kCategories{"animal", "person", "vehicle"}, kSpecies{"elk", "fox", "human", "rock"},
    kQuality{"bad", "dark", "good"};

struct Season {
    TemporaryFolder folder;
    std::mt19937 random;
    std::vector<ImageResult> results;
    Repeats repeats = {};

    explicit Season(unsigned seed) : random(seed) {
        for (size_t i = 0; i < 120; ++i) {
            ImageResult r{.file = fmt::format("s{}/{:03}.jpg", i / 40, i)};
            r.date = fmt::format("2026:07:01 08:{:02}:{:02}", i % 40, one_of(60));
            r.h = r.w = 100;
            if (one_of(20) == 0) r.failure = "image access failure", r.reason = "truncated: too short";
            for (int left = 1000; float& p : r.quality = std::vector<float>(3))
                p = float(&p == &r.quality[2] ? left : one_of(left + 1)) / 1000, left -= int(p * 1000);
            if (one_of(3) == 0) r.quality = {0.97f, 0.01f, 0.02f};
            for (size_t k = one_of(4); k > 0 && r.failure.empty(); --k) {
                Detection d{std::max(1, one_of(5) - 1), 0.1 + 0.2 * double(k), 0, 0, 0.2, 0};
                d.x = 0.1 * one_of(5), d.y = 0.1 * double(k), d.h = 0.05 * (1 + one_of(3));
                if (d.category == 1 && d.confidence >= 0.2)
                    for (float p = 0.9f; uint32_t(d.classes.size()) < 2; p /= 2)
                        d.classes.emplace_back((uint32_t(d.classes.size()) + uint32_t(one_of(3))) % 4, p - 0.1f);
                r.detections.push_back(d);
                if (one_of(8) == 0) repeats[r.file].push_back({r.detections.size(), "1", repeats.empty()});
            }
            if (!r.failure.empty()) r.quality.clear();
            results.push_back(std::move(r));
        }
    }
    int one_of(int n) { return int(random() % unsigned(n)); }
    const std::string& one_of(const std::vector<std::string>& names) { return names[random() % names.size()]; }
    void write(const char* name, const std::string& text) const { std::ofstream(folder.path / name) << text; }

    SurveyTable table() const {
        const auto boxes = [&](const std::string& file) -> std::optional<std::vector<BoxPlace>> {
            const auto found = std::ranges::find(results, file, &ImageResult::file);
            if (!found->failure.empty()) return {};
            std::vector<BoxPlace> places;
            for (const Detection& d : found->detections) places.push_back({d.x, d.y, d.w, d.h});
            return places;
        };
        return {{results.size(), [this](size_t i) { return results[i]; }, [this](size_t i) { return results[i].file; }},
                Sites(),
                repeats,
                read_corrections(folder.path / "corrections.csv", kCategories, kQuality, boxes),
                {.categories = kCategories, .species = kSpecies, .quality = kQuality, .not_animals = {"rock"}}};
    }
    void write_survey(const SurveyTable& table) const {
        table.write_images(folder.path / "images.csv");
        write("survey.json", Json{{"base", folder.path.string()},
                                  {"species", kSpecies},
                                  {"quality", kQuality},
                                  {"table", {{"box_threshold", 0.2}, {"not_animals", {"rock"}}}}}
                                 .dump());
        Json images = Json::array(), names, classes;
        for (const ImageResult& r : results) {
            Json boxes = Json::array(), quality;
            for (size_t c = 0; c < r.quality.size(); ++c) quality[kQuality[c]] = r.quality[c];
            for (const Detection& d : r.detections) {
                boxes.push_back({{"category", std::to_string(d.category)},
                                 {"conf", d.confidence},
                                 {"bbox", {d.x, d.y, d.w, d.h}},
                                 {"classifications", Json::array()}});
                for (const auto& [c, p] : d.classes) boxes.back()["classifications"].push_back({std::to_string(c), p});
            }
            images.push_back({{"file", r.file}, {"detections", boxes}, {"quality", quality}});
            if (!r.failure.empty()) images.back() = {{"file", r.file}, {"failure", r.failure}};
        }
        for (size_t k = 0; k < kCategories.size(); ++k) names[std::to_string(k + 1)] = kCategories[k];
        for (size_t k = 0; k < kSpecies.size(); ++k) classes[std::to_string(k)] = kSpecies[k];
        write("results.json",
              Json{{"images", images}, {"detection_categories", names}, {"classification_categories", classes}}.dump());
        std::string groups = "group,file,box\n";
        for (const auto& [file, boxes] : repeats)
            for (const RepeatedBox& box : boxes) groups += fmt::format("{},{},{}\n", box.group, file, box.box);
        write("repeats.csv", groups);
    }
    // Anything that the page can say of an image at once.
    Json answer(size_t i) {
        Json set = Json::array();
        std::set<std::pair<std::string, std::string>> named;
        const auto add = [&](const std::string& box, const std::string& field, const std::string& value) {
            if (named.emplace(box, field).second) set.push_back({{"box", box}, {"field", field}, {"value", value}});
        };
        for (int parts = one_of(4); parts > 0; --parts) {
            const size_t boxes = results[i].detections.size();
            const std::string box = boxes ? std::to_string(1 + random() % boxes) : "+1";
            switch (one_of(6)) {
                case 0: add("", "final", one_of({"animal", "empty", "bad", "human", ""})); break;
                case 1: add("", "quality", one_of({"bad", "dark", "good", ""})); break;
                case 2: add("", "species", one_of({"fox:2", "elk:1|fox:1", "lynx", ""})); break;
                case 3: add(box, "species", one_of({"fox", "human", "rock", "lynx", ""})); break;
                case 4: add(box, "category", one_of({"animal", "person", "none", ""})); break;
                case 5: add("+1", "category", one_of(kCategories)); add("+1", "bbox", "0.1 0.1 0.2 0.2");
            }
        }
        return {{"id", i}, {"set", set}};
    }
    void expect_same(const SurveyTable& table, bool only_said) const {
        const SurveyFolder survey(folder.path, "");
        CorrectionLog log(folder.path / "corrections.csv");
        survey.match(log);
        for (size_t i = 0; i < results.size(); ++i) {
            const std::vector<Correction>* said = log.of(results[i].file);
            if (only_said && !said) continue;  // the vote of its burst may have changed it
            const ImageRow row = table.row(i);
            const StatedImage now = state_of(survey, i, said);
            std::map<std::string, int> species;
            for (const SpeciesCount& one : row.species) species[one.name] += int(one.count);
            std::string rows;
            for (const Correction& c : said ? *said : std::vector<Correction>())
                rows += fmt::format("\n{} {} {} -> {}", c.box, c.field, c.old, c.value);
            EXPECT_EQ(now.final, final_name(row.final)) << row.file << rows;
            EXPECT_EQ(species_text(now.species), species_text(species)) << row.file << " " << now.final << rows;
            EXPECT_EQ(now.quality, row.quality) << row.file << rows;
            EXPECT_EQ(said != nullptr, !row.reviewed.empty()) << row.file << rows;
        }
    }
};

TEST(OneAnswer, OfPageAndTable) {
    for (unsigned seed = 1; seed <= 20 && !testing::Test::HasFailure(); ++seed) {
        Season season(seed);
        season.write_survey(season.table());
        season.expect_same(season.table(), false);
        for (int round = 0; round < 3; ++round) {
            {
                const SurveyFolder survey(season.folder.path, "");
                CorrectionLog log(season.folder.path / "corrections.csv");
                survey.match(log);
                log.open_for_writing();
                ReviewSession session(survey, log, "Ann");
                Json images = Json::array();
                for (size_t i = 0; i < season.results.size(); ++i)
                    if (season.one_of(2)) images.push_back(season.answer(i));
                session.save({{"images", images}});
            }
            const SurveyTable table = season.table();
            season.expect_same(table, true);
            season.write_survey(table);  // as the end of a review does
            season.expect_same(table, false);
        }
    }
}

}  // namespace
