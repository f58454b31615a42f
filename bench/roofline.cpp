// The floor of a model's step, layer by layer and at three levels of fusion, for a device given by its peaks.
//
//   roofline [--model resnet50|yolov5x6|...] [--size 224|960x1280] [--batch 8] [--inference] [--layers]
//            [--machine cpu|h200|h200-sheet|h100-sheet|a100-sheet] [--bytes GB/s --flops GFLOP/s] [--precision fp32]
//
// The nodes are those of the engine's own graph for that kind of device, traced without memory: no GPU is needed for
// the floors of one, and no batch is too large. --machine cpu measures the peaks of this machine first.
#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/levels.h"
#include "bench/workload.h"
#include "engine/meta_device.h"

namespace {

struct NamedPeaks {
    const char *name, *source;
    double terabytes, teraflops;  // per second; flops of dense 16-bit products with float sums
};
constexpr NamedPeaks kNamed[] = {
    {"h200", "measured once on one H200: a large copy, a large bf16 matrix product", 4.3, 790},
    {"h200-sheet", "NVIDIA's data sheet, H200 SXM", 4.8, 989},
    {"h100-sheet", "NVIDIA's data sheet, H100 SXM", 3.35, 989},
    {"a100-sheet", "NVIDIA's data sheet, A100 SXM 80 GB", 2.039, 312},
};

void print(const std::string& name, const Cost& cost, const Peaks& peaks) {
    fmt::print("{:<64} {:9.2f}", name, cost.flops * 1e-9);
    for (const Level level : {unfused, as_built, ideal})
        fmt::print("  {:9.1f} {:9.3f}", cost.bytes[level] * 1e-6, 1e3 * cost.floor(peaks, level));
    fmt::print("  {}\n",
               cost.flops / peaks.flops_per_second > cost.bytes[as_built] / peaks.bytes_per_second ? "flops" : "bytes");
}

void report(std::span<const Step> steps, const Peaks& peaks, size_t batch, bool layers) {
    fmt::print("{:<64} {:>9}", "", "GFLOP");
    for (const char* level : level_names) fmt::print("  {:>9} {:>9}", "MB", level);
    fmt::print(" (ms)  bound by\n");
    std::map<std::string, Cost> by_name;
    std::array<double, 3> floor{};
    Cost all;
    for (const Step& step : steps) {
        const Cost cost = cost_of(step);
        if (layers) print(describe(step), cost, peaks);
        by_name[std::string(step.op->name())] += cost;
        all += cost;
        for (const Level level : {unfused, as_built, ideal}) floor[level] += cost.floor(peaks, level);
    }
    if (layers) fmt::print("\n");
    for (const auto& [name, cost] : by_name) print(name, cost, peaks);
    fmt::print("{:<64} {:9.2f}", "all, floors of the nodes added", all.flops * 1e-9);
    for (const Level level : {unfused, as_built, ideal})
        fmt::print("  {:9.1f} {:9.3f}", all.bytes[level] * 1e-6, 1e3 * floor[level]);
    fmt::print("\n");
    for (const Level level : {unfused, as_built, ideal})
        fmt::print("{:<9} at most {:10.2f} images/s\n", level_names[level], double(batch) / floor[level]);
}

}  // namespace

int main(int argc, char** argv) try {
    WorkloadOptions work;
    std::string size = "224", precision, machine = "cpu";
    int threads = 2;
    double bytes = 0, flops = 0;
    bool inference = false, layers = false;
    CLI::App app("Prints the floor of a model's step.");
    app.add_option("--model", work.model);
    app.add_option("--size", size, "pixels: one number, or HEIGHTxWIDTH");
    app.add_option("--batch", work.batch);
    app.add_option("--machine", machine, "cpu (this one, measured) or a GPU by name");
    app.add_option("--threads", threads, "for measuring the peaks of this machine");
    app.add_option("--bytes", bytes, "GB/s read and written, instead of the machine's");
    app.add_option("--flops", flops, "GFLOP/s, instead of the machine's");
    app.add_option("--precision", precision, "fp32, bf16, fp16; default: fp32 on cpu, bf16 on GPUs");
    app.add_flag("--inference", inference);
    app.add_flag("--layers", layers, "every node, not only the sums");
    CLI11_PARSE(app, argc, argv);
    parse_pixels(size, work);
    work.training = !inference;

    const bool cpu = machine == "cpu";
    Peaks peaks{bytes * 1e9, flops * 1e9};
    std::string source = "given";
    if (peaks.bytes_per_second <= 0 || peaks.flops_per_second <= 0) {
        if (cpu) peaks = measure_cpu_peaks(threads), source = fmt::format("measured now, {} threads", threads);
        for (const NamedPeaks& named : kNamed)
            if (machine == named.name) peaks = {named.terabytes * 1e12, named.teraflops * 1e12}, source = named.source;
        if (peaks.flops_per_second <= 0)
            fail(Fault::usage, "--machine {}: known are cpu, h200, h200-sheet, h100-sheet, a100-sheet", machine);
    }
    if (precision.empty()) precision = cpu ? "fp32" : "bf16";
    work.precision = parse_precision(precision);
    fmt::print("{} {}x{}, batch {}, {}, {}\n{}: {:.1f} GB/s, {:.1f} GFLOP/s ({})\n\n", work.model, work.h, work.w,
               work.batch, inference ? "inference" : "training step", precision, machine, peaks.bytes_per_second * 1e-9,
               peaks.flops_per_second * 1e-9, source);
    MetaDevice device(device_facts(cpu ? "cpu" : "cuda"));
    const auto workload = open_workload(device, work);
    report(workload->program().steps(), peaks, work.batch, layers);
} catch (const std::exception& error) {
    std::fprintf(stderr, "roofline: %s\n", error.what());
    return 1;
}
