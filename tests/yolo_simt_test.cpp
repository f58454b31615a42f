// A whole YOLOv5 from pixels to boxes with the CUDA kernels on the CPU: the numbers of the device cpu.
#include <gtest/gtest.h>

#include <cmath>

#include "predict/detector.h"

namespace {

std::vector<float> boxes_on(const char* kind, const YoloConfig& config, std::vector<int32_t>& count) {
    const auto device = open_device(kind, {.threads = 2});
    auto graph = std::make_unique<Graph>();
    const Value x = graph->input("x", {1, 64, 64, 3}, DType::f32);
    const Value boxes = decode_boxes(yolov5(x, config), config.levels, config.classes);
    const SelectedBoxes selected =
        select_boxes(boxes, {.threshold = 0.05f, .iou_threshold = 0.45f, .max_detections = 20});
    Parameters parameters(*device, *graph);
    initialize(parameters, 3);
    Arena arena(*device);
    Program program(arena, std::move(graph), parameters, std::array{boxes, selected.count});
    std::vector<float> pixels(64 * 64 * 3);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = float(i * 7919 % 256) / 255;
    program.write<float>(x, pixels);
    program.run();
    count = program.read<int32_t>(selected.count);
    return program.read<float>(boxes);
}

TEST(YoloSimt, AgreesWithCpu) {
    for (const bool p6 : {true, false}) {
        const YoloConfig config = yolov5_config(p6, 0.33, 0.0625, 2);
        std::vector<int32_t> cpu_count, simt_count;
        const std::vector<float> cpu = boxes_on("cpu", config, cpu_count), simt = boxes_on("simt", config, simt_count);
        ASSERT_EQ(cpu.size(), simt.size());
        for (size_t i = 0; i < cpu.size(); ++i)
            ASSERT_NEAR(cpu[i], simt[i], 1e-4 * (1 + std::abs(cpu[i]))) << "at " << i;
        EXPECT_GT(cpu_count[0], 0);
        EXPECT_EQ(cpu_count, simt_count);
    }
}

}  // namespace
