// Whole training steps and inference of ResNet: images/s, the share of each operation, memory.
//
//   step [--model resnet50] [--size 64] [--batch 32] [--device cpu] [--threads 0] [--steps 10] [--inference] [--json]
//
// --cpu-time counts the time that the program had a core instead of the clock on the wall: with --threads 1 other programs
// on the machine then hardly disturb. With more threads it also counts how they wait for each other.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/levels.h"
#include "train/classifier.h"
#include "train/machine.h"
#include "train/trainer.h"

namespace {

bool count_cpu_time = false;

double now() {
    timespec t{};
    clock_gettime(count_cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

double median(std::vector<double> v) {
    std::ranges::sort(v);
    return v[v.size() / 2];
}

// Each operation's share of the time, and the bytes that the step moves at three levels of fusion (bench/levels.h).
void print_shares(Program& program) {
    std::map<std::string, double> time;
    double all = 0;
    Cost cost;
    for (const Step& step : program.steps()) cost += cost_of(step);
    fmt::print("bytes moved {:.2f} GB as built; unfused {:.2f} GB, ideal {:.2f} GB; {:.1f} GFLOP\n", cost.bytes[as_built] * 1e-9,
               cost.bytes[unfused] * 1e-9, cost.bytes[ideal] * 1e-9, cost.flops * 1e-9);
    const auto steps = program.steps();
    for (size_t i = 0; i < steps.size(); ++i) {
        const double start = now();
        program.run_step(i);
        const double taken = now() - start;
        time[std::string(steps[i].op->name())] += taken;
        all += taken;
    }
    std::vector<std::pair<double, std::string>> rows;
    for (const auto& [name, taken] : time) rows.emplace_back(taken, name);
    std::ranges::sort(rows, std::greater{});
    for (const auto& [taken, name] : rows) fmt::print("  {:<32} {:8.2f} ms  {:5.1f} %\n", name, 1e3 * taken, 100 * taken / all);
}

}  // namespace

int main(int argc, char** argv) {
    std::string model = "resnet50", device_name = "cpu", precision_name = "fp32";
    size_t size = 64, batch = 32, steps = 10;
    int threads = 0;
    bool inference = false, as_json = false;
    CLI::App app("Times whole steps.");
    app.add_option("--model", model);
    app.add_option("--size", size);
    app.add_option("--batch", batch);
    app.add_option("--device", device_name);
    app.add_option("--precision", precision_name)->check(CLI::IsMember({"fp32", "bf16", "fp16"}));
    app.add_option("--threads", threads);
    app.add_option("--steps", steps)->check(CLI::PositiveNumber);
    app.add_flag("--inference", inference);
    app.add_flag("--cpu-time", count_cpu_time);
    app.add_flag("--json", as_json, "the time of each step, and memory, for bench/compare");
    CLI11_PARSE(app, argc, argv);

    const auto device = open_device(device_name, {.threads = threads});
    const DType precision = precision_name == "bf16" ? DType::bf16 : precision_name == "fp16" ? DType::f16 : DType::f32;
    OptimizerConfig optimizer;
    if (precision == DType::f16) optimizer.loss_scale = 1024;
    Arena arena(*device);
    const ResNetConfig config = resnet_config(model, 1000);
    const State state = initialize_state(config, 1);
    const Normalize normalize{{1 / 58.4f, 1 / 57.1f, 1 / 57.4f}, {-2.1f, -2.0f, -1.8f}};
    std::vector<uint8_t> pictures(batch * size * size * 3);
    for (size_t i = 0; i < pictures.size(); ++i) pictures[i] = uint8_t(i * 2654435761u >> 24);
    std::vector<double> taken;
    size_t planned = 0;
    if (inference) {
        Classifier classifier(*device, arena, {.model = config, .batch = batch, .size = size, .normalize = normalize, .precision = precision});
        classifier.load(state, "bench");
        for (size_t i = 0; i < steps + 2; ++i) {
            const double begin = now();
            classifier.run(pictures);
            taken.push_back(now() - begin);
        }
        planned = device->allocated();
        if (!as_json) print_shares(classifier.program());
    } else {
        Trainer trainer(*device, arena, {.model = config, .batch = batch, .size = size, .normalize = normalize, .optimizer = optimizer,
                                         .class_weights = {}, .precision = precision}, state);
        std::vector<float> transform, color;
        std::vector<int32_t> labels;
        for (size_t i = 0; i < batch; ++i) {
            for (float f : {1, 0, 0, 0, 1, 0}) transform.push_back(f);
            for (float f : {1, 0}) color.push_back(f);
            labels.push_back(int32_t(i % 1000));
        }
        planned = trainer.memory_bytes();
        if (!as_json) fmt::print("planned memory {:.1f} MB (arena {:.1f} MB, lower bound {:.1f} MB)\n", double(trainer.memory_bytes()) / 1e6,
                   double(trainer.program().plan().bytes) / 1e6, double(trainer.program().plan().lower_bound) / 1e6);
        for (size_t i = 0; i < steps + 2; ++i) {
            const double begin = now();
            trainer.step({pictures, transform, color, labels}, 0.01, 0.9, i + 1);
            trainer.previous_figures();  // one step late: a GPU goes on meanwhile
            taken.push_back(now() - begin);
        }
        if (!as_json) print_shares(trainer.program());
    }
    const double first = taken[0];
    taken.erase(taken.begin(), taken.begin() + 2);
    if (as_json) {
        const nlohmann::json facts = {{"seconds", taken}, {"first_step_seconds", first}, {"planned_bytes", planned},
                                      {"peak_resident_bytes", peak_memory_bytes()}};
        fmt::print("{}\n", facts.dump());
        return 0;
    }
    fmt::print("first step {:.2f} s, peak resident memory {:.1f} MB\n", first, double(peak_memory_bytes()) / 1e6);
    fmt::print("{} {} px batch {}: median {:.1f} ms, fastest {:.1f} ms, {:.2f} images/s\n", model, size, batch, 1e3 * median(taken),
               1e3 * *std::ranges::min_element(taken), double(batch) / median(taken));
}
