// Repeat detections: groups as the package megadetector makes them, the criterion of time, and planted rocks. 0.6 s.
#include "app/detect/repeats.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "app/detect/result_file.h"
#include "app/synth/synth.h"
#include "base/csv.h"
#include "data/exif.h"

namespace {

namespace fs = std::filesystem;
using Groups = std::vector<std::vector<uint32_t>>;

constexpr RepeatOptions kNoDates{.occurrences = 2, .days = 0, .hours = 0};

CameraBox box(double x, double w = 0.2, int category = 1, double confidence = 0.5, int64_t time = -1) {
    return {.category = category, .confidence = confidence, .x = x, .y = 0.3, .w = w, .h = 0.2, .time = time};
}

double overlap(const CameraBox& a, const CameraBox& b) {
    const auto area = [](const CameraBox& c) { return (c.x + c.w - c.x) * (c.y + c.h - c.y); };
    const double w = std::min(a.x + a.w, b.x + b.w) - std::max(a.x, b.x);
    const double h = std::min(a.y + a.h, b.y + b.h) - std::max(a.y, b.y);
    return w < 0 || h < 0 ? 0 : w * h / (area(a) + area(b) - w * h);
}

}  // namespace

TEST(Repeats, AGroupIsComparedWithItsFirstBoxAndABoxMayBeInSeveral) {
    // 0.2 wide: a shift of 0.01 has IoU 0.905, of 0.02 0.818. Box 1 starts a group of its own; box 2 is near both.
    EXPECT_EQ(find_repeats(std::vector{box(0.1), box(0.12), box(0.11)}, kNoDates), (Groups{{0, 2}, {1, 2}}));
    // In another order everything belongs to the first.
    EXPECT_EQ(find_repeats(std::vector{box(0.11), box(0.1), box(0.12)}, kNoDates), (Groups{{0, 1, 2}}));
}

TEST(Repeats, OtherCategoriesSizesAndConfidencesStayApart) {
    EXPECT_TRUE(find_repeats(std::vector{box(0.1), box(0.1, 0.2, 2)}, kNoDates).empty());
    EXPECT_TRUE(find_repeats(std::vector{box(0.1), box(0.1, 0.2, 1, 0.05)}, kNoDates).empty());
    EXPECT_TRUE(find_repeats(std::vector{box(0, 1.0), box(0, 1.0)}, {.max_area = 0.1, .occurrences = 2}).empty());
    EXPECT_TRUE(find_repeats(std::vector{box(0.1, 0), box(0.1, 0)}, kNoDates).empty());
    EXPECT_EQ(find_repeats(std::vector{box(0.1), box(0.1), box(0.1)}, kNoDates).size(), 1u);
    EXPECT_TRUE(find_repeats(std::vector{box(0.1), box(0.1)}, {.days = 0, .hours = 0}).empty());  // 20 are needed
}

TEST(Repeats, TheGridFindsWhatComparingAllFinds) {
    for (const double iou : {0.15, 0.5, 0.9, 1.0}) {
        std::vector<CameraBox> boxes;
        uint64_t state = 7;
        const auto draw = [&] {
            return double((state = state * 6364136223846793005u + 1442695040888963407u) >> 40) / (1 << 24);
        };
        for (int i = 0; i < 400; ++i) {
            CameraBox one{
                .category = 1, .confidence = 0.5, .x = draw() * 0.9 - 0.02, .y = draw() * 0.9, .w = 0, .h = 0};
            one.w = 0.05 + 0.3 * draw(), one.h = 0.05 + 0.3 * draw();
            boxes.push_back(one);
            if (i % 3 == 0) boxes.push_back(boxes[size_t(draw() * double(boxes.size()))]);
        }
        Groups expected;
        for (uint32_t i = 0; i < boxes.size(); ++i) {
            bool found = false;
            for (std::vector<uint32_t>& group : expected)
                if (i != group[0] && overlap(boxes[i], boxes[group[0]]) >= iou) group.push_back(i), found = true;
            if (!found) expected.push_back({i});
        }
        std::erase_if(expected, [](const auto& group) { return group.size() < 2; });
        EXPECT_EQ(find_repeats(boxes, {.iou = iou, .max_area = 1, .occurrences = 2, .days = 0, .hours = 0}), expected)
            << iou;
    }
}

TEST(Repeats, AnAnimalThatRestsIsNoRock) {
    const int64_t evening = 20320 * 86400 + 22 * 3600;
    std::vector<CameraBox> boxes;
    for (int i = 0; i < 40; ++i) boxes.push_back(box(0.1, 0.2, 1, 0.9, evening + i * 600));  // seven hours, two dates
    EXPECT_TRUE(find_repeats(boxes, {}).empty());
    EXPECT_EQ(find_repeats(boxes, {.days = 2}).size(), 1u);
    boxes.push_back(box(0.1, 0.2, 1, 0.9, evening + 3 * 86400));
    EXPECT_EQ(find_repeats(boxes, {}).size(), 1u);
    for (CameraBox& one : boxes) one.time = -1;
    EXPECT_TRUE(find_repeats(boxes, {}).empty());
}

TEST(Repeats, PlantedRocksAreFoundAndNoAnimalIsTouched) {
    std::string pattern = (fs::temp_directory_path() / "repeats_XXXXXX").string();
    const fs::path folder = mkdtemp(pattern.data());
    synthesize({.out = folder,
                .task = SynthTask::survey,
                .images = 320,
                .width = 160,
                .height = 120,
                .seed = 5,
                .cameras = 4,
                .threads = 2});
    std::ifstream in(folder / "truth.csv");
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    struct Truth {
        int64_t time = 0;
        std::vector<std::pair<CameraBox, bool>> boxes;  // and whether it is a rock
    };
    std::map<std::string, Truth> truth;
    const std::vector<CsvRow> rows = parse_csv(text, "truth.csv");
    for (size_t i = 1; i < rows.size(); ++i) {
        const std::vector<std::string>& f = rows[i].fields;
        Truth& image = truth[f[0]];
        image.time = exif_seconds(f[4]);
        if (!f[10].empty())
            image.boxes.push_back(
                {{.x = std::stod(f[10]), .y = std::stod(f[11]), .w = std::stod(f[12]), .h = std::stod(f[13])},
                 f[9] == "rock"});
    }
    std::map<std::string, std::pair<std::vector<CameraBox>, std::vector<bool>>> cameras;  // boxes, which are rocks
    for (const auto& [name, image] : read_results(folder / "detector.json").images)
        for (const auto& d : image["detections"]) {
            const CameraBox one{.category = std::stoi(d["category"].get<std::string>()),
                                .confidence = d["conf"],
                                .x = d["bbox"][0],
                                .y = d["bbox"][1],
                                .w = d["bbox"][2],
                                .h = d["bbox"][3],
                                .time = truth[name].time};
            const auto best =
                std::ranges::max_element(truth[name].boxes, {}, [&](const auto& t) { return overlap(one, t.first); });
            ASSERT_NE(best, truth[name].boxes.end());
            auto& [boxes, rocks] = cameras[name.substr(0, 12)];
            boxes.push_back(one), rocks.push_back(best->second);
        }
    fs::remove_all(folder);
    size_t rocks = 0, found = 0, animals = 0;
    for (const auto& [name, camera] : cameras) {
        const auto& [boxes, is_rock] = camera;
        std::set<uint32_t> repeated;
        for (const auto& group : find_repeats(boxes, {})) repeated.insert(group.begin(), group.end());
        for (uint32_t i = 0; i < boxes.size(); ++i) {
            rocks += is_rock[i];
            found += is_rock[i] && repeated.contains(i);
            animals += !is_rock[i];
            EXPECT_FALSE(!is_rock[i] && repeated.contains(i)) << name << " " << i;
        }
    }
    EXPECT_GT(rocks, 200u);
    EXPECT_GT(animals, 100u);
    EXPECT_GE(double(found), 0.95 * double(rocks)) << found << " of " << rocks;
}
