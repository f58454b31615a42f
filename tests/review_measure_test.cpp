// What corrections say about a survey, and the training data that they make. 2 s, most of it the simulated reviews.
#include "app/review/measure.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "app/review/labels.h"
#include "app/review/session.h"
#include "app/review/survey_report.h"
#include "base/error.h"
#include "base/json.h"
#include "base/random.h"
#include "data/box_dataset.h"
#include "data/dataset.h"
#include "tests/files.h"
#include "tests/survey_folder.h"

namespace {

using Json = nlohmann::json;

struct Reviewed {
    TrialSurvey trial;
    SurveyFolder survey;
    CorrectionLog corrections;
    ReviewSession session;
    explicit Reviewed(const std::string& name)
        : trial(name),
          survey(trial.folder, ""),
          corrections(trial.folder / "corrections.csv"),
          session(survey, (corrections.open_for_writing(), corrections), "Ann") {}
    void say(int id, const std::vector<std::array<const char*, 3>>& set) {
        Json parts = Json::array();
        for (const auto& [box, field, value] : set) parts.push_back({{"box", box}, {"field", field}, {"value", value}});
        session.save({{"images", {{{"id", id}, {"set", parts}}}}});
    }
};

TEST(EstimateAccuracy, EveryImageReviewedLeavesNoDoubt) {
    const Estimate e =
        estimate_accuracy({{.images = 10, .sampled = 10, .right = 9}, {.images = 30, .sampled = 30, .right = 30}});
    EXPECT_DOUBLE_EQ(e.accuracy, 39.0 / 40);
    EXPECT_DOUBLE_EQ(e.low, e.high);
}

TEST(EstimateAccuracy, WeighsStrataByTheirImages) {
    const Estimate e = estimate_accuracy({{.images = 900, .sampled = 10, .right = 10},
                                          {.images = 100, .sampled = 50, .right = 25},
                                          {.images = 7, .sampled = 0, .right = 0}});
    EXPECT_NEAR(e.accuracy, 0.95, 1e-12);
    EXPECT_EQ(e.covered, 1000u);
    EXPECT_LT(e.low, 0.9);  // ten right ones prove little
    EXPECT_TRUE(std::isnan(estimate_accuracy({{.images = 5, .sampled = 0, .right = 0}}).accuracy));
}

// A review of a tenth of each stratum, rounded up, of surveys whose truth is known: the interval has to hold it in
// about 95 %, also where a stratum has one or two looks, and be wrong on both sides alike.
TEST(EstimateAccuracy, IntervalHoldsTheTruth) {
    struct Site {
        size_t images;
        double right, share = 0.1;
    };
    std::vector<Site> few{{400, 0.9, 1}, {3000, 0.97}, {500, 0.6}, {120, 0.99}, {900, 0.85}}, many, small;
    for (size_t i = 0; i < 160; ++i) many.push_back({6 + i % 41, 0.8 + 0.19 * double(i % 7) / 6});
    for (size_t i = 0; i < 12; ++i) small.push_back({8 + i, 0.9});
    for (const auto& sites : {few, many, small}) {
        size_t below = 0, above = 0;
        double width = 0;
        constexpr size_t kReviews = 1000;
        for (size_t review = 0; review < kReviews; ++review) {
            Draws draws(7, review);
            std::vector<Stratum> strata;
            double right = 0, all = 0;
            for (const Site& site : sites) {
                Stratum stratum{.images = site.images};
                const auto wanted = size_t(std::ceil(site.share * double(site.images)));
                for (size_t i = 0; i < site.images; ++i) {
                    const bool is_right = draws.uniform() < site.right;
                    right += is_right;
                    ++all;
                    // Selection sampling: each subset of the wanted size is as likely.
                    if (draws.below(site.images - i) < wanted - stratum.sampled)
                        ++stratum.sampled, stratum.right += is_right;
                }
                strata.push_back(stratum);
            }
            const Estimate e = estimate_accuracy(strata);
            below += right / all < e.low;
            above += right / all > e.high;
            width += (e.high - e.low) / kReviews;
            EXPECT_LE(e.low, e.accuracy);
            EXPECT_GE(e.high, e.accuracy);
        }
        EXPECT_LT(double(below + above) / kReviews, 0.08) << sites.size() << " strata";
        EXPECT_GT(double(below + above) / kReviews, 0.02) << sites.size() << " strata, mean width " << width;
        EXPECT_LT(double(std::max(below, above)) / kReviews, 0.06) << below << " below, " << above << " above";
    }
}

TEST(MeasureSurvey, ComparesWithWhatTheModelsSaid) {
    Reviewed r("measure");
    r.say(0, {});                             // right
    r.say(1, {{"2", "species", "fox"}});      // a hare that is a fox
    r.say(2, {{"", "final", "bad"}});         // empty that is bad
    r.say(5, {{"1", "category", "animal"}});  // repeated that is an animal
    const SurveyMeasures m = measure_survey(r.survey, r.corrections);
    EXPECT_EQ(m.images, 6u);
    EXPECT_EQ(m.reviewed, 4u);
    EXPECT_EQ(m.right, 2u);
    EXPECT_EQ(m.with_species, 2u);
    EXPECT_EQ(m.right_species, 1u);
    EXPECT_EQ(m.finals.at("animal").right, 2u);
    EXPECT_EQ(m.finals.at("animal").only_person, 1u);
    EXPECT_EQ(m.finals.at("empty").only_model, 1u);
    EXPECT_DOUBLE_EQ(m.finals.at("animal").recall(), 2.0 / 3);
    EXPECT_EQ(m.species.at("hare").only_model, 1u);
    EXPECT_EQ(m.species.at("fox").right, 2u);
    EXPECT_EQ(m.disagreements.size(), 3u);
    EXPECT_EQ(m.disagreements[0].model, "animal fox:1|hare:1");
    EXPECT_EQ(m.disagreements[0].person, "animal fox:2");
    EXPECT_EQ(m.sites.at("A").right, 2u);
    // Written anew, images.csv holds the corrections; what the models said is still known.
    std::string table = content(r.trial.folder / "images.csv");
    const std::string old = "fox|hare,1|1,0.8|0.6,,animal,,animal,";
    table.replace(table.find(old), old.size(), "fox,2,0.8,,animal,Ann,animal,");
    r.trial.write("images.csv", table);
    const SurveyFolder again(r.trial.folder, "");
    EXPECT_EQ(measure_survey(again, r.corrections).species.at("hare").only_model, 1u);
}

TEST(MeasureSurvey, ARockIsAsGoodAsNothing) {
    Reviewed r("measure_rock");
    r.say(5, {{"", "final", "empty"}});
    const SurveyMeasures m = measure_survey(r.survey, r.corrections);
    EXPECT_EQ(m.right, 1u);
    EXPECT_TRUE(m.disagreements.empty());
}

TEST(MeasureSurvey, ThresholdsNeedTwentyReviewedImages) {
    const TrialSurvey trial("measure_thresholds");
    std::string table = content(trial.folder / "images.csv"), rows = "file,box,field,old,new,reviewer,time\n", boxes;
    table = table.substr(0, table.find('\n') + 1);
    for (int i = 0; i < 100; ++i) {  // right from 0.5 on
        table += fmt::format("{:03}.jpg,A,c,,,good,0.01,1,0,0,0,fox,1,{:.2f},,animal,,animal,\n", i, i / 100.0);
        boxes += fmt::format("{}{{\"file\": \"{:03}.jpg\", \"detections\": []}}", i ? "," : "", i);
        rows += fmt::format("{:03}.jpg,,seen,animal fox:1,yes,Ann,2026-11-30T08:00:00Z\n", i);
        if (i < 50) rows += fmt::format("{:03}.jpg,,species,fox:1,hare:1,Ann,2026-11-30T08:00:00Z\n", i);
    }
    trial.write("images.csv", table);
    trial.write("results.json", "{\"images\": [" + boxes + "]}");
    trial.write("corrections.csv", rows);
    trial.write("repeats.csv", "");
    const SurveyFolder survey(trial.folder, "");
    const SurveyMeasures m = measure_survey(survey, CorrectionLog(trial.folder / "corrections.csv"));
    EXPECT_NEAR(m.thresholds.at("fox").score, 0.48, 1e-6);  // 50 of 52
    EXPECT_EQ(m.thresholds.at("fox").spared, 52u);
    const auto json = measures_json(survey, m);
    EXPECT_EQ(json.at("disagreements").size(), 50u);
    EXPECT_NE(measures_text(m).find("0.480  (52 images need no look)"), std::string::npos) << measures_text(m);
    const std::string page = content(write_survey_report(survey, m));
    EXPECT_EQ(page.find("://"), std::string::npos);
    EXPECT_NE(page.find("Boxes count from the confidence"), std::string::npos);  // provenance
}

TEST(TrainingLabels, OfQuality) {
    Reviewed r("labels_quality");
    r.say(0, {});
    r.say(3, {{"", "final", "empty"}, {"", "quality", "good"}});
    r.say(2, {{"", "final", "bad"}});
    const auto out = r.trial.folder / "labels";
    EXPECT_EQ(write_training_labels(r.survey, r.corrections, "quality", out).data, out / "labels.csv");
    const std::string images = (r.trial.folder / "images").string();
    EXPECT_EQ(content(out / "labels.csv"), "path,label,camera\n" + images + "/A/1.jpg,good,A/c1\n" + images +
                                               "/A/3.jpg,bad,A/c1\n\"" + images + "/A/4, \"\"x\"\".jpg\",good,A/c1\n");
}

TEST(TrainingLabels, OfSpeciesAreCrops) {
    Reviewed r("labels_species");
    r.say(0, {{"1", "species", "lynx"}});
    r.say(1, {{"1", "category", "none"}});
    const auto out = r.trial.folder / "labels";
    write_training_labels(r.survey, r.corrections, "species", out);
    EXPECT_EQ(content(out / "labels.csv"),
              "path,label,camera\ncrops/0000000_1.jpg,lynx,A/c1\ncrops/0000001_1.jpg,hare,A/c1\n");
    const Dataset data =
        open_dataset((out / "labels.csv").string(), {.validation = 0, .test = 0, .for_training = false});
    EXPECT_EQ(data.classes, (std::vector<std::string>{"hare", "lynx"}));
    const Decoded crop = read_image((out / "crops" / "0000000_1.jpg").string());
    EXPECT_EQ(crop.image.h, crop.image.w);
}

TEST(TrainingLabels, OfBoxesConfirmedRemovedAndDrawn) {
    Reviewed r("labels_boxes");
    r.say(0, {});                                                                   // confirmed
    r.say(1, {{"1", "category", "none"}, {"2", "category", "person"}});             // removed, changed
    r.say(2, {{"+1", "category", "animal"}, {"+1", "bbox", "0.25 0.5 0.5 0.25"}});  // drawn
    r.say(4, {{"", "final", "empty"}});                                             // nothing at all
    const auto out = r.trial.folder / "labels";
    const TrainingLabels labels = write_training_labels(r.survey, r.corrections, "boxes", out);
    const Dataset data = open_box_dataset(labels.data.string(), {.validation = 0, .test = 0, .for_training = false});
    ASSERT_EQ(data.samples.size(), 4u);
    std::map<std::string, std::vector<TrueBox>> boxes;
    for (const Sample& sample : data.samples) boxes[sample.name.substr(sample.name.size() - 7)] = sample.boxes;
    EXPECT_EQ(boxes.at("A/1.jpg").size(), 1u);
    ASSERT_EQ(boxes.at("A/2.jpg").size(), 1u);
    EXPECT_EQ(data.classes[boxes.at("A/2.jpg")[0].category], "person");
    ASSERT_EQ(boxes.at("A/3.jpg").size(), 1u);
    EXPECT_NEAR(boxes.at("A/3.jpg")[0].x, 0.25f, 1e-4);
    EXPECT_NEAR(boxes.at("A/3.jpg")[0].h, 0.25f, 1e-4);
    EXPECT_TRUE(boxes.at("B/1.jpg").empty());
}

TEST(TrainingLabels, NothingReviewedIsSaid) {
    Reviewed r("labels_none");
    try {
        write_training_labels(r.survey, r.corrections, "species", r.trial.folder / "labels");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, Fault::usage);
        EXPECT_NE(std::string(error.what()).find("tundra review"), std::string::npos);
    }
}

}  // namespace
