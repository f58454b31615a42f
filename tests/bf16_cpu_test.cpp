// bf16 on the device cpu: every operation of the table of cases beside float32, whatever the number of threads; a small
// ResNet learns as in float32; boxes of a detector. 8 s.
#include <random>

#include "base/safetensors.h"
#include "models/files/detector_file.h"
#include "models/resnet.h"
#include "predict/detector.h"
#include "tests/check_op.h"
#include "train/trainer.h"

namespace {

TEST(Bf16, EveryOperationAgreesWithFloat32AndNotWithTheNumberOfThreads) {
    std::vector<std::unique_ptr<Device>> cpus;
    for (const int threads : {1, 2, 3}) cpus.push_back(open_device("cpu", {.threads = threads}));
    size_t cases = 0;
    for (const OpCase& test : op_cases()) {
        if (!test.has_types()) continue;
        SCOPED_TRACE(test.name);
        CaseGraph exact(*cpus[0], test, DType::f32);
        exact.round_inputs(DType::bf16);
        const std::vector<Floats> want = exact.run();
        std::vector<Floats> first;
        for (const auto& cpu : cpus) {
            CaseGraph graph(*cpu, test, DType::bf16);
            graph.round_inputs(DType::bf16);
            const std::vector<Floats> got = graph.run();
            compare(test, exact, want, got, DType::bf16);
            if (first.empty()) first = got;
            EXPECT_EQ(first, got) << "the result depends on the number of threads";
            if (HasFatalFailure()) return;
        }
        ++cases;
    }
    EXPECT_GT(cases, 80u);
}

TEST(Bf16, Fp16IsRefusedByCpu) {
    const auto cpu = open_device("cpu");
    EXPECT_EQ(precision_named("bf16", *cpu, DType::f32), DType::bf16);
    try {
        precision_named("fp16", *cpu, DType::f32);
        FAIL();
    } catch (const Error& e) {
        EXPECT_STREQ(e.what(), "--precision fp16: the device cpu computes in fp32 or bf16");
    }
}

// Dark and bright noise. The loss of each step.
std::vector<float> losses(DType precision) {
    constexpr size_t kBatch = 8, kSize = 32;
    const auto device = open_device("cpu", {.threads = 2});
    Arena arena(*device);
    const Model model = make_model(ResNetConfig{.depth = 50, .classes = 2, .width = 8});
    Trainer trainer(*device, arena,
                    {.model = model,
                     .batch = kBatch,
                     .height = kSize,
                     .width = kSize,
                     .normalize = {{1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, {-2, -2, -2}},
                     .loss = classification_loss(),
                     .precision = precision},
                    initialize_state(model, 3));
    std::mt19937 rng(5);
    std::vector<float> result;
    Batch batch = blank_batch({.batch = kBatch, .fit = {.size = kSize}});
    for (size_t step = 1; step <= 30; ++step) {
        batch.images.clear(), batch.labels.clear();
        for (size_t i = 0; i < kBatch; ++i) {
            const auto label = int32_t((step + i) % 2);
            for (size_t p = 0; p < kSize * kSize * 3; ++p)
                batch.images.push_back(uint8_t(rng() % 128 + (label ? 128 : 0)));
            batch.labels.push_back(label);
        }
        trainer.step(batch, 0.005, 0.9, step);
        result.push_back(float(trainer.stats().loss));
    }
    return result;
}

TEST(Bf16, TrainingFollowsFloat32) {
    const std::vector<float> fp32 = losses(DType::f32), bf16 = losses(DType::bf16);
    double last[2] = {}, apart = 0;
    for (size_t i = 0; i < fp32.size(); ++i) apart = std::max(apart, std::fabs(double(fp32[i]) - bf16[i]));
    for (size_t i = fp32.size() - 5; i < fp32.size(); ++i) last[0] += fp32[i] / 5, last[1] += bf16[i] / 5;
    printf("largest difference of a step's loss %.4f; last five: %.4f, in bf16 %.4f\n", apart, last[0], last[1]);
    EXPECT_LT(last[1], 0.5 * bf16[0]);
    EXPECT_NEAR(last[1], last[0], 0.05);
    EXPECT_GT(apart, 1e-5) << "bf16 was not computed in bf16";
}

// Boxes with a score of at least 0.1 of random weights, which rounding moves more than trained ones: nine of ten are at
// the same places, within 3 pixels and 2 % of the longer side, and their scores within 0.1.
TEST(Bf16, BoxesOfADetector) {
    const std::filesystem::path folder = TUNDRA_TESTS "/golden/yolo/yolov5_p6_tiny";
    const auto cpu = open_device("cpu", {.threads = 2});
    const DetectorModel model = read_detector(folder / "model.pt");
    size_t all = 0, same = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().extension() != ".safetensors") continue;
        const SafetensorsFile file = SafetensorsFile::open(entry.path());
        const FileTensor& picture = file.at("letterboxed_rgb_hwc");
        const std::vector<uint8_t> pixels = elements<uint8_t>(picture);
        std::vector<Box> boxes[2];
        for (size_t p = 0; p < 2; ++p)
            boxes[p] = Detector(*cpu, model, {.threshold = p ? 0.05f : 0.1f, .precision = p ? DType::bf16 : DType::f32})
                           .run(pixels, picture.shape[0], picture.shape[1])[0];
        all += boxes[0].size();
        for (const Box& a : boxes[0])
            same += std::ranges::any_of(boxes[1], [&](const Box& b) {
                const float limit = 3 + 0.02f * std::max(a.x2 - a.x1, a.y2 - a.y1);
                return a.category == b.category && std::fabs(a.x1 - b.x1) < limit && std::fabs(a.y1 - b.y1) < limit &&
                       std::fabs(a.x2 - b.x2) < limit && std::fabs(a.y2 - b.y2) < limit &&
                       std::fabs(a.score - b.score) < 0.1f;
            });
    }
    printf("%zu boxes in float32, %zu of them at the same places in bf16\n", all, same);
    ASSERT_GT(all, 20u);
    EXPECT_GE(same, all * 8 / 10);  // random weights: 26 of 28 by plain loops, 24 by VDPBF16PS
}

}  // namespace
