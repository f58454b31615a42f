// Images per second of YOLOv5 from pixels to boxes, batch 1, random weights: speed does not depend on what they know.
//
//   bench/detect [--size s|x6|...] [--pixels HxW] [--threads N] [--runs N]      one line of JSON per run of the program
//
// bench/compare/detect_peer.py runs it beside ONNX Runtime and PyTorch.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "models/detector.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
    std::string size = "s";
    size_t h = 640, w = 640;
    int threads = 0, runs = 10;
};

Options parse(int argc, char** argv) {
    Options o;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i], value = argv[i + 1];
        if (name == "--size") o.size = value;
        else if (name == "--pixels" && std::sscanf(value.c_str(), "%zux%zu", &o.h, &o.w) == 2) {}
        else if (name == "--threads") o.threads = std::stoi(value);
        else if (name == "--runs") o.runs = std::max(1, std::stoi(value));
        else fail(Fault::usage, "unknown option {} {}", name, value);
    }
    return o;
}

YoloModel random_model(Device& device, const std::string& size) {
    YoloModel model{.file_name = "random yolov5" + size, .config = yolov5_config(size, 3), .classes = {"animal", "person", "vehicle"}};
    Graph graph;
    const size_t side = model.config.largest_stride();
    yolov5(graph.input("x", {1, side, side, 3}, DType::f32), model.config);
    Parameters parameters(device, graph);
    initialize(parameters, 1);
    model.state = download(parameters);
    return model;
}

}  // namespace

int main(int argc, char** argv) try {
    const Options o = parse(argc, argv);
    const auto device = open_device("cpu", {.threads = o.threads});
    Detector detector(*device, random_model(*device, o.size), {.threshold = 0.2f});
    std::mt19937 random(1);
    std::vector<uint8_t> picture(o.h * o.w * 3);
    for (uint8_t& v : picture) v = uint8_t(random());
    detector.run(picture, o.h, o.w);  // chooses kernels, packs weights
    std::vector<double> seconds;
    for (int i = 0; i < o.runs; ++i) {
        const Clock::time_point start = Clock::now();
        detector.run(picture, o.h, o.w);
        seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    std::ranges::sort(seconds);
    const double median = seconds[seconds.size() / 2];
    const nlohmann::ordered_json line{{"bench", "detect"},   {"model", "yolov5" + o.size}, {"h", o.h},
                                      {"w", o.w},            {"device", device->description()}, {"runs", o.runs},
                                      {"median_s", median},  {"min_s", seconds.front()}, {"max_s", seconds.back()},
                                      {"images_per_s", 1 / median}, {"arena_mb", double(detector.arena_bytes()) / 1e6}};
    std::printf("%s\n", line.dump().c_str());
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "detect: %s\n", error.what());
    return 1;
}
