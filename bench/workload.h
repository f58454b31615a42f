// A whole step of a network as the program runs it, on images that everyone can make: what benches time and compare.
#pragma once

#include <memory>

#include "engine/program.h"

struct WorkloadOptions {
    std::string model = "resnet50";  // resnet50, resnet101, ...; yolov5n ... yolov5x6, yolo11n ... yolo11x, yolov9c
    bool training = false;
    size_t batch = 8, h = 224, w = 224;
    DType precision = DType::f32;  // i8: quantized by what the images below give, only for inference on a cpu
    bool join_gradients = false;   // TrainerConfig, as the next
    size_t steps_per_graph = 1;    // of a classifier: run() makes so many
    std::string weights = {};      // a file that Tundra reads; empty: random ones
};

// Stripes of another slope on each image, and noise: with equal images batch norm would blow up rounding. No file
// is needed: bench/compare/common.py makes the same.
std::vector<uint8_t> bench_images(size_t count, size_t h, size_t w);

class Workload {
public:
    virtual ~Workload() = default;
    virtual void run() = 0;  // from pixels on the host to results on the host
    virtual Program& program() = 0;

    // To compare with other programs. Inference: probabilities (batch, classes), or decoded boxes (batch, rows, 5 +
    // classes). Training: the losses of three steps (learning rate 0.01, momentum 0.9, weight decay 1e-4 on all) from
    // the present state.
    virtual std::vector<float> result() = 0;

    virtual size_t planned_bytes() const = 0;  // parameters, optimizer, inputs, arena
    virtual size_t arena_bytes() const = 0;
};

std::unique_ptr<Workload> open_workload(Device& device, const WorkloadOptions& options);

// "224" or "960x1280" (height, width) into options; Fault::usage.
void parse_pixels(const std::string& text, WorkloadOptions& options);
DType parse_precision(const std::string& name);  // fp32, bf16, fp16, int8
