// The floor of a model's step, layer by layer and at three levels of fusion, for a device given by its peaks.
//
//   roofline [--model resnet50] [--size 224] [--batch 8] [--inference] [--layers] [--bytes GB/s --flops GFLOP/s]
//
// Without --bytes and --flops the peaks of this machine's CPU are measured first. Bytes are counted from the graph that
// the engine runs, 4 per element (--element 2 for 16-bit storage of activations and weights).
#include <CLI/CLI.hpp>
#include <map>

#include "bench/levels.h"
#include "train/classifier.h"
#include "train/trainer.h"

namespace {

void print(const std::string& name, const Cost& cost, const Peaks& peaks) {
    fmt::print("{:<58} {:9.2f}", name, cost.flops * 1e-9);
    for (const Level level : {unfused, as_built, ideal})
        fmt::print("  {:9.1f} {:9.3f}", cost.bytes[level] * 1e-6, 1e3 * cost.floor(peaks, level));
    fmt::print("\n");
}

std::string describe(const Step& step) {
    std::string name(step.op->name());
    if (!step.in.empty()) name += " " + text(step.in[0].shape);
    if (!step.out.empty()) name += " -> " + text(step.out[0].shape);
    return name;
}

void report(std::span<const Step> steps, const Peaks& peaks, size_t batch, double element, bool layers) {
    fmt::print("{:<58} {:>9}", "", "GFLOP");
    for (const char* level : level_names) fmt::print("  {:>9} {:>9}", "MB", level);
    fmt::print(" (ms)\n");
    std::map<std::string, Cost> by_name;
    std::array<double, 3> floor{};
    Cost all;
    for (const Step& step : steps) {
        Cost cost = cost_of(step);
        for (double& bytes : cost.bytes) bytes *= element / 4;
        if (layers) print(describe(step), cost, peaks);
        by_name[std::string(step.op->name())] += cost;
        all += cost;
        for (const Level level : {unfused, as_built, ideal}) floor[level] += cost.floor(peaks, level);
    }
    if (layers) fmt::print("\n");
    for (const auto& [name, cost] : by_name) print(name, cost, peaks);
    fmt::print("{:<58} {:9.2f}", "all, floors of the nodes added", all.flops * 1e-9);
    for (const Level level : {unfused, as_built, ideal}) fmt::print("  {:9.1f} {:9.3f}", all.bytes[level] * 1e-6, 1e3 * floor[level]);
    fmt::print("\n");
    for (const Level level : {unfused, as_built, ideal})
        fmt::print("{:<9} at most {:10.2f} images/s\n", level_names[level], double(batch) / floor[level]);
}

}  // namespace

int main(int argc, char** argv) {
    std::string model = "resnet50";
    size_t size = 224, batch = 8;
    int threads = 2;
    double bytes = 0, flops = 0, element = 4;
    bool inference = false, layers = false;
    CLI::App app("Prints the floor of a model's step.");
    app.add_option("--model", model);
    app.add_option("--size", size);
    app.add_option("--batch", batch);
    app.add_option("--threads", threads, "for measuring the peaks");
    app.add_option("--bytes", bytes, "GB/s read and written");
    app.add_option("--flops", flops, "GFLOP/s");
    app.add_option("--element", element, "bytes per number");
    app.add_flag("--inference", inference);
    app.add_flag("--layers", layers, "every node, not only the sums");
    CLI11_PARSE(app, argc, argv);

    Peaks peaks{bytes * 1e9, flops * 1e9};
    if (bytes <= 0 || flops <= 0) peaks = measure_cpu_peaks(threads);
    fmt::print("{} {} px, batch {}, {}: peaks {:.1f} GB/s, {:.1f} GFLOP/s\n\n", model, size, batch,
               inference ? "inference" : "training step", peaks.bytes_per_second * 1e-9, peaks.flops_per_second * 1e-9);
    const auto device = open_device("cpu");
    Arena arena(*device);
    const ResNetConfig config = resnet_config(model, 1000);
    const Normalize normalize{{1, 1, 1}, {0, 0, 0}};
    if (inference) {
        Classifier classifier(*device, arena, {.model = config, .batch = batch, .size = size, .normalize = normalize});
        report(classifier.program().steps(), peaks, batch, element, layers);
    } else {
        Trainer trainer(*device, arena, {.model = config, .batch = batch, .size = size, .normalize = normalize,
                                         .optimizer = {}, .class_weights = {}}, initialize_state(config, 1));
        report(trainer.program().steps(), peaks, batch, element, layers);
    }
}
