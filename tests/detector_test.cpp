// The network as `tundra detect` runs it: augmented inference, batches, devices, and numbers that overflow.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "engine/program.h"
#include "predict/detector.h"
#include "tests/golden.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The pixels of a golden image through the whole detector, against PyTorch's augmented inference
// (tests/data/make_tta.py).
TEST(DetectorAugmented, EqualsPyTorch) {
    const json expected = golden_json(TUNDRA_TESTS "/data/tta.json").at("models");
    const fs::path golden = TUNDRA_TESTS "/golden";  // the numbers are those of this copy
    const auto device = open_device("cpu", {.threads = 1});
    size_t compared = 0;
    double worst = 0;
    for (const auto& [name, images] : expected.items()) {
        const DetectorModel model = read_detector(golden / name / "model.pt");
        for (const auto& [image, wanted] : images.items()) {
            const size_t h = wanted.at("h"), w = wanted.at("w");
            const std::vector<uint8_t> pixels =
                golden_tensors(golden / name / (image + ".safetensors")).at("letterboxed_rgb_hwc").as<uint8_t>();
            for (const json& setting : wanted.at("settings")) {
                SCOPED_TRACE(fmt::format("{} {} {}", name, image, setting.at("threshold").dump()));
                if (setting.at("margin") < 4e-6) continue;  // float32 may decide otherwise
                Detector detector(
                    *device, model,
                    {.threshold = setting.at("threshold"), .iou_threshold = setting.at("overlap"), .augmented = true});
                std::vector<Box> found = detector.run(pixels, h, w)[0];
                EXPECT_EQ(found.size(), setting.at("detections").size());
                for (const json& row : setting.at("detections")) {
                    const std::vector<double> want = row;
                    const auto distance = [&](const Box& b) {
                        const double near[] = {b.x1 - want[0], b.y1 - want[1], b.x2 - want[2], b.y2 - want[3]};
                        double most = b.category == int(want[5]) ? 0 : 1e9;
                        for (const double v : near) most = std::max(most, std::abs(v));
                        return most + 1000 * std::abs(double(b.score) - want[4]);
                    };
                    const auto best = std::ranges::min_element(found, {}, distance);
                    ASSERT_NE(best, found.end());
                    worst = std::max(worst, distance(*best));
                    found.erase(best);
                }
                ++compared;
            }
        }
    }
    printf("%zu selections, the worst box is off by %.2g pixels, or its score by a thousandth of that\n", compared,
           worst);
    EXPECT_GE(compared, 6u);
    EXPECT_LT(worst, 0.2);  // in float32 PyTorch's own scores of the networks without anchors are off by 2e-4
}

// A pass sees a point of the image where its boxes are mapped back from.
TEST(DetectorAugmented, PassesMapBack) {
    const YoloConfig config = yolov5_config("s6", 3);
    for (const auto& [h, w] : {std::pair<size_t, size_t>{960, 1280}, {768, 1280}, {64, 64}}) {
        const std::vector<Pass> passes = detector_passes(h, w, make_model(config), true);
        ASSERT_EQ(passes.size(), 3u);
        EXPECT_EQ(detector_passes(h, w, make_model(config), false).size(), 1u);
        for (const Pass& pass : passes) {
            EXPECT_EQ(pass.out_h % 64 + pass.out_w % 64, 0u);
            EXPECT_GE(pass.out_h, pass.inner_h);
            EXPECT_LT(pass.out_h - pass.inner_h, 64u);
        }
        EXPECT_TRUE(!passes[0].mirrored && passes[1].mirrored && !passes[2].mirrored);
        EXPECT_EQ(passes[1].inner_w, size_t(0.83 * double(w)));
        EXPECT_EQ(passes[0].last_level, 3u);
        EXPECT_EQ(passes[2].first_level, 1u);
    }
    // A head of zeros has its boxes on the middles of the cells: x = (0.5 + j) stride in the pass, mirrored and
    // enlarged in the image.
    const auto device = open_device("cpu", {.threads = 1});
    auto graph = std::make_unique<Graph>();
    const Value head = graph->input("head", {1, 2, 3, 18}, DType::f32);
    const std::vector<BoxLevel> levels{{.stride = 8 / 0.5f, .anchors = {{{10, 20}, {1, 1}, {1, 1}}}, .mirror = 100}};
    const Value boxes = decode_boxes(std::array{head}, levels, 1);
    Parameters parameters(*device, *graph);
    Arena arena(*device);
    Program program(arena, std::move(graph), parameters, std::array{boxes});
    program.write<float>(head, std::vector<float>(2 * 3 * 18, 0.0f));
    program.run();
    const std::vector<float> found = program.read<float>(boxes);
    for (size_t j = 0; j < 3; ++j) {
        EXPECT_EQ(found[j * 6], 100 - (0.5f + float(j)) * 16);
        EXPECT_EQ(found[j * 6 + 1], 8);
        EXPECT_EQ(found[j * 6 + 2], 10);
        EXPECT_EQ(found[j * 6 + 3], 20);
    }
}

DetectorModel random_yolov5() {
    DetectorModel model{.file_name = "random", .config = yolov5_config(false, 0.33, 0.0625, 2), .classes = {"a", "b"}};
    const auto cpu = open_device("cpu", {.threads = 1});
    Graph graph;
    yolov5(graph.input("x", {1, 32, 32, 3}, DType::f32), model.config);
    Parameters parameters(*cpu, graph);
    initialize(parameters, 3);
    model.state = download(parameters);
    return model;
}

std::vector<DetectorModel> small_detectors() {
    std::vector<DetectorModel> models = {random_yolov5()};
    for (const char* name : {"yolo11_tiny_best", "yolov9c_cedar_tiny"})
        models.push_back(read_detector(fs::path(TUNDRA_TESTS "/golden/yolo11") / name / "model.pt"));
    return models;
}

// The network itself: an image's boxes do not depend on what else is in the batch, and simt gives those of cpu.
void check_batches_and_simt(const DetectorModel& model) {
    const auto cpu = open_device("cpu", {.threads = 2}), simt = open_device("simt", {.threads = 2});
    std::vector<uint8_t> pixels(3 * 64 * 96 * 3);
    std::mt19937 random(1);
    for (uint8_t& v : pixels) v = uint8_t(random());
    const size_t bytes = 64 * 96 * 3;
    for (const bool augmented : {false, true}) {
        DetectorOptions options{.batch = 3, .threshold = 0.05f, .max_boxes = 20, .augmented = augmented};
        Detector batches(*cpu, model, options);
        const auto all = batches.run(pixels, 64, 96);
        const auto same = [](const Box& a, const Box& b) {
            return a.x1 == b.x1 && a.y1 == b.y1 && a.x2 == b.x2 && a.y2 == b.y2 && a.score == b.score;
        };
        for (size_t i = 0; i < 3; ++i) {
            const auto alone = batches.run(std::span(pixels).subspan(i * bytes, bytes), 64, 96)[0];
            ASSERT_GT(alone.size(), 0u);
            EXPECT_TRUE(std::ranges::equal(all[i], alone, same)) << i;
        }
        options.batch = 1;
        Detector emulated(*simt, model, options);
        const auto found = emulated.run(std::span(pixels).first(bytes), 64, 96)[0];
        ASSERT_EQ(found.size(), all[0].size());
        for (size_t i = 0; i < found.size(); ++i) {
            EXPECT_NEAR(found[i].x1, all[0][i].x1, 1e-3 * (1 + std::abs(all[0][i].x1)));
            EXPECT_NEAR(found[i].score, all[0][i].score, 1e-4);
        }
    }
}
TEST(Detector, BatchesAndSimt) {
    for (const DetectorModel& model : small_detectors()) check_batches_and_simt(model);
}

// Finite weights whose sums overflow: an error that says so, not an image without boxes.
void check_overflow(DetectorModel model) {
    for (auto& [name, tensor] : model.state)
        for (float& v : tensor.values.mutable_data()) v *= 1e12f;
    for (const char* kind : {"cpu", "simt"}) {
        const auto device = open_device(kind, {.threads = 2});
        Detector detector(*device, model, {});
        const std::vector<uint8_t> pixels(32 * 32 * 3, 200);
        try {
            detector.run(pixels, 32, 32);
            FAIL() << kind << ": no error";
        } catch (const Error& e) {
            EXPECT_EQ(e.fault, Fault::not_finite);
            EXPECT_NE(std::string(e.what()).find("overflow"), std::string::npos) << e.what();
        }
        std::vector<bool> overflown;
        EXPECT_TRUE(detector.run(pixels, 32, 32, &overflown)[0].empty());
        EXPECT_EQ(overflown, std::vector<bool>{true});
    }
}
TEST(Detector, OverflowIsAnError) {
    for (const DetectorModel& model : small_detectors()) check_overflow(model);
}

}  // namespace
