// Five steps of a tiny YOLOv5 with the CUDA kernels on simt follow cpu: float32 closely, bf16 as far as its 8 bits go.
#include <gtest/gtest.h>

#include "tests/detect_scenes.h"

namespace {

std::vector<float> losses(const char* kind, DType precision) {
    constexpr size_t kSize = 64;
    const auto device = open_device(kind, {.threads = 2});
    Arena arena(*device);
    const YoloConfig config = yolov5_config(false, 0.33, 0.0625, 2);
    const Model model = make_model(config);
    const DetectScenes scenes(2, kSize, 7);
    Trainer trainer(*device, arena,
                    {.model = model,
                     .batch = 2,
                     .height = kSize,
                     .width = kSize,
                     .normalize = normalize_named("unit"),
                     .loss = detection_loss(model, {.height = kSize, .width = kSize, .max_boxes = 4}),
                     .optimizer = {.weight_decay = 5e-4f, .nesterov = true, .ema_decay = 0.999f},
                     .precision = precision},
                    initialize_yolov5(config, 3));
    std::vector<float> result;
    for (size_t step = 1; step <= 5; ++step) {
        trainer.step(scenes.batch(), 0.002, 0.9, step);
        const StepStats stats = trainer.stats();
        result.push_back(float(stats.loss));
        for (const auto& [name, value] : stats.parts) result.push_back(float(value));
    }
    for (const auto& [name, tensor] : trainer.averaged())
        if (name == "model.9.cv2.conv.weight" || name == "model.9.cv2.bn.running_var")
            result.insert(result.end(), tensor.values.begin(), tensor.values.begin() + 8);
    return result;
}

TEST(DetectTrainSimt, FollowsCpu) {
    const std::vector<float> cpu = losses("cpu", DType::f32), simt = losses("simt", DType::f32),
                             half = losses("simt", DType::bf16);
    ASSERT_EQ(cpu.size(), 20u + 16);
    EXPECT_LT(cpu[16], cpu[0]) << "nothing was learned";
    for (size_t i = 0; i < cpu.size(); ++i) {
        EXPECT_NEAR(simt[i], cpu[i], 1e-3 * (0.1 + std::abs(cpu[i]))) << "number " << i;
        EXPECT_NEAR(half[i], cpu[i], 0.1 * (0.1 + std::abs(cpu[i]))) << "bf16, number " << i;
    }
}

}  // namespace
