// Every operation on a GPU against simt, value by value, in three types; recorded and eager training alike. Needs a
// GPU.
#include <gtest/gtest.h>

#include <cstdlib>

#include "models/resnet.h"
#include "tests/check_op.h"
#include "tests/images.h"
#include "train/trainer.h"

namespace {

std::unique_ptr<Device> gpu_or_null(std::string& reason) {
    try {
        return open_device("cuda", {.deterministic = true});  // cuDNN proposes engines whose bits depend on timing
    } catch (const Error& e) {
        reason = e.what();
        EXPECT_FALSE(std::getenv("TUNDRA_GPU")) << reason;  // set where there is a GPU: a skip is no success there
        return nullptr;
    }
}

TEST(KernelsCuda, EveryOperationEqualsSimt) {
    std::string reason;
    const auto cuda = gpu_or_null(reason);
    if (!cuda) GTEST_SKIP() << reason;
    const auto simt = open_simt();
    for (const OpCase& test : op_cases())
        for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
            if (type != DType::f32 && !test.has_types()) continue;
            SCOPED_TRACE(test.name + " " + std::string(to_string(type)));
            CaseGraph on_simt(*simt, test, type), on_cuda(*cuda, test, type);
            const auto want = on_simt.run(), eager = on_cuda.run(), recorded = on_cuda.run();
            EXPECT_EQ(eager, recorded) << "a recorded run gives other bits";
            compare(test, on_simt, want, eager, type, 2);
        }
}

// A tiny ResNet: recorded equals eager bit for bit where engines are deterministic, and follows cpu.
TEST(KernelsCuda, TrainingFollowsCpuAndReplaysItself) {
    std::string reason;
    if (!gpu_or_null(reason)) GTEST_SKIP() << reason;
    const TemporaryFolder choices;  // of engines, which the two runs share
    ASSERT_EQ(setenv("XDG_CACHE_HOME", choices.path.c_str(), 1), 0);
    const Model model = make_model(ResNetConfig{.depth = 50, .classes = 2, .width = 16});
    const auto losses = [&](const char* kind, bool eager) {
        const auto device = open_device(kind, {.deterministic = true});
        Arena arena(*device);
        Trainer trainer(*device, arena,
                        {.model = model,
                         .batch = 8,
                         .height = 64,
                         .width = 64,
                         .normalize = {{0.02f, 0.02f, 0.02f}, {-2, -2, -2}},
                         .loss = classification_loss(),
                         .eager = eager},
                        initialize_state(model, 1));
        std::mt19937 rng(4);
        Floats result;
        Batch batch = blank_batch({.batch = 8, .fit = {.size = 64}});
        for (size_t step = 1; step <= 20; ++step) {
            for (uint8_t& p : batch.images) p = uint8_t(rng());
            for (int32_t& label : batch.labels) label = int32_t(rng() % 2);
            trainer.step(batch, step < 10 ? 0.01 : 0.002, 0.9, step);
            result.push_back(float(trainer.stats().loss));
        }
        return result;
    };
    const Floats recorded = losses("cuda", false), eager = losses("cuda", true), cpu = losses("cpu", false);
    EXPECT_EQ(recorded, eager);
    for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(recorded[i], cpu[i], 2e-3 * (1 + cpu[i])) << "step " << i + 1;
}

}  // namespace
