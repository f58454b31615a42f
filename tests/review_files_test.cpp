// What a review reads and takes in: tables that a spreadsheet or an earlier review saved, names that are not UTF-8,
// answers of other files and of earlier models. 0.3 s.
#include <gtest/gtest.h>

#include "app/review/measure.h"
#include "app/review/session.h"
#include "app/review/state.h"
#include "base/error.h"
#include "tests/files.h"
#include "tests/survey_folder.h"

namespace {

using Json = nlohmann::json;

const std::string kHeader = "file,box,field,old,new,reviewer,time\n";  // of earlier versions

struct Opened {
    SurveyFolder survey;
    CorrectionLog corrections;
    ReviewSession session;
    explicit Opened(const TrialSurvey& trial)
        : survey(trial.folder, ""),
          corrections(trial.folder / "corrections.csv"),
          session(survey, (survey.match(corrections), corrections.open_for_writing(), corrections), "Ann") {}
    Json item(uint32_t image) const { return session.items({image}).at("items")[0]; }
};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
    return text;
}

std::string error_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

// images.csv as `tundra survey` writes it after Ann called the hare of A/2.jpg a fox and A/3.jpg bad.
void write_reviewed(const TrialSurvey& trial) {
    std::string table = content(trial.folder / "images.csv");
    table = replaced(table, "final,reviewed,review", "final,reviewed,models,review");
    for (const char* end : {",animal,,animal,", ",empty,,sample,", ",bad,,,", ",human,,,", ",repeated,,repeat,"}) {
        const std::string text = end;
        const size_t second = text.find(',', 1) + 1;
        table = replaced(table, text + "\n", text.substr(0, second) + "," + text.substr(second) + "\n");
    }
    table = replaced(table, "fox|hare,1|1,0.8|0.6,,animal,,,", "fox,2,1.000,,animal,Ann,animal fox:1|hare:1,");
    table = replaced(table, "good,0.4,0,0,0,0,,,,,empty,,,", "bad,0.4,0,0,0,0,,,,,bad,Ann,empty,");
    trial.write("images.csv", table);
}

TEST(WrongProbability, FollowsTheRuleOfTheTable) {
    const ClassFacts facts{.animal = 0.8, .bad = 0.5, .human = 0.1};
    EXPECT_NEAR(wrong_probability(facts, "human"), 0.9, 1e-12);
    EXPECT_NEAR(wrong_probability(facts, "bad"), 1 - 0.9 * 0.5, 1e-12);
    EXPECT_NEAR(wrong_probability(facts, "animal"), 1 - 0.9 * 0.5 * 0.8, 1e-12);
    EXPECT_NEAR(wrong_probability(facts, "empty"), 1 - 0.9 * 0.5 * 0.2, 1e-12);
    EXPECT_NEAR(wrong_probability({}, "empty"), 0, 1e-12);
}

// An animal box that its model takes for a rock, or for a person, is in doubt as that.
TEST(WrongProbability, WeighsBoxesByTheirClasses) {
    const TrialSurvey trial("review_files_classes");
    trial.write("results.json", replaced(replaced(content(trial.folder / "results.json"), R"([["0", 0.8]])",
                                                  R"([["2", 0.6], ["0", 0.2], ["3", 0.2]])"),
                                         R"("1": "hare"})", R"("1": "hare", "2": "rock", "3": "human"})"));
    const SurveyFolder survey(trial.folder, "");
    const SurveyBox& box = survey.boxes(1)[0];
    EXPECT_NEAR(box.animal, 0.2, 1e-6);
    EXPECT_NEAR(box.human, 0.2, 1e-6);
    EXPECT_FALSE(box.repeated);
    EXPECT_FLOAT_EQ(survey.boxes(1)[2].animal, 1);  // not classified
    EXPECT_FLOAT_EQ(survey.boxes(4)[0].human, 1);   // by its category
    EXPECT_TRUE(survey.boxes(5)[0].repeated);
    EXPECT_NEAR(survey.images[5].wrong, 0.1, 1e-6);  // only the quality is in doubt
}

TEST(ReviewedTable, StillSaysWhatTheModelsSaid) {
    const TrialSurvey trial("review_files_models");
    write_reviewed(trial);
    trial.write("corrections.csv", kHeader +
                                       "A/2.jpg,2,species,hare,fox,Ann,2026-11-30T08:00:00Z\n"
                                       "A/2.jpg,,seen,animal fox:1|hare:1,yes,Ann,2026-11-30T08:00:00Z\n"
                                       "A/3.jpg,,quality,good,bad,Ann,2026-11-30T08:00:01Z\n"
                                       "A/3.jpg,,seen,empty,yes,Ann,2026-11-30T08:00:01Z\n");
    Opened opened(trial);
    EXPECT_EQ(opened.item(1).at("species"), "fox:2");
    EXPECT_EQ(opened.item(1).at("model_species"), "fox:1|hare:1");
    EXPECT_EQ(opened.item(2).at("final"), "bad");
    EXPECT_EQ(opened.item(2).at("model"), "empty");
    const SurveyMeasures m = measure_survey(opened.survey, opened.corrections);
    EXPECT_EQ(m.measured, 2u);
    EXPECT_EQ(m.species.at("hare").only_model, 1u);
    EXPECT_EQ(m.finals.at("empty").only_model, 1u);
    // Taken back, everything is as the models had it, and can be said again.
    Json set = Json::array();
    for (const char* field : {"quality", "seen"}) set.push_back({{"box", ""}, {"field", field}, {"value", ""}});
    opened.session.save({{"images", {{{"id", 2}, {"set", set}}}}});
    EXPECT_EQ(opened.item(2).at("final"), "empty");
    EXPECT_EQ(opened.item(2).at("quality"), "good");
    opened.session.save({{"images", {{{"id", 2}, {"set", Json::array()}}}}});
    EXPECT_NE(content(opened.corrections.path()).rfind("A/3.jpg,,seen,empty,yes,"), std::string::npos);
    EXPECT_EQ(opened.item(2).at("final"), "empty");
}

// A yes to a fox stays a fox when the next model says hare.
TEST(ReviewedTable, AcceptedAnswersOutliveTheModels) {
    const TrialSurvey trial("review_files_accepted");
    trial.write("corrections.csv", kHeader +
                                       "A/1.jpg,,seen,animal hare:3,yes,Ann,2026-11-30T08:00:00Z\n"
                                       "A/2.jpg,,seen,empty,yes,Ann,2026-11-30T08:00:00Z\n");
    const Opened opened(trial);
    EXPECT_EQ(opened.item(0).at("species"), "hare:3");
    EXPECT_EQ(opened.item(1).at("final"), "empty");
    EXPECT_EQ(opened.item(1).at("species"), "");
    const SurveyMeasures m = measure_survey(opened.survey, opened.corrections);
    EXPECT_EQ(m.right, 1u);  // both are animals, and A/2.jpg is none
    EXPECT_EQ(m.right_species, 0u);
    EXPECT_EQ(m.disagreements.size(), 2u);
}

// As SurveyTable has them.
TEST(ReviewedTable, AcceptedAnswersBesideOthers) {
    const TrialSurvey trial("review_files_beside");
    trial.write("corrections.csv", kHeader +
                                       "A/1.jpg,,seen,bad hare:3,yes,Ann,2026-11-30T08:00:00Z\n"
                                       "A/1.jpg,,quality,bad,good,Ann,2026-11-30T08:00:00Z\n"
                                       "A/2.jpg,,seen,animal animal:3,yes,Ann,2026-11-30T08:00:00Z\n"
                                       "A/3.jpg,,seen,failed,yes,Ann,2026-11-30T08:00:00Z\n"
                                       "B/1.jpg,7,category,person,animal,Ann,2026-11-30T08:00:00Z\n");
    const Opened opened(trial);
    EXPECT_EQ(opened.corrections.lost(), std::vector<std::string>{"B/1.jpg"});
    EXPECT_EQ(opened.item(0).at("final"), "animal");
    EXPECT_EQ(opened.item(0).at("species"), "hare:3");
    EXPECT_EQ(opened.item(1).at("species"), "fox:1|hare:1") << "without a species model only the animal was accepted";
    EXPECT_EQ(opened.item(2).at("final"), "empty") << "readable by now";
    EXPECT_FALSE(opened.item(2).at("seen").get<bool>());
    EXPECT_EQ(opened.item(4).at("final"), "human");
    EXPECT_EQ(opened.item(4).at("boxes").size(), 1u) << "no box of today's detector";
}

TEST(ReviewedTable, SpreadsheetsMaySaveIt) {
    const TrialSurvey trial("review_files_sheet");
    const std::string table = content(trial.folder / "images.csv");
    std::string sheet = replaced(replaced(replaced(table, "\"A/4, \"\"x\"\".jpg\"", "NAME"), ",", ";"), "\n", "\r\n");
    sheet = "\xef\xbb\xbf" + replaced(sheet, "NAME", "\"A/4, \"\"x\"\".jpg\"");
    trial.write("images.csv", sheet);
    const SurveyFolder survey(trial.folder, "");
    ASSERT_EQ(survey.images.size(), 6u);
    EXPECT_EQ(survey.file(3), "A/4, \"x\".jpg");
    EXPECT_EQ(survey.species_of(1), "fox:1|hare:1");
    EXPECT_EQ(survey.row(5).at("review"), "repeat");
    // Numbers as the language of the spreadsheet has them would change the order in silence.
    trial.write("images.csv", replaced(sheet, ";0.97;", ";0,97;"));
    EXPECT_NE(error_of([&] { SurveyFolder(trial.folder, ""); }).find("row 5: '0,97' is not a score"),
              std::string::npos);
}

TEST(ReviewedTable, NamesThatAreNotUtf8) {
    const TrialSurvey trial("review_files_names");
    const std::string raw = "A/\xe4.jpg";
    trial.write("images.csv", replaced(content(trial.folder / "images.csv"), "A/3.jpg", raw));
    trial.write("results.json", replaced(replaced(content(trial.folder / "results.json"), "A/3.jpg", "A/%E4.jpg"),
                                         "A/%E4.jpg\", \"detections\": []",
                                         "A/%E4.jpg\", \"detections\": [{\"category\": \"1\", \"conf\": 0.1, "
                                         "\"bbox\": [0, 0, 1, 1]}]"));
    const std::string table = content(trial.folder / "images.csv"), on_disk = (trial.folder / "images" / raw).string();
    std::filesystem::rename(trial.folder / "images/A/3.jpg", on_disk);
    trial.write("images.csv", replaced(table, raw, "A/%E4.jpg"));  // as `tundra survey` writes it
    EXPECT_EQ(SurveyFolder(trial.folder, "").path(2), on_disk);
    trial.write("images.csv", table);
    Opened opened(trial);
    EXPECT_TRUE(opened.survey.notes.empty());
    EXPECT_EQ(opened.item(2).at("file"), "A/%E4.jpg");
    EXPECT_EQ(opened.survey.path(2), on_disk);
    EXPECT_EQ(opened.item(2).at("boxes").size(), 1u);
    opened.session.save({{"images", {{{"id", 2}, {"set", Json::array()}}}}});
    EXPECT_NE(content(opened.corrections.path()).find(raw + ",,seen,"), std::string::npos);
    EXPECT_TRUE(CorrectionLog(opened.corrections.path()).of(raw));
    // As a static page writes the name.
    trial.write("corrections.csv", kHeader + "A/%E4.jpg,,final,empty,animal,Ann,2026-11-30T08:00:00Z\n");
    const CorrectionLog log(opened.corrections.path());
    EXPECT_EQ(state_of(opened.survey, 2, log.of(opened.survey.file(2))).final, "animal");
}

TEST(AddedAnswers, TheLaterOneHolds) {
    const TrialSurvey trial("review_files_add");
    Opened opened(trial);
    trial.write("stick.csv", kHeader +
                                 "A/1.jpg,,final,animal,empty,Eve,2020-01-01T08:00:00Z\n"
                                 "A/2.jpg,2,species,hare,fox,Eve,2026-11-30T08:00:00Z\n"
                                 "A/2.jpg,,seen,animal fox:1|hare:1,yes,Eve,2026-11-30T08:00:00Z\n"
                                 "A/3.jpg,,final,empty,bad,Eve,2026-11-30T08:00:00Z\n"
                                 "A/3.jpg,,final,bad,,Eve,2026-11-30T08:00:01Z\n"
                                 "C/9.jpg,,final,empty,bad,Eve,2026-11-30T08:00:00Z\n");
    opened.session.save(
        Json::parse(R"({"images": [{"id": 0, "set": [{"box": "", "field": "final", "value": "bad"}]}]})"));
    const CorrectionLog stick(trial.folder / "stick.csv", CorrectionLog::Use::reading);
    const ReviewSession::Added added = opened.session.add(stick);
    EXPECT_EQ(added.rows, 2u);
    EXPECT_EQ(added.images, 1u);
    EXPECT_EQ(added.older, 1u);
    EXPECT_EQ(added.unknown, std::vector<std::string>{"C/9.jpg"});
    EXPECT_EQ(opened.item(0).at("final"), "bad");
    EXPECT_EQ(opened.item(1).at("species"), "fox:2");
    EXPECT_EQ(opened.item(1).at("by"), "Eve");
    EXPECT_FALSE(opened.item(2).at("seen").get<bool>());  // taken back on the stick
    const std::string once = content(opened.corrections.path());
    EXPECT_EQ(opened.session.add(stick).rows, 0u);
    EXPECT_EQ(content(opened.corrections.path()), once);
    trial.write("stick.csv", kHeader + "A/1.jpg,1,category,animal,unicorn,Eve,2126-11-30T08:00:00Z\n");
    EXPECT_NE(error_of([&] { opened.session.add(CorrectionLog(trial.folder / "stick.csv")); }).find("knows no unicorn"),
              std::string::npos);
    EXPECT_EQ(content(opened.corrections.path()), once);
}

// Two people looked at the same images without each other: what one of them said holds as a whole.
TEST(AddedAnswers, AreNotMixedWithAnEarlierPersons) {
    const TrialSurvey trial("review_files_two");
    trial.write("corrections.csv", kHeader +
                                       "A/1.jpg,,final,animal,empty,Ann,2026-11-30T08:00:00Z\n"
                                       "A/2.jpg,+1,category,,animal,Ann,2026-11-30T08:00:00Z\n"
                                       "A/2.jpg,+1,bbox,,0.1 0.1 0.2 0.2,Ann,2026-11-30T08:00:00Z\n"
                                       "A/3.jpg,,final,empty,human,Ann,2026-11-30T10:00:00Z\n");
    trial.write("stick.csv", kHeader +
                                 "A/1.jpg,1,species,fox,hare,Eve,2026-11-30T09:00:00Z\n"
                                 "A/1.jpg,,seen,animal fox:1,yes,Eve,2026-11-30T09:00:00Z\n"
                                 "A/2.jpg,+1,category,,person,Eve,2026-11-30T09:00:00Z\n"
                                 "A/2.jpg,+1,species,,,Eve,2026-11-30T09:00:00Z\n"
                                 "A/3.jpg,,quality,good,bad,Eve,2026-11-30T09:00:00Z\n"
                                 "B/1.jpg,,seen,human,yes,Eve,2026-11-30T09:00:00Z\n");
    Opened opened(trial);
    CorrectionLog stick(trial.folder / "stick.csv", CorrectionLog::Use::reading);
    opened.survey.match(stick);
    const ReviewSession::Added added = opened.session.add(stick);
    EXPECT_EQ(opened.item(0).at("species"), "hare:1") << "and not empty, as Ann had it";
    EXPECT_EQ(opened.item(1).at("final"), "human");
    EXPECT_EQ(opened.item(1).at("boxes").back().at("at")[2], 0) << "Eve's box is not Ann's";
    EXPECT_EQ(opened.item(2).at("final"), "human") << "Ann was later";
    EXPECT_EQ(opened.item(2).at("quality"), "good");
    EXPECT_EQ(added.older, 1u);
    EXPECT_EQ(added.replaced.size(), 2u);
    EXPECT_EQ(added.images, 3u);
    EXPECT_EQ(opened.session.add(stick).rows, 0u);
    const Json before = opened.session.items({0, 1, 2, 3, 4, 5});
    EXPECT_EQ(opened.session.items({0, 1, 2, 3, 4, 5}), before);
    // Eve takes an answer back and hands her file in again; of Ann's nothing goes.
    trial.write("stick.csv", content(trial.folder / "stick.csv") +
                                 "B/1.jpg,,seen,human,,Eve,2026-11-30T09:30:00Z\n"
                                 "A/3.jpg,,quality,bad,,Eve,2026-11-30T11:00:00Z\n");
    CorrectionLog again(trial.folder / "stick.csv", CorrectionLog::Use::reading);
    opened.survey.match(again);
    EXPECT_EQ(opened.session.add(again).images, 1u);
    EXPECT_FALSE(opened.item(4).at("seen").get<bool>());
    EXPECT_EQ(opened.item(2).at("final"), "human");
}

const char* const kFoxAndHare = R"(  {"category": "1", "conf": 0.8, "bbox": [0, 0, 0.5, 0.5],
   "classifications": [["0", 0.8]]},
  {"category": "1", "conf": 0.7, "bbox": [0.5, 0.5, 0.5, 0.5],
   "classifications": [["1", 0.6]]},)";

// Another detector, or the same with other settings, numbers boxes anew: an answer goes with the box it was about.
TEST(MatchedAnswers, GoWithTheirBox) {
    const TrialSurvey trial("review_files_match");
    const std::string results = content(trial.folder / "results.json");
    ASSERT_NE(results.find(kFoxAndHare), std::string::npos);
    {
        Opened opened(trial);
        opened.session.save(Json::parse(
            R"({"images": [{"id": 1, "set": [{"box": "2", "field": "species", "value": "lynx"},
                                              {"box": "1", "field": "category", "value": "none"}]}]})"));
        EXPECT_EQ(opened.item(1).at("species"), "lynx:1");
    }
    EXPECT_NE(content(trial.folder / "corrections.csv").find("A/2.jpg,2,species,hare,lynx,Ann,20"), std::string::npos);
    EXPECT_NE(content(trial.folder / "corrections.csv").find("Z,0.5000 0.5000 0.5000 0.5000\n"), std::string::npos);
    trial.write("corrections.csv", replaced(content(trial.folder / "corrections.csv"), ",Ann,20", ",Ann,19"));
    const auto with = [&](const std::string& boxes) {
        trial.write("results.json", replaced(results, kFoxAndHare, boxes));
    };
    // The other way round, a little moved, and with a new box before them.
    with(R"({"category": "1", "conf": 0.9, "bbox": [0.3, 0.3, 0.2, 0.2]},
            {"category": "1", "conf": 0.8, "bbox": [0.49, 0.5, 0.51, 0.5]},
            {"category": "1", "conf": 0.7, "bbox": [0, 0.01, 0.5, 0.5]},)");
    {
        const Opened opened(trial);
        EXPECT_EQ(opened.item(1).at("boxes")[1].at("species"), "lynx");
        EXPECT_EQ(opened.item(1).at("boxes")[2].at("category"), "none");
        EXPECT_EQ(opened.item(1).at("species"), "animal:1|lynx:1");
        EXPECT_TRUE(opened.corrections.notes.empty());
    }
    // One of them is found no more: nothing of the answer counts, and a person looks again.
    with(R"({"category": "1", "conf": 0.9, "bbox": [0.3, 0.3, 0.2, 0.2]},
            {"category": "1", "conf": 0.8, "bbox": [0.5, 0.5, 0.5, 0.5]},)");
    Opened opened(trial);
    EXPECT_FALSE(opened.item(1).at("seen").get<bool>());
    EXPECT_EQ(opened.item(1).at("boxes")[1].at("species"), "");
    ASSERT_EQ(opened.corrections.notes.size(), 1u);
    EXPECT_NE(opened.corrections.notes[0].find("row 3: the detector no longer finds box 1 of A/2.jpg"),
              std::string::npos)
        << opened.corrections.notes[0];
    EXPECT_EQ(opened.corrections.lost(), std::vector<std::string>{"A/2.jpg"});
    EXPECT_EQ(measure_survey(opened.survey, opened.corrections).reviewed, 0u);
    // What she says now holds, and the lost answer is no longer told.
    opened.session.save(
        Json::parse(R"({"images": [{"id": 1, "set": [{"box": "2", "field": "species", "value": "elk"}]}]})"));
    EXPECT_EQ(opened.item(1).at("boxes")[1].at("species"), "elk");
    CorrectionLog log(trial.folder / "corrections.csv");
    opened.survey.match(log);
    EXPECT_TRUE(log.notes.empty());
    EXPECT_TRUE(log.lost().empty());
    EXPECT_EQ(state_of(opened.survey, 1, log.of("A/2.jpg")).boxes[1].species, "elk");
    // Taken back, also where the box has another number and place by now than when it was said.
    trial.write("results.json", results);
    CorrectionLog later(trial.folder / "corrections.csv");
    SurveyFolder(trial.folder, "").match(later);
    EXPECT_EQ(later.of("A/2.jpg")->size(), 3u) << "box 1 none, box 2 elk, seen";
}

TEST(MatchedAnswers, TwoBoxesInOnePlace) {
    const TrialSurvey trial("review_files_twins");
    const std::string results = content(trial.folder / "results.json");
    const auto with = [&](const std::string& first, const std::string& second, const std::string& third) {
        const auto box = [](const std::string& category) {
            return R"({"category": ")" + category + R"(", "conf": 0.8, "bbox": [0, 0, 0.5, 0.5]},)";
        };
        trial.write("results.json",
                    replaced(results, kFoxAndHare, box(first) + box(second) + (third.empty() ? "" : box(third))));
    };
    trial.write("corrections.csv",
                "file,box,field,old,new,reviewer,time,place\n"
                "A/2.jpg,2,category,person,none,Ann,2026-11-30T08:00:00Z,0.0000 0.0000 0.5000 0.5000\n");
    with("1", "2", "");
    EXPECT_EQ(Opened(trial).item(1).at("boxes")[1].at("category"), "none") << "the number decides";
    trial.write("corrections.csv", replaced(content(trial.folder / "corrections.csv"), "A/2.jpg,2,", "A/2.jpg,5,"));
    EXPECT_FALSE(Opened(trial).item(1).at("seen").get<bool>()) << "it could be either";
}

TEST(MatchedAnswers, FilesOfEarlierVersionsGetPlaces) {
    const TrialSurvey trial("review_files_places");
    trial.write("corrections.csv", kHeader +
                                       "A/2.jpg,2,species,hare,lynx,Ann,2026-11-30T08:00:00Z\n"
                                       "A/2.jpg,,seen,animal fox:1|hare:1,yes,Ann,2026-11-30T08:00:00Z\n"
                                       "B/1.jpg,+1,category,,animal,Ann,2026-11-30T08:00:01Z");
    EXPECT_EQ(Opened(trial).item(1).at("species"), "fox:1|lynx:1");
    EXPECT_EQ(content(trial.folder / "corrections.csv"),
              "file,box,field,old,new,reviewer,time,place\n"
              "A/2.jpg,2,species,hare,lynx,Ann,2026-11-30T08:00:00Z,0.5000 0.5000 0.5000 0.5000\n"
              "A/2.jpg,,seen,animal fox:1|hare:1,yes,Ann,2026-11-30T08:00:00Z,\n"
              "B/1.jpg,+1,category,,animal,Ann,2026-11-30T08:00:01Z,\n");
}

// Nobody looked at an image that could not be read then.
TEST(MatchedAnswers, AYesToAnUnreadableImage) {
    const TrialSurvey trial("review_files_failed");
    trial.write("corrections.csv", kHeader +
                                       "A/1.jpg,,seen,failed,yes,Ann,2026-11-30T08:00:00Z\n"
                                       "A/3.jpg,,seen,failed,yes,Ann,2026-11-30T08:00:00Z\n"
                                       "A/3.jpg,,final,failed,human,Ann,2026-11-30T08:00:00Z\n"
                                       "\"A/4, \"\"x\"\".jpg\",,seen,failed,yes,Ann,2026-11-30T08:00:00Z\n");
    trial.write("images.csv", replaced(content(trial.folder / "images.csv"), ",bad,,,\n", ",failed,,,\n"));
    const Opened opened(trial);
    EXPECT_FALSE(opened.item(0).at("seen").get<bool>());
    EXPECT_TRUE(opened.item(2).at("seen").get<bool>()) << "she said more than a yes";
    EXPECT_TRUE(opened.item(3).at("seen").get<bool>()) << "it still cannot be read";
    EXPECT_EQ(measure_survey(opened.survey, opened.corrections).reviewed, 2u);
}

// With more classes of quality than bad and good the page has the model's, and "not bad" is its best other class.
TEST(Quality, OfMoreThanTwoClasses) {
    const TrialSurvey trial("review_files_quality");
    write_reviewed(trial);
    trial.write("survey.json",
                replaced(content(trial.folder / "survey.json"), R"(["bad", "good"])", R"(["bad", "blurred", "good"])"));
    trial.write("results.json", replaced(content(trial.folder / "results.json"), R"("A/3.jpg", )",
                                         R"("A/3.jpg", "quality": {"bad": 0.4, "blurred": 0.1, "good": 0.5}, )"));
    trial.write("corrections.csv", kHeader + "A/3.jpg,,quality,good,bad,Ann,2026-11-30T08:00:01Z\n");
    const Opened opened(trial);
    EXPECT_EQ(opened.survey.quality_of(2), "good") << "images.csv has Ann's";
    EXPECT_EQ(opened.item(2).at("good"), "good");
    EXPECT_EQ(opened.item(2).at("quality"), "bad");
    EXPECT_EQ(opened.item(1).at("good"), "blurred") << "not known: the first";
}

}  // namespace
