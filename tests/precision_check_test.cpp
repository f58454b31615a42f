// The check of bf16 against float32, where it is stored, and what --precision auto makes of it. Under 1 s.
#include "predict/precision_check.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/safetensors.h"
#include "models/resnet.h"
#include "predict/model_file.h"
#include "predict/precision.h"

namespace {

// n images of two classes; float32 is right but for `wrong`, bf16 differs from it in `changed`, from the last on.
PrecisionCheck classes(size_t n, size_t wrong, size_t changed, bool labelled = true) {
    Predictions a, b;
    for (uint32_t i = 0; i < n; ++i) {
        const uint32_t label = i % 2, said = i < wrong ? 1 - label : label;
        a.rows.push_back({i, label, said, 0.9f, 0.1f, {}});
        b.rows.push_back({i, label, i >= n - changed ? 1 - said : said, 0.9f, 0.1f, {}});
    }
    return compare_classes(a, b, labelled);
}

TEST(PrecisionCheck, ClassifierMayLoseHalfAPoint) {
    EXPECT_TRUE(classes(1000, 30, 0).passed());
    EXPECT_TRUE(classes(1000, 30, 5).passed());
    EXPECT_FALSE(classes(1000, 30, 6).passed());
    EXPECT_FALSE(classes(150, 0, 1).passed());
    EXPECT_TRUE(classes(100, 3, 0).passed());
    EXPECT_FALSE(classes(99, 3, 0).passed()) << "99 images show too little";
    EXPECT_FALSE(classes(999, 3, 0, false).passed());
    EXPECT_TRUE(classes(1000, 999, 5, false).passed()) << "labels do not count";
    EXPECT_FALSE(PrecisionCheck{}.passed());
    const std::vector<std::string> lines = classes(99, 3, 1).lines();
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_NE(lines[0].find("float32 0.9697  bf16 0.9596"), std::string::npos) << lines[0];
    EXPECT_NE(lines[1].find("loses more than 0.005"), std::string::npos) << lines[1];
    EXPECT_NE(lines[2].find("100 are needed"), std::string::npos) << lines[2];
}

// Gains are no loss: bf16 is right where float32 was not, but then the classes differ.
TEST(PrecisionCheck, AccuracyMayRise) {
    Predictions a, b;
    for (uint32_t i = 0; i < 400; ++i) {
        a.rows.push_back({i, 0, i < 2, 0.9f, 0.1f, {}});
        b.rows.push_back({i, 0, 0, 0.9f, 0.1f, {}});
    }
    EXPECT_TRUE(compare_classes(a, b, true).passed());
}

// Images of 1000 x 500 pixels, seen at 500: objects of 10, 40 and 100 pixels there, one of each per image.
FoundBoxes boxes(size_t n, float score, size_t lost_of_size, size_t lost) {
    FoundBoxes all;
    const float sides[] = {0.02f, 0.08f, 0.2f};
    for (uint32_t i = 0; i < n; ++i) {
        ImageBoxes image{.truth = {}, .found = {}, .h = 500, .w = 1000};
        for (uint32_t size = 0; size < 3; ++size) {
            const float w = sides[size], x = 0.1f + 0.3f * float(size);
            image.truth.push_back({size % 2, x, 0.1f, w, 2 * w});
            if (size == lost_of_size && i < lost) continue;
            image.found.push_back({size % 2, score, x + 0.1f * w, 0.1f, w, 2 * w});
        }
        all.samples.push_back(i), all.images.push_back(image);
    }
    return all;
}

TEST(PrecisionCheck, DetectorMayLoseAPointOfEachSize) {
    const FoundBoxes exact = boxes(200, 0.5f, 0, 0);
    const auto check = [&](const FoundBoxes& other, bool labelled = true) {
        return compare_boxes(exact, other, 2, 500, labelled);
    };
    const PrecisionCheck same = check(exact);
    ASSERT_EQ(same.rows.size(), 4u);
    EXPECT_EQ(same.rows[0].what, "mAP50");
    for (size_t size = 1; size < 4; ++size) EXPECT_EQ(same.rows[size].count, 200u) << same.rows[size].what;
    EXPECT_TRUE(same.passed());
    for (size_t size = 0; size < 3; ++size) {
        const PrecisionCheck two = check(boxes(200, 0.5f, size, 2)), many = check(boxes(200, 0.5f, size, 3));
        EXPECT_DOUBLE_EQ(two.rows[1 + size].other, 0.99);
        EXPECT_TRUE(two.rows[1 + size].holds());
        EXPECT_FALSE(many.rows[1 + size].holds()) << many.rows[1 + size].what;
        EXPECT_FALSE(many.passed());
    }
    EXPECT_FALSE(check(boxes(200, 0.19f, 0, 0)).passed()) << "nothing reaches the score of 0.2";
    FoundBoxes moved = exact;
    for (ImageBoxes& image : moved.images)
        for (FoundBox& box : image.found) box.x += box.w;
    EXPECT_FALSE(check(moved).passed());
    FoundBoxes renamed = exact;
    for (ImageBoxes& image : renamed.images)
        for (FoundBox& box : image.found) box.category = 1 - box.category;
    EXPECT_FALSE(check(renamed).passed());
}

TEST(PrecisionCheck, WithoutTrueBoxesThoseOfFloat32Count) {
    const FoundBoxes exact = boxes(1000, 0.21f, 0, 0), lower = boxes(1000, 0.15f, 0, 0),
                     lost = boxes(1000, 0.21f, 0, 11);
    EXPECT_TRUE(compare_boxes(exact, lower, 2, 500, false).passed());
    EXPECT_FALSE(compare_boxes(exact, lost, 2, 500, false).passed());
    EXPECT_FALSE(compare_boxes(exact, boxes(1000, 0.09f, 0, 0), 2, 500, false).passed());
}

TEST(PrecisionCheck, IsStoredWithTheWeightsAndOnlyForThem) {
    std::string name = (std::filesystem::temp_directory_path() / "precision_check_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    const std::filesystem::path folder = name;
    const Model model = make_model(ResNetConfig{.depth = 50, .classes = 2, .width = 8});
    ModelFile file{.model = model, .classes = {"a", "b"}, .input = {}, .state = initialize_state(model, 1)};
    const std::filesystem::path path = folder / "model.safetensors";
    write_model(path, file);
    ModelFile read = read_model(path);
    EXPECT_EQ(read.bf16_check, "");
    EXPECT_FALSE(check_passed(read.bf16_check, read.state));
    PrecisionCheck check = classes(200, 0, 0);
    check.weights = fingerprint(read.state);
    store_check(path, check);
    read = read_model(path);
    EXPECT_TRUE(check_passed(read.bf16_check, read.state));
    EXPECT_EQ(fingerprint(read.state), check.weights);
    const SafetensorsFile stored = SafetensorsFile::open(path);
    EXPECT_TRUE(stored.metadata().contains("tundra.classes"));
    read.state.begin()->second.values.mutable_data()[0] += 1;
    EXPECT_FALSE(check_passed(read.bf16_check, read.state)) << "other weights";
    check.fewest = 201;
    store_check(path, check);
    read = read_model(path);
    EXPECT_FALSE(check_passed(read.bf16_check, read.state)) << "a failed check";
    for (const char* text : {"", "{}", "[]", "{\"passed\":true}", "{\"passed\":1,\"weights\":\"\"}", "}{", "null"})
        EXPECT_FALSE(check_passed(text, read.state)) << text;
    EXPECT_THROW(store_check(folder / "model.pt", check), Error);
    std::filesystem::remove_all(folder);
}

TEST(Precision, AutoTakesBf16WhereItIsCheckedAndFaster) {
    const auto cpu = open_device("cpu"), simt = open_device("simt");
    size_t timed = 0;
    const auto choose = [&](PrecisionWish wish, double bf16_seconds, Device& device) {
        timed = 0;
        return choose_precision(wish, device, [&](DType type) {
            ++timed;
            return type == DType::bf16 ? bf16_seconds : 0.2;
        });
    };
    const PrecisionWish checked{.named = "auto", .checked = true};
    EXPECT_EQ(choose(checked, 0.1, *cpu).type, DType::bf16);
    EXPECT_EQ(to_text(choose(checked, 0.1, *cpu)), "bf16 (auto: bf16 takes 0.50 of float32's time here)");
    EXPECT_EQ(choose(checked, 0.185, *cpu).type, DType::f32);
    EXPECT_NE(choose(checked, 0.185, *cpu).why, "");
    EXPECT_EQ(timed, 12u);
    choose(checked, 5, *cpu);
    EXPECT_EQ(timed, 2u) << "a slow network is timed once";
    EXPECT_EQ(choose({.named = "auto"}, 0.1, *cpu).type, DType::f32);
    EXPECT_EQ(to_text(choose({.named = "auto"}, 0.1, *cpu)), "fp32");
    EXPECT_EQ(choose({.named = "auto", .checked = true, .alone = "shards"}, 0.1, *cpu).type, DType::f32);
    EXPECT_EQ(timed, 0u);
    EXPECT_EQ(choose({.named = "auto", .earlier = "fp32", .checked = true}, 0.1, *cpu).type, DType::f32);
    EXPECT_EQ(choose({.named = "auto", .earlier = "bf16"}, 9, *cpu).type, DType::bf16) << "what began in bf16 stays so";
    EXPECT_EQ(timed, 0u);
    EXPECT_EQ(choose({.named = "bf16"}, 9, *cpu).type, DType::bf16);
    EXPECT_EQ(choose({.named = "auto", .automatic = DType::bf16}, 9, *simt).type, DType::bf16);
    EXPECT_THROW(choose({.named = "fp16"}, 9, *cpu), Error);
}

}  // namespace
