// A small ResNet trains 20 steps with the CUDA kernels on simt, and with nvcc on ptx, and follows cpu: float32 closely,
// bf16 as far as its 8 bits go.
#include <gtest/gtest.h>

#include <random>

#include "models/resnet.h"
#include "train/trainer.h"

namespace {

constexpr size_t kBatch = 4, kSize = 32, kClasses = 2, kSteps = 20;

std::vector<float> losses(const char* kind, DType precision, size_t steps = kSteps, bool joined = false) {
    const auto device = open_device(kind, {.threads = 2});
    Arena arena(*device);
    const Model model = make_model(ResNetConfig{.depth = 50, .classes = kClasses, .width = 8});
    Trainer trainer(*device, arena,
                    {.model = model,
                     .batch = kBatch,
                     .height = kSize,
                     .width = kSize,
                     .normalize = {{1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, {-2, -2, -2}},
                     .loss = classification_loss(),
                     .precision = precision,
                     .join_gradients = joined},
                    initialize_state(model, 3));
    EXPECT_EQ(trainer.joins_gradients(), joined);
    std::mt19937 rng(5);
    std::vector<float> result;
    Batch batch = blank_batch({.batch = kBatch, .fit = {.size = kSize}});
    for (size_t step = 1; step <= steps; ++step) {
        batch.images.clear(), batch.labels.clear();
        for (size_t i = 0; i < kBatch; ++i) {  // dark and bright noise: the two classes
            const auto label = int32_t((step + i) % kClasses);
            for (size_t p = 0; p < kSize * kSize * 3; ++p)
                batch.images.push_back(uint8_t(rng() % 128 + (label ? 128 : 0)));
            batch.labels.push_back(label);
        }
        trainer.step(batch, 0.005, 0.9, step);
        result.push_back(float(trainer.stats().loss));
    }
    return result;
}

// The two devices add in different orders, and what they differ by grows from step to step: float32 stays within 1e-3.
// bf16 rounds every activation to 8 bits while four images make the statistics: 0.12 was seen, the bound is twice and
// a half that.
void follows_cpu(const char* kind) {
    const std::vector<float> cpu = losses("cpu", DType::f32), gpu = losses(kind, DType::f32),
                             half = losses(kind, DType::bf16);
    double first = 0, last = 0;
    for (size_t i = 0; i < 5; ++i) first += cpu[i], last += cpu[kSteps - 1 - i];
    EXPECT_LT(last, first) << "nothing was learned";
    for (size_t i = 0; i < kSteps; ++i) {
        EXPECT_NEAR(gpu[i], cpu[i], 1e-3 * (1 + cpu[i])) << "step " << i + 1;
        EXPECT_NEAR(half[i], cpu[i], 0.3 * (1 + cpu[i])) << "bf16, step " << i + 1;
    }
}

// Gradients that meet at the end of a block, added in the convolution before it: the same bits in float32; in bf16 one
// rounding less. 3 s.
void joins_gradients(const char* kind) {
    constexpr size_t kJoined = 3;
    EXPECT_EQ(losses(kind, DType::f32, kJoined, true), losses(kind, DType::f32, kJoined));
    const std::vector<float> want = losses(kind, DType::bf16, kJoined), got = losses(kind, DType::bf16, kJoined, true);
    for (size_t i = 0; i < kJoined; ++i) EXPECT_NEAR(got[i], want[i], 0.05 * (1 + want[i])) << "bf16, step " << i + 1;
}

TEST(TrainSimt, FollowsCpu) { follows_cpu("simt"); }
TEST(TrainSimt, JoinsGradients) { joins_gradients("simt"); }
#ifdef TUNDRA_HAS_CUDA
TEST(TrainPtx, FollowsCpu) { follows_cpu("ptx"); }
TEST(TrainPtx, JoinsGradients) { joins_gradients("ptx"); }
#endif

}  // namespace
