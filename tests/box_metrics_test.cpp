// Average precision against pycocotools' numbers on random images, and the table of thresholds.
#include "predict/box_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace {

using nlohmann::json;

std::vector<ImageBoxes> images_of(const json& one) {
    std::vector<ImageBoxes> images;
    for (const json& size : one["images"]) images.push_back({.truth = {}, .found = {}, .h = size[1], .w = size[0]});
    const auto share = [](const json& box, size_t i, size_t side) {
        return float(box[i + 2].get<double>() / double(side));
    };
    for (const json& t : one["truth"]) {
        ImageBoxes& p = images[t[0]];
        p.truth.push_back({t[1], share(t, 0, p.w), share(t, 1, p.h), share(t, 2, p.w), share(t, 3, p.h)});
    }
    for (const json& f : one["found"]) {
        ImageBoxes& p = images[f[0]];
        p.found.push_back({f[1], f[6], share(f, 0, p.w), share(f, 1, p.h), share(f, 2, p.w), share(f, 3, p.h)});
    }
    return images;
}

// Shares are floats: an overlap may move by 1e-6, which no case here notices.
TEST(BoxMetrics, AgreesWithPycocotools) {
    const json content = json::parse(std::ifstream(std::string(TUNDRA_TESTS) + "/data/coco_ap.json"));
    ASSERT_EQ(content["cases"].size(), 5u);
    for (const json& one : content["cases"]) {
        const size_t classes = one["classes"];
        const BoxMetrics m = measure_boxes(images_of(one), classes);
        EXPECT_NEAR(m.map, one["expected"]["map"], 1e-6);
        EXPECT_NEAR(m.map50, one["expected"]["map50"], 1e-6);
        EXPECT_NEAR(m.map_at[5], one["expected"]["map75"], 1e-6);
        for (size_t c = 0; c < classes; ++c) {
            const json& ap = one["expected"]["ap"][c];
            if (ap[0].is_null()) {
                EXPECT_TRUE(std::isnan(m.classes[c].ap50));
                continue;
            }
            EXPECT_NEAR(m.classes[c].ap50, ap[0], 1e-6);
            double mean = 0;
            for (const json& v : ap) mean += v.get<double>() / 10;
            EXPECT_NEAR(m.classes[c].ap, mean, 1e-6);
        }
    }
}

TEST(BoxMetrics, ThresholdsCountBoxesAndImages) {
    const TrueBox a{0, 0.1f, 0.1f, 0.2f, 0.2f}, b{1, 0.5f, 0.5f, 0.3f, 0.3f};
    const auto found = [](const TrueBox& t, uint32_t category, float score) {
        return FoundBox{category, score, t.x, t.y, t.w, t.h};
    };
    const std::vector<ImageBoxes> images = {
        {.truth = {a, b}, .found = {found(a, 0, 0.9f), found(b, 0, 0.3f)}, .h = 100, .w = 100},  // b as the wrong class
        {.truth = {a}, .found = {found(a, 0, 0.52f), found(a, 0, 0.51f)}, .h = 100, .w = 100},   // twice
        {.truth = {}, .found = {found(a, 1, 0.22f)}, .h = 100, .w = 100},
        {.truth = {}, .found = {}, .h = 100, .w = 100}};
    const BoxMetrics m = measure_boxes(images, 2);
    ASSERT_EQ(m.thresholds.size(), 19u);
    const ThresholdRow &low = m.thresholds[0], &half = m.thresholds[9], &high = m.thresholds[10];
    EXPECT_EQ(low.right, 2u);
    EXPECT_EQ(low.wrong, 3u);
    EXPECT_EQ(low.missed, 1u);
    EXPECT_EQ(low.empty, 2u);
    EXPECT_EQ(low.empty_alarmed, 1u);
    EXPECT_DOUBLE_EQ(half.threshold, 0.5);
    EXPECT_DOUBLE_EQ(half.precision(), 2.0 / 3);
    EXPECT_DOUBLE_EQ(half.recall(), 2.0 / 3);
    EXPECT_EQ(half.full_found, 2u);
    EXPECT_EQ(half.empty_alarmed, 0u);
    EXPECT_EQ(high.full_found, 1u);
    EXPECT_DOUBLE_EQ(m.best().threshold, 0.35);  // the lowest with the best F1, from 0.35 to 0.5
    EXPECT_EQ(m.classes[0].right, 2u);
    EXPECT_EQ(m.classes[0].wrong, 1u);
    EXPECT_EQ(m.classes[1].truth, 1u);
}

TEST(BoxMetrics, NothingToFindIsNoNumber) {
    const BoxMetrics m = measure_boxes({{.truth = {}, .found = {}, .h = 10, .w = 10}}, 2);
    EXPECT_TRUE(std::isnan(m.map) && std::isnan(m.map50) && std::isnan(m.best().f1()));
    EXPECT_TRUE(to_json(m, {"a", "b"}).at("map").is_number_float());
    EXPECT_THROW(measure_boxes({{.truth = {{2, 0, 0, 1, 1}}, .found = {}}}, 2), Error);
    EXPECT_THROW(measure_boxes({{.truth = {}, .found = {{0, 1.5f, 0, 0, 1, 1}}}}, 2), Error);
}

}  // namespace
