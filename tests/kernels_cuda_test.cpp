// Every operation on a GPU against simt, value by value, in three types; recorded and eager training alike.
//
// TUNDRA_GPU names the device that must be there (cuda; ptx for a rehearsal without a GPU): a skip is no success then.
// Without it the device is cuda, and the tests are skipped where no GPU is. tests/gpu_verify_test.sh runs them on ptx.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "models/resnet.h"
#include "tests/check_op.h"
#include "tests/images.h"
#include "train/trainer.h"

namespace {

const char* gpu_kind() {
    const char* kind = std::getenv("TUNDRA_GPU");
    return kind ? kind : "cuda";
}

std::unique_ptr<Device> gpu_or_null(std::string& reason) {
    try {
        return open_device(gpu_kind(), {.deterministic = true});  // cuDNN proposes engines whose bits depend on timing
    } catch (const Error& e) {
        reason = e.what();
        EXPECT_FALSE(std::getenv("TUNDRA_GPU")) << reason;
        return nullptr;
    }
}

bool from_libraries(const OpCase& test) {  // cuDNN's and cuBLASLt's
    return test.name.starts_with("conv") || test.name.starts_with("linear");
}

void compare_with_simt(bool libraries) {
    std::string reason;
    const auto gpu = gpu_or_null(reason);
    if (!gpu) GTEST_SKIP() << reason;
    const auto simt = open_simt();
    size_t compared = 0;
    for (const OpCase& test : op_cases())
        for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
            if (from_libraries(test) != libraries || (type != DType::f32 && !test.has_types())) continue;
            SCOPED_TRACE(test.name + " " + std::string(to_string(type)));
            CaseGraph on_simt(*simt, test, type), on_gpu(*gpu, test, type);
            const auto want = on_simt.run(), eager = on_gpu.run(), recorded = on_gpu.run();
            EXPECT_EQ(eager, recorded) << "a recorded run gives other bits";
            compare(test, on_simt, want, eager, type, 2);
            ++compared;
        }
    std::printf("%zu cases on %s\n", compared, gpu->description().c_str());
}

TEST(KernelsCuda, OwnKernelsEqualSimt) { compare_with_simt(false); }
TEST(KernelsCuda, OperationsOfLibrariesEqualSimt) { compare_with_simt(true); }

// Losses of a tiny ResNet; with `nccl` as the only rank of a training whose sums, and batch norms, go through NCCL.
Floats losses(const char* kind, bool eager, bool nccl = false) {
    const Model model = make_model(ResNetConfig{.depth = 50, .classes = 2, .width = 16});
    const size_t steps = std::string_view(gpu_kind()) == "cuda" ? 20 : 5;
    Ranks ranks;
    const auto device = open_device(kind, {.deterministic = true});
    const std::unique_ptr<GpuSums> sums = nccl ? device->sums(ranks) : nullptr;
    ranks.gpu_sums = sums.get();
    Arena arena(*device);
    Trainer trainer(*device, arena,
                    {.model = model,
                     .batch = 8,
                     .height = 64,
                     .width = 64,
                     .normalize = {{0.02f, 0.02f, 0.02f}, {-2, -2, -2}},
                     .loss = classification_loss(),
                     .eager = eager,
                     .ranks = nccl ? &ranks : nullptr,
                     .sync_batch_norm = nccl},
                    initialize_state(model, 1));
    std::mt19937 rng(4);
    Floats result;
    Batch batch = blank_batch({.batch = 8, .fit = {.size = 64}});
    for (size_t step = 1; step <= steps; ++step) {
        for (uint8_t& p : batch.images) p = uint8_t(rng());
        for (int32_t& label : batch.labels) label = int32_t(rng() % 2);
        trainer.step(batch, step < 10 ? 0.01 : 0.002, 0.9, step);
        result.push_back(float(trainer.stats().loss));
    }
    return result;
}

// Recorded equals eager bit for bit where engines are deterministic, and follows cpu. So does one rank through NCCL,
// where that is installed.
TEST(KernelsCuda, TrainingFollowsCpuAndReplaysItself) {
    std::string reason;
    const auto gpu = gpu_or_null(reason);
    if (!gpu) GTEST_SKIP() << reason;
    const TemporaryFolder choices;  // of engines, which the runs share
    ASSERT_EQ(setenv("XDG_CACHE_HOME", choices.path.c_str(), 1), 0);
    const Floats recorded = losses(gpu_kind(), false), eager = losses(gpu_kind(), true), cpu = losses("cpu", false);
    EXPECT_EQ(recorded, eager);
    for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(recorded[i], cpu[i], 2e-3 * (1 + cpu[i])) << "step " << i + 1;
    if (gpu->kind() != "cuda") return;
    try {
        Ranks alone;
        gpu->sums(alone);
    } catch (const Error& e) {
        std::cout << "NCCL is not tested: " << e.what() << "\n";
        return;
    }
    EXPECT_EQ(losses(gpu_kind(), false, true), recorded) << "through NCCL";
}

}  // namespace
