// Whole steps of ResNet and YOLO: images/s, the share of each operation, bytes against the roofline's levels, memory.
//
//   step [--model resnet50|yolov5s|yolo11s|yolov9c|...] [--size 224|960x1280] [--batch 8] [--inference]
//        [--device cpu] [--threads 0] [--precision fp32] [--weights FILE] [--steps 10] [--json] [--cpu-time] [--layers]
//        [--losses] [--join-gradients] [--steps-per-graph 1]
//   step ... --serve     for bench/compare: obeys lines on its input and answers each with a line of JSON
//        run N           {"seconds": [...]}
//        result FILE     writes what Workload::result() gives as raw floats
//
// --losses     only prints what Workload::result() gives of a training step: the losses of three steps from the start
// --join-gradients, --steps-per-graph  as tundra train has them, of a classifier on a GPU
// --layers     instead of whole steps: every kind of node beside its floor, from peaks that are measured first
//
// --cpu-time counts the time that the program had a core instead of the clock on the wall: with --threads 1 other
// programs on the machine then hardly disturb. With more threads it also counts how they wait for each other.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/processors.h"
#include "bench/device_time.h"
#include "bench/levels.h"
#include "bench/workload.h"
#include "train/machine.h"

namespace {

using nlohmann::ordered_json;

struct Options {
    WorkloadOptions work;
    std::string size = "224", precision = "fp32", device = "cpu";
    int threads = 0;
    size_t steps = 10;
    bool inference = false, layers = false, json = false, losses = false, serve = false;
};

bool count_cpu_time = false;

double now() {
    timespec t{};
    clock_gettime(count_cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

double timed(Workload& work, size_t steps = 1) {
    const double start = now();
    work.run();
    return (now() - start) / double(steps);
}

double quantile(std::vector<double> v, double q) {
    std::ranges::sort(v);
    return v[size_t(q * double(v.size() - 1) + 0.5)];
}

// Seconds of each operation, of one step whose nodes run one by one; on a GPU each ten times in a row, between events.
std::map<std::string, double> shares(Device& device, Program& program) {
    std::map<std::string, double> time;
    for (size_t i = 0; i < program.steps().size(); ++i) {
        const Step& step = program.steps()[i];
        double& sum = time[std::string(step.op->name())];
        if (device.kind() == "cuda") {
            const std::vector<Step> ten(10, step);
            sum += seconds_of(device, ten) / double(ten.size());
            continue;
        }
        const double start = now();
        program.run_step(i);
        sum += now() - start;
    }
    return time;
}

// Nodes of the same operation and shapes are one row: their number, the sum of their median times, and of their floors.
void print_layers(Program& program, size_t rounds, const Peaks& peaks) {
    std::vector<std::vector<double>> taken(program.steps().size());
    for (size_t round = 0; round < rounds; ++round)
        for (size_t i = 0; i < taken.size(); ++i) {
            const double start = now();
            program.run_step(i);
            taken[i].push_back(now() - start);
        }
    struct Row {
        double seconds = 0, floor = 0;
        size_t count = 0;
    };
    std::map<std::string, Row> rows;
    for (size_t i = 0; i < taken.size(); ++i)
        for (const std::string& name : {describe(program.steps()[i]), std::string("all")}) {
            Row& row = rows[name];
            row.seconds += quantile(taken[i], 0.5);
            row.floor += cost_of(program.steps()[i]).floor(peaks, as_built);
            ++row.count;
        }
    for (const auto& [name, row] : rows)
        fmt::print("{:<84} {:3} x {:8.2f} ms, floor {:8.2f} ms\n", name, row.count, 1e3 * row.seconds, 1e3 * row.floor);
}

int serve(Workload& work) {
    for (std::string line; std::getline(std::cin, line);) {
        ordered_json answer = {{"peak_resident_bytes", peak_memory_bytes()}};
        if (line.starts_with("run ")) {
            for (int i = std::stoi(line.substr(4)); i > 0; --i) answer["seconds"].push_back(timed(work));
        } else if (line.starts_with("result ")) {
            const std::vector<float> result = work.result();
            std::ofstream(line.substr(7), std::ios::binary)
                .write(reinterpret_cast<const char*>(result.data()), std::streamsize(4 * result.size()));
        } else {
            fail(Fault::usage, "step --serve does not know '{}'", line);
        }
        fmt::print("{}\n", answer.dump());
        std::fflush(stdout);
    }
    return 0;
}

int run(const Options& o) {
    const auto device = open_device(o.device, {.threads = o.threads});
    const double begin = seconds_now();
    const auto work = open_workload(*device, o.work);
    const double opened = seconds_now() - begin;
    if (o.serve) return serve(*work);
    if (o.losses) {
        fmt::print("losses of {} {} on {}: {:.6f}\n", o.work.model, o.precision, o.device,
                   fmt::join(work->result(), " "));
        return 0;
    }

    const double first = timed(*work);
    timed(*work);  // records, where the device records
    if (o.layers) {
        print_layers(work->program(), o.steps, measure_cpu_peaks(o.threads > 0 ? o.threads : usable_processors()));
        return 0;
    }
    std::vector<double> taken;
    for (size_t i = 0; i < o.steps; ++i) taken.push_back(timed(*work, o.work.steps_per_graph));
    Cost cost;
    for (const Step& step : work->program().steps()) cost += cost_of(step);
    const Plan& plan = work->program().plan();
    const double median = quantile(taken, 0.5);
    ordered_json facts = {{"bench", "step"},
                          {"model", o.work.model},
                          {"training", o.work.training},
                          {"h", o.work.h},
                          {"w", o.work.w},
                          {"batch", o.work.batch},
                          {"precision", o.precision},
                          {"device", device->description()},
                          {"images_per_second", double(o.work.batch) / median},
                          {"median_seconds", median},
                          {"seconds", taken},
                          {"open_seconds", opened},
                          {"first_step_seconds", first},
                          {"gflop", cost.flops * 1e-9},
                          {"planned_bytes", work->planned_bytes()},
                          {"allocated_bytes", device->allocated()},
                          {"arena_bytes", plan.bytes},
                          {"arena_lower_bound_bytes", plan.lower_bound},
                          {"peak_resident_bytes", peak_memory_bytes()}};
    for (const Level level : {unfused, as_built, ideal}) facts["bytes_moved"][level_names[level]] = cost.bytes[level];
    facts["share_seconds"] = shares(*device, work->program());
    if (o.json) {
        fmt::print("{}\n", facts.dump());
        return 0;
    }
    fmt::print("{} {} {}x{} batch {} on {}\n", o.work.model, o.work.training ? "training" : "inference", o.work.h,
               o.work.w, o.work.batch, device->description());
    fmt::print("median {:.1f} ms ({:.1f} to {:.1f}), {:.2f} images/s; first step {:.2f} s after {:.2f} s of opening\n",
               1e3 * median, 1e3 * quantile(taken, 0), 1e3 * quantile(taken, 1), double(o.work.batch) / median, first,
               opened);
    fmt::print(
        "memory: planned {:.1f} MB (arena {:.1f} MB, lower bound {:.1f} MB), allocated {:.1f} MB, resident at most "
        "{:.1f} MB\n",
        double(work->planned_bytes()) / 1e6, double(plan.bytes) / 1e6, double(plan.lower_bound) / 1e6,
        double(device->allocated()) / 1e6, double(peak_memory_bytes()) / 1e6);
    fmt::print("{:.1f} GFLOP; bytes moved: unfused {:.2f} GB, as built {:.2f} GB, ideal {:.2f} GB\n", cost.flops * 1e-9,
               cost.bytes[unfused] * 1e-9, cost.bytes[as_built] * 1e-9, cost.bytes[ideal] * 1e-9);
    std::vector<std::pair<double, std::string>> rows;
    double all = 0;
    for (const auto& [name, seconds] : facts["share_seconds"].items())
        rows.emplace_back(seconds.get<double>(), name), all += rows.back().first;
    std::ranges::sort(rows, std::greater{});
    for (const auto& [seconds, name] : rows)
        fmt::print("  {:<32} {:8.2f} ms  {:5.1f} %\n", name, 1e3 * seconds, 100 * seconds / all);
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    Options o;
    CLI::App app("Times whole steps.");
    app.add_option("--model", o.work.model);
    app.add_option("--size", o.size, "pixels: one number, or HEIGHTxWIDTH");
    app.add_option("--batch", o.work.batch);
    app.add_option("--device", o.device);
    app.add_option("--precision", o.precision);
    app.add_option("--weights", o.work.weights);
    app.add_option("--threads", o.threads);
    app.add_option("--steps", o.steps)->check(CLI::PositiveNumber);
    app.add_flag("--inference", o.inference);
    app.add_flag("--join-gradients", o.work.join_gradients);
    app.add_option("--steps-per-graph", o.work.steps_per_graph)->check(CLI::Range(1, 64));
    app.add_flag("--cpu-time", count_cpu_time);
    app.add_flag("--json", o.json);
    app.add_flag("--losses", o.losses);
    app.add_flag("--serve", o.serve);
    app.add_flag("--layers", o.layers);
    CLI11_PARSE(app, argc, argv);
    parse_pixels(o.size, o.work);
    o.work.precision = parse_precision(o.precision);
    o.work.training = !o.inference;
    return run(o);
} catch (const std::exception& error) {
    std::fprintf(stderr, "step: %s\n", error.what());
    return 1;
}
