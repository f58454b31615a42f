// The table of a survey from answers made by hand: bursts, clocks, the vote, sites, corrections, events. 1 s.
#include "app/survey/table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>
#include <memory>

#include "base/csv.h"
#include "base/error.h"
#include "tests/files.h"
#include "tests/images.h"

namespace {

const std::vector<std::string> kSpecies{"elk", "deer family", "fox", "rock"};
enum Species : uint32_t { elk, deer, fox, rock };

struct Shot {
    std::string file, date;                              // "08:00:05" is of the first of July 2026
    std::vector<std::pair<uint32_t, float>> boxes = {};  // best class and its score, one animal each
    std::string serial = {}, sequence = {};
};

ImageResult result_of(const Shot& shot) {
    ImageResult r{.file = shot.file};
    r.date = shot.date.size() == 8 ? "2026:07:01 " + shot.date : shot.date;
    r.camera = shot.serial, r.sequence = shot.sequence;
    r.h = 48, r.w = 64;
    for (const auto& [best, score] : shot.boxes) {
        ClassScores classes{{best, score}};
        for (uint32_t c = 0; c < kSpecies.size(); ++c)  // the next best is the next class
            if (c != best)
                classes.emplace_back(c, (c == (best + 1) % 4 ? std::min(0.8f * (1 - score), 0.9f * score) : 0.01f));
        std::ranges::stable_sort(classes, std::ranges::greater(), &ClassScores::value_type::second);
        r.detections.push_back(
            {.category = 1, .confidence = 0.9, .x = 0.1, .y = 0.1, .w = 0.2, .h = 0.2, .classes = classes});
    }
    return r;
}

class Table {
public:
    explicit Table(const std::vector<Shot>& shots, Corrections corrections = {}, Sites sites = {},
                   Repeats repeats = {}) {
        for (const Shot& shot : shots) results_.push_back(result_of(shot));
        table_ = std::make_unique<SurveyTable>(
            SurveyResults{results_.size(), [this](size_t i) { return results_[i]; },
                          [this](size_t i) { return results_[i].file; }},
            std::move(sites), std::move(repeats), std::move(corrections),
            TableOptions{.categories = {"animal", "person", "vehicle"}, .species = kSpecies, .not_animals = {"rock"}});
    }
    const SurveyTable* operator->() const { return table_.get(); }
    std::string species(size_t i) const {
        std::string text;
        for (const SpeciesCount& s : table_->row(i).species)
            text += fmt::format("{}{}:{}", text.empty() ? "" : "|", s.name, s.count);
        return text;
    }
    std::string all_species() const {
        std::string text;
        for (size_t i = 0; i < table_->size(); ++i) text += (i ? " " : "") + species(i);
        return text;
    }
    std::vector<size_t> bursts() const {  // the number of the first image of each
        std::vector<size_t> first;
        for (size_t i = 0; i < table_->size(); ++i)
            first.push_back(
                size_t(std::ranges::find(results_, table_->row(i).sequence, &ImageResult::file) - results_.begin()));
        return first;
    }

private:
    std::vector<ImageResult> results_;
    std::unique_ptr<SurveyTable> table_;
};

// "0.jpg 1 species raven": box and field may be empty, written as -.
Corrections said(const std::vector<std::array<std::string, 4>>& rows) {
    Corrections all;
    for (const auto& [file, box, field, value] : rows) {
        all[file].values[{box, field}] = value;
        all[file].reviewer = "Ann";
    }
    return all;
}

Corrections accepted(const std::string& file, const std::string& answer) {
    Corrections all = said({{file, "", "seen", "yes"}});
    all[file].accepted = answer;
    return all;
}

std::vector<Shot> burst(const std::vector<std::vector<std::pair<uint32_t, float>>>& boxes) {
    std::vector<Shot> shots;
    for (size_t i = 0; i < boxes.size(); ++i)
        shots.push_back(
            {fmt::format("s/{:02}.jpg", i), fmt::format("08:{:02}:{:02}", i * 5 / 60, i * 5 % 60), boxes[i]});
    return shots;
}

Fault fault_of(const std::function<void()>& work, std::string& text) {
    try {
        work();
    } catch (const Error& e) {
        text = e.what();
        return e.fault;
    }
    ADD_FAILURE() << "no error";
    return Fault::runtime;
}

void has(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), text.npos) << part << " in: " << text;
}

TEST(Vote, OneElkDoesNotTurnADeerFamilyIntoElks) {
    std::vector<std::vector<std::pair<uint32_t, float>>> boxes(50, {{deer, 0.9f}});
    boxes.insert(boxes.begin() + 20, {{elk, 0.51f}});
    const Table table(burst(boxes));
    for (size_t i = 0; i < 51; ++i) EXPECT_EQ(table.species(i), "deer family:1") << i;
    EXPECT_EQ(table->row(20).before_vote, "elk");
    EXPECT_TRUE(table->row(20).review & kReviewDoubtful) << "a changed answer is looked at";
    EXPECT_EQ(table->row(19).before_vote, "");
    EXPECT_NEAR(table->row(20).species[0].score, 45 / 45.51, 1e-3) << "the share of the votes";
}

TEST(Vote, WhatItMayNotChange) {
    EXPECT_EQ(Table(burst({{{fox, 0.9f}}, {{fox, 0.9f}}, {{elk, 0.8f}}})).all_species(), "fox:1 fox:1 elk:1")
        << "is sure";
    EXPECT_EQ(Table(burst({{{fox, 0.9f}}, {{fox, 0.9f}}, {{elk, 0.79f}}})).all_species(), "fox:1 fox:1 fox:1");
    EXPECT_EQ(Table(burst({{{fox, 0.9f}}, {{elk, 0.3f}}})).all_species(), "fox:1 elk:1") << "fewer than three boxes";
    EXPECT_EQ(Table(burst({{{fox, 0.5f}}, {{fox, 0.5f}}, {{elk, 0.6f}}})).all_species(), "fox:1 fox:1 elk:1")
        << "no two thirds";
    EXPECT_EQ(Table(burst({{{rock, 0.9f}}, {{rock, 0.9f}}, {{fox, 0.3f}}})).all_species(), "  fox:1")
        << "no animal becomes a rock";
    EXPECT_EQ(Table(burst({{{fox, 0.9f}}, {{fox, 0.9f}}, {{rock, 0.3f}}})).all_species(), "fox:1 fox:1 fox:1");
    std::vector<Shot> apart = burst({{{fox, 0.9f}}, {{fox, 0.9f}}, {{elk, 0.3f}}});
    apart[2].date = "08:01:06";  // 61 s after the second
    EXPECT_EQ(Table(apart).all_species(), "fox:1 fox:1 elk:1") << "another burst";
    const Repeats repeats{{"s/01.jpg", {{1, "1", true}}}};
    EXPECT_EQ(Table(burst({{{fox, 0.9f}}, {{fox, 0.9f}}, {{elk, 0.3f}}}), {}, {}, repeats).all_species(),
              "fox:1  elk:1")
        << "repeats do not vote";
}

TEST(Vote, IsHeldAgainAfterACorrection) {
    const std::vector<Shot> shots = burst({{{elk, 0.6f}}, {{elk, 0.7f}}, {{elk, 0.6f}}, {{fox, 0.4f}}, {{fox, 0.45f}}});
    EXPECT_EQ(Table(shots).all_species(), "elk:1 elk:1 elk:1 elk:1 elk:1");
    const Table one(shots, said({{"s/03.jpg", "1", "species", "fox"}}));
    EXPECT_EQ(one.all_species(), "elk:1 elk:1 elk:1 fox:1 fox:1")
        << "without two thirds every box keeps its own answer";
    EXPECT_EQ(one->row(4).before_vote, "");
    EXPECT_TRUE(one->review(4) & kReviewDoubtful) << "what was to be looked at stays to be looked at";
    const Table two(shots, said({{"s/00.jpg", "1", "species", "fox"}, {"s/01.jpg", "1", "species", "fox"}}));
    EXPECT_EQ(two.all_species(), "fox:1 fox:1 fox:1 fox:1 fox:1") << "a person's answers count with 1 each";
    const Table removed(shots, said({{"s/00.jpg", "1", "category", "none"}, {"s/01.jpg", "1", "category", "person"}}));
    EXPECT_EQ(removed.all_species(), "  elk:1 fox:1 fox:1") << "what is no animal does not vote";
    const Table whole(shots, said({{"s/03.jpg", "", "species", "fox:3"}}));
    EXPECT_EQ(whole.all_species(), "elk:1 elk:1 elk:1 fox:3 fox:1") << "three foxes against a vote for elks";
    const Table empty(shots, said({{"s/01.jpg", "", "final", "empty"}, {"s/02.jpg", "", "final", "empty"}}));
    EXPECT_EQ(empty.all_species(), "elk:1   fox:1 fox:1");
    // A class that people did not name cannot win where they named others, even with nearly all votes.
    std::vector<std::vector<std::pair<uint32_t, float>>> many(20, {{elk, 0.9f}});
    many.push_back({{fox, 0.5f}}), many.push_back({{fox, 0.5f}});
    EXPECT_EQ(Table(burst(many)).species(21), "elk:1");
    EXPECT_EQ(Table(burst(many), said({{"s/20.jpg", "1", "species", "fox"}})).species(21), "fox:1");
    // Another burst stays as it is.
    std::vector<Shot> both = shots;
    for (Shot later : shots)
        later.file = "t" + later.file.substr(1), later.date.replace(0, 2, "11"), both.push_back(later);
    const Table other(both, said({{"s/03.jpg", "1", "species", "fox"}}));
    EXPECT_EQ(other.species(9), "elk:1");
}

TEST(Vote, LeavesAloneWhatAPersonAccepted) {
    const std::vector<Shot> shots = burst({{{elk, 0.6f}}, {{elk, 0.7f}}, {{elk, 0.6f}}, {{fox, 0.4f}}, {{fox, 0.45f}}});
    Corrections words = accepted("s/04.jpg", "animal elk:1");  // as the vote had it
    words.merge(said({{"s/03.jpg", "1", "species", "fox"}}));
    const Table table(shots, words);
    EXPECT_EQ(table.all_species(), "elk:1 elk:1 elk:1 fox:1 elk:1");
    EXPECT_EQ(table->row(4).reviewed, "Ann");
    // Other models later: what a person looked at stays, also that there is nothing.
    EXPECT_EQ(Table(burst({{{fox, 0.99f}}}), accepted("s/00.jpg", "animal elk:2")).species(0), "elk:2");
    const Table nothing(burst({{{fox, 0.99f}}}), accepted("s/00.jpg", "empty"));
    EXPECT_EQ(nothing.species(0), "");
    EXPECT_EQ(nothing->final_class(0), FinalClass::empty);
    // Without a species model only the animal was accepted.
    const Table later(burst({{{fox, 0.99f}}}), accepted("s/00.jpg", "animal animal:1"));
    EXPECT_EQ(later.species(0), "fox:1");
    // An answer about something else leaves the species as they were looked at.
    words = accepted("s/04.jpg", "bad elk:1");
    words.merge(said({{"s/03.jpg", "1", "species", "fox"}}));
    words["s/04.jpg"].values[{"", "quality"}] = "good";
    EXPECT_EQ(Table(shots, words).species(4), "elk:1");
    EXPECT_EQ(Table(shots, words)->final_class(4), FinalClass::animal);
    // A count given by hand, over an answer that had none; and a final class that leaves no room for species.
    words = accepted("s/00.jpg", "empty");
    words["s/00.jpg"].values[{"", "species"}] = "fox:9";
    EXPECT_EQ(Table(burst({{}}), words)->final_class(0), FinalClass::animal);
    EXPECT_EQ(Table(burst({{}}), words).species(0), "fox:9");
    words["s/00.jpg"].values[{"", "final"}] = "empty";
    EXPECT_EQ(Table(burst({{}}), words).species(0), "");
    // The score stays the model's.
    EXPECT_NEAR(Table(burst({{{fox, 0.7f}}}), accepted("s/00.jpg", "animal fox:1"))->row(0).species[0].score, 0.7,
                1e-6);
}

TEST(Bursts, ByTimeAndCamera) {
    const Table table(
        {{"a/1.jpg", "08:00:00"}, {"a/2.jpg", "08:01:00"}, {"a/3.jpg", "08:02:01"}, {"b/1.jpg", "08:00:00"}});
    EXPECT_EQ(table.bursts(), (std::vector<size_t>{0, 0, 2, 3}));
    // The camera begins a new folder in the middle of a burst; the folders of two cameras have the same names.
    const Table folders({{"n/DCIM/100EK113/9.jpg", "08:00:00"},
                         {"n/DCIM/101EK113/1.jpg", "08:00:05"},
                         {"s/DCIM/100EK113/9.jpg", "08:00:00"},
                         {"s/DCIM/101EK113/1.jpg", "08:00:05"}});
    EXPECT_EQ(folders.bursts(), (std::vector<size_t>{0, 0, 2, 2}));
    // With serial numbers: one camera over folders of any name, and two cameras in one folder.
    const Table serials({{"n/may/9.jpg", "08:00:00", {}, "A"},
                         {"n/june/1.jpg", "08:00:05", {}, "A"},
                         {"n/june/2.jpg", "08:00:06", {}, "B"}});
    EXPECT_EQ(serials.bursts(), (std::vector<size_t>{0, 0, 2}));
}

TEST(Bursts, ByTheNumberThatReconyxGives) {
    const Table table({{"a/1.jpg", "08:00:00", {}, "", "7"},
                       {"a/2.jpg", "08:00:01", {}, "", "7"},
                       {"a/3.jpg", "08:00:02", {}, "", "8"},
                       {"a/4.jpg", "08:05:00", {}, "", "8"},
                       {"a/5.jpg", "08:15:01", {}, "", "8"}});
    EXPECT_EQ(table.bursts(), (std::vector<size_t>{0, 0, 2, 2, 4})) << "numbers, and at most ten minutes";
}

TEST(Bursts, DatesThatAreMissingOrReset) {
    const Table missing(
        {{"a/1.jpg", "08:00:00"}, {"a/2.jpg", ""}, {"a/3.jpg", "0000:00:00 00:00:00"}, {"a/4.jpg", "08:00:01"}});
    EXPECT_EQ(missing.bursts(), (std::vector<size_t>{0, 1, 2, 0}));
    has(missing->row(1).problem, "date_missing");
    has(missing->row(2).problem, "date_missing");
    ASSERT_EQ(missing->notes().size(), 1u);
    has(missing->notes()[0], "2 images have no date, the first is a/2.jpg");
    // The batteries were changed: the clock starts again at the camera's default, later somebody sets it.
    const Table reset({{"a/1.jpg", "2026:07:01 08:00:00"},
                       {"a/2.jpg", "2026:07:01 08:00:10"},
                       {"a/3.jpg", "2016:01:01 00:00:03"},
                       {"a/4.jpg", "2016:01:01 00:00:08"},
                       {"a/5.jpg", "2026:07:03 09:00:00"},
                       {"b/1.jpg", "2016:01:01 00:00:09"}});
    EXPECT_EQ(reset.bursts(), (std::vector<size_t>{0, 0, 2, 2, 4, 5}));
    for (const size_t i : {2u, 3u}) has(reset->row(i).problem, "date_reset");
    for (const size_t i : {0u, 1u, 4u, 5u}) EXPECT_EQ(reset->row(i).problem, "") << i << ": only within a folder";
    ASSERT_EQ(reset->notes().size(), 1u);
    has(reset->notes()[0], "a/3.jpg is dated 2016-01-01 00:00:03");
}

TEST(SitesTable, MaskComesBeforeTheBestClass) {
    const TemporaryFolder folder;
    const auto sites = [&](const std::string& text) {
        std::ofstream(folder.path / "sites.csv") << text;
        return Sites(folder.path / "sites.csv", kSpecies, {"rock"});
    };
    // The best class is elk, the next the deer family.
    const std::vector<Shot> shots{{"north/1.jpg", "08:00:00", {{elk, 0.7f}}},
                                  {"south/1.jpg", "08:00:00", {{elk, 0.7f}}}};
    const Table table(shots, {},
                      sites("site,latitude,longitude,classes,not_classes\nnorth,70.1,30,,elk\nsouth,,,elk|fox,\n"));
    EXPECT_EQ(table.all_species(), "deer family:1 elk:1");
    EXPECT_NEAR(table->row(0).species[0].score, 0.3 * 0.8, 1e-6) << "its own score";
    EXPECT_EQ(table->row(1).file, "south/1.jpg") << "the same name in two folders";
    std::string text;
    const auto fails = [&](const std::string& csv, const std::string& line, const std::string& part) {
        EXPECT_EQ(fault_of([&] { sites(csv); }, text), Fault::usage);
        has(text, (folder.path / "sites.csv").string());
        has(text, line);
        has(text, part);
        EXPECT_EQ(text.find('\n'), text.npos);
    };
    fails("site,classes\nnorth,yeti\n", "line 2",
          "no model knows the class 'yeti'; known are elk, deer family, fox, rock");
    fails("site,not_classes\nnorth,elk\nsouth,deer\n", "line 3", "'deer'");
    // Decimal commas, with every separator that spreadsheets write.
    fails("site;latitude;longitude\nnorth;70,1;30\n", "line 2",
          "latitude '70,1' is not a number from -90 to 90; write numbers with a point (70.1)");
    fails("site,latitude,longitude\nnorth,\"70,1\",30\n", "line 2", "(70.1)");
    fails("site\tlatitude\tlongitude\nnorth\t70\t28,5\n", "line 2", "longitude '28,5'");
    fails("site,latitude,longitude\nnorth,70,1,28,5\n", "", "(70.1)");
    fails("site,latitude,longitude\nnorth,70,1,28,5\nsouth,70,28\n", "", "(70.1)");
    EXPECT_NO_THROW(sites("site,latitude,longitude\nnorth,70.1,28.5,,\n")) << "empty cells at the end of a row";
    // What R writes for missing values, and a model that has a class of this name.
    const Sites missing = sites("site,latitude,longitude,classes,not_classes\nnorth,NA,NaN,NA,NA\n");
    EXPECT_EQ(missing.find("north")->latitude, "");
    EXPECT_FALSE(std::ranges::count(missing.find("north")->excluded, true));
    EXPECT_EQ(sites("site,latitude\nNA,-22\n").name_of("cards/NA/a.jpg"), "NA");
    std::ofstream(folder.path / "sites.csv") << "site,classes\nnorth,NA\n";
    EXPECT_EQ(fault_of([&] { Sites(folder.path / "sites.csv", {"fox", "NA"}, {}); }, text), Fault::usage);
    has(text, "leave the field empty, or give that class another name");
}

TEST(Corrections, ThatCannotBeAreToldWithFileAndRow) {
    const TemporaryFolder folder;
    const std::filesystem::path csv = folder.path / "corrections.csv";
    const auto read = [&](const std::string& row) {
        std::ofstream(csv) << "file,box,field,old,new,reviewer,time\na.jpg,,seen,,yes,Ann,2026-11-30T08:00:00Z\n"
                           << row << ",Ann,2026-11-30T08:00:00Z\n";
        return read_corrections(csv, {"animal", "person"}, {"bad", "good"});
    };
    for (const auto& [row, part] : std::vector<std::pair<std::string, std::string>>{
             {"a.jpg,1,category,animal,unicorn", "category 'unicorn' must be one of animal, person"},
             {"a.jpg,+1,category,,unicorn", "category 'unicorn'"},
             {"a.jpg,,quality,bad,god", "quality 'god' must be one of bad, good"},
             {"a.jpg,,species,,fox:two", "species 'fox:two' must be like fox:2|hare:1"},
             {"a.jpg,,species,,fox:0", "species 'fox:0'"},
             {"a.jpg,,species,,fox:1||hare:1", "species"},
             {"a.jpg,1,species,,fox|hare", "one name"},
             {"a.jpg,,final,,Animal", "final 'Animal' must be one of animal, empty, bad, human"},
             {"a.jpg,,seen,,no", "seen"},
             {"a.jpg,1,bbox,,0.1 0.2 0.3", "bbox '0.1 0.2 0.3'"},
             {"a.jpg,1,bbox,,0.5 0.2 0.6 0.1", "bbox"}}) {
        std::string text;
        EXPECT_EQ(fault_of([&, &line = row] { read(line); }, text), Fault::damaged) << row;
        has(text, csv.string() + ": row 3: ");
        has(text, part);
        has(text, "correct or delete this row");
    }
    for (const char* row : {"a.jpg,1,category,animal,none", "a.jpg,1,category,animal,", "a.jpg,,species,,fox",
                            "a.jpg,,species,,red: fox:12|hare", "a.jpg,,final,,human", "a.jpg,2,bbox,,0.1 0.2 0.3 0.4",
                            "a.jpg,2,species,,any name"})
        EXPECT_EQ(read(row).size(), 1u) << row;
    EXPECT_EQ(read("b.jpg,,seen,failed,yes").at("b.jpg").accepted, "") << "it may be readable today";
}

TEST(Corrections, OfShardsAreJoined) {
    const TemporaryFolder folder;
    const std::string header = "file,box,field,old,new,reviewer,time\n", groups = "group,file,box\n";
    for (const char* name : {"s1", "s2", "s3", "out"}) std::filesystem::create_directories(folder.path / name);
    std::ofstream(folder.path / "s1/corrections.csv")
        << header << "a.jpg,,final,,bad,Ann,2026-11-30T08:00:02Z\na.jpg,1,species,,fox,Bo,2026-11-30T09:00:00Z\n";
    std::ofstream(folder.path / "s2/corrections.csv")
        << header
        << "\"b, 1.jpg\",,final,,empty,Ann,2026-11-30T08:00:01Z\n\"b, 1.jpg\",,final,empty,,Ann,2026-11-30T08:00:03Z\n"
        << "c.jpg,,seen,animal fox:1,yes,Ann,2026-11-30T08:00:01Z\n";
    std::ofstream(folder.path / "s1/repeats.csv") << groups << "1,a.jpg,1\n1,d.jpg,2\n2,a.jpg,2\n";
    std::ofstream(folder.path / "s3/repeats.csv") << groups << "1,e.jpg,1\n";
    std::string notes;
    std::vector<std::string> folders;
    for (const char* name : {"s1", "s2", "s3"}) folders.push_back((folder.path / name).string());
    merge_words(folders, folder.path / "out", [&](const std::string& text) { notes += text; });
    const Corrections all = read_corrections(folder.path / "out/corrections.csv", {"animal"}, {"bad"});
    EXPECT_EQ(all.size(), 2u);
    EXPECT_EQ(all.at("a.jpg").value("1", "species"), "fox");
    EXPECT_EQ(all.at("a.jpg").value("", "final"), "bad");
    EXPECT_EQ(all.at("a.jpg").reviewer, "Bo");
    EXPECT_EQ(all.at("c.jpg").accepted, "animal fox:1");
    const Repeats repeats = read_repeats(folder.path / "out/repeats.csv");
    EXPECT_EQ(repeats.at("a.jpg").size(), 2u);
    EXPECT_EQ(repeats.at("d.jpg")[0].group, repeats.at("a.jpg")[0].group);
    EXPECT_NE(repeats.at("e.jpg")[0].group, repeats.at("a.jpg")[0].group);
    has(notes, "3 groups");
    has(notes, "tundra tidy");
}

TEST(Events, OfSites) {
    const std::vector<std::pair<uint32_t, float>> one{{fox, 0.9f}}, two{{fox, 0.95f}, {fox, 0.6f}};
    const Table table({{"n/c1/1.jpg", "08:00:00", one},
                       {"n/c1/2.jpg", "08:00:02", two},
                       {"n/c1/3.jpg", "08:20:00", one},
                       {"n/c1/4.jpg", "09:00:00", one},
                       {"n/c2/1.jpg", "08:25:00", two},
                       {"n/c2/2.jpg", "", one}});
    std::vector<SurveyEvent> events;
    table->each_event([&](const SurveyEvent& event) { events.push_back(event); });
    ASSERT_EQ(events.size(), 3u) << "without a date, until 08:25, 09:00";
    EXPECT_EQ(events[0].first_file, "n/c2/2.jpg");
    EXPECT_EQ(events[0].start, "");
    const SurveyEvent& event = events[1];
    EXPECT_EQ(event.site + event.species, "nfox");
    EXPECT_EQ(event.start + " " + event.end, "2026-07-01 08:00:00 2026-07-01 08:25:00");
    EXPECT_EQ(event.to - event.from, 25 * 60);
    EXPECT_EQ(event.count, 2u) << "the most in one image";
    EXPECT_EQ(event.sequences, 3u);
    EXPECT_EQ(event.images, 4u);
    EXPECT_NEAR(event.score, 0.95, 1e-6);
}

}  // namespace
