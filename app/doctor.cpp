// `tundra doctor`: devices and libraries of this machine, and whether its arithmetic is right.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/detect/advice.h"
#include "app/jobs/together.h"
#include "app/terminal.h"
#include "base/cpu_level.h"
#include "base/error.h"
#include "base/processors.h"
#include "data/cache.h"
#include "data/image.h"
#include "engine/device_cuda.h"
#include "kernels/conv/cpu.h"
#include "kernels/conv/int8_loops.h"
#include "kernels/cuda_libraries.h"
#include "models/resnet.h"
#include "train/machine.h"
#include "train/ranks.h"
#include "train/trainer.h"

namespace {

using nlohmann::json;

constexpr double kEnoughDisk = 2e9;  // a run of the default network with its checkpoints takes 1 GB

struct Check {
    std::string what, text;
    bool good = true;
};

Check device_check(const std::string& kind) {
    try {
        return {kind, open_device(kind)->description()};
    } catch (const std::exception& error) {
        const std::string text = error.what(), option = fmt::format("--device {}: ", kind);
        return {kind, text.starts_with(option) ? text.substr(option.size()) : text, false};
    }
}

// The weights of a narrow ResNet after two training steps.
StateDict trained(const std::string& kind, double& loss) {
    const auto device = open_device(kind);
    Arena arena(*device);
    constexpr size_t kBatch = 2, kSize = 32;
    const Model model = make_model(ResNetConfig{.classes = 2, .width = 8});
    Trainer trainer(*device, arena,
                    {.model = model,
                     .batch = kBatch,
                     .height = kSize,
                     .width = kSize,
                     .normalize = {{1 / 255.f, 1 / 255.f, 1 / 255.f}, {0, 0, 0}},
                     .loss = classification_loss()},
                    initialize_state(model, 1));
    Batch batch = blank_batch({.batch = kBatch, .fit = {.size = kSize}});
    for (size_t i = 0; i < batch.images.size(); ++i) batch.images[i] = uint8_t(i * 2654435761u >> 13);
    batch.labels = {0, 1};
    for (size_t step = 1; step <= 2; ++step) trainer.step(batch, 1e-3, 0.9, step);
    loss = trainer.stats().loss;
    return trainer.state();
}

// Compares the loops and libraries of `cpu` with the CUDA kernels as `kind` runs them.
Check self_test(const std::string& kind) {
    try {
        const auto start = std::chrono::steady_clock::now();
        double loss[2];
        const StateDict a = trained("cpu", loss[0]), b = trained(kind, loss[1]);
        double worst = std::abs(loss[0] - loss[1]) / std::max(1e-3, std::abs(loss[0]));
        for (const auto& [name, tensor] : a) {
            double largest = 1e-3, difference = 0;
            for (size_t i = 0; i < tensor.values.size(); ++i) {
                largest = std::max(largest, double(std::abs(tensor.values[i])));
                difference = std::max(difference, double(std::abs(tensor.values[i] - b.at(name).values[i])));
            }
            worst = std::max(worst, difference / largest);
        }
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        // Batch norm over few values makes rounding errors large; the tests have tighter bounds on single operations.
        return {
            "self-test",
            fmt::format("two training steps on cpu and {} differ by at most {:.1e}, {:.1f} s", kind, worst, seconds),
            worst < 1e-2};
    } catch (const std::exception& error) {
        return {"self-test", error.what(), false};
    }
}

// How long the ranks take to add arrays of so many megabytes, which lie in the memory of their devices.
double seconds_of_sum(Ranks& ranks, Device& device, size_t megabytes) {
    const std::vector<float> ones(megabytes * 250000, 1.0f);
    const Buffer values(device, ones.size() * sizeof(float));
    Graph graph;
    graph.ranks = &ranks;
    const Value sum = graph.external("values", {ones.size()}, DType::f32, values.data());
    start_sum_over_ranks(sum, 1);
    wait_for_ranks(sum);
    const std::vector<Step> steps =
        bind_steps(graph, plan_memory(graph, {}), nullptr, std::vector<void*>(graph.values.size()));
    double best = INFINITY;
    for (int i = 0; i < 4; ++i) {
        device.upload(values.data(), ones.data(), values.bytes());
        double nothing = 0;
        ranks.sum({&nothing, 1});  // all begin together
        const auto start = std::chrono::steady_clock::now();
        device.run(steps);
        device.synchronize();
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    std::vector<float> back(ones.size());
    device.download(back.data(), values.data(), values.bytes());
    require(back == std::vector<float>(ones.size(), float(ranks.count)), "doctor --mpi: a sum over ranks is wrong");
    return best;
}

// What the ranks of a launcher are, and how fast they add arrays. Every rank computes, the first one prints.
int test_ranks(Ranks* ranks, const std::string& device_name, bool as_json) {
    TrainConfig config;
    config.device = device_name;
    std::string reason;
    const std::unique_ptr<Device> device =
        open_device_of(*ranks, config, false, [&](const std::string& text) { reason = text; });
    const std::unique_ptr<GpuSums> sums = join_devices(*ranks, *device, 1);
    const AbandonAfterError guard(sums.get());
    const json here = {{"rank", ranks->rank},
                       {"machine", ranks->machine},
                       {"device", device->description()},
                       {"gpu", device->gpu().bus},
                       {"driver", device->gpu().driver},
                       {"sums", sums ? sums->version : ""},
                       {"processors", usable_processors()},
                       {"ranks_that_share_them", ranks->on_processors}};
    json out = {{"mpi", mpi_library().version}, {"ranks", json::array()}, {"sums", json::array()}};
    for (const std::string& text : ranks->gather(here.dump(-1, ' ', false, json::error_handler_t::replace)))
        out["ranks"].push_back(json::parse(text));
    const auto all_have = [&](const char* what) {
        return std::ranges::all_of(out["ranks"], [&](const json& r) { return r[what] == out["ranks"][0][what]; });
    };
    out["fits"] = all_have("sums") && all_have("driver");
    for (const size_t megabytes : {1, 16, 100})
        out["sums"].push_back({{"megabytes", megabytes}, {"seconds", seconds_of_sum(*ranks, *device, megabytes)}});
    if (!ranks->first()) return 0;
    if (as_json) {
        print_output("{}\n", out.dump(1, ' ', false, json::error_handler_t::replace));
        return 0;
    }
    print_output("MPI      {}\n", out["mpi"].get<std::string>());
    if (!reason.empty()) print_output("{}\n", printable(reason));
    if (sums) print_output("sums     {}, driver {}\n", sums->version, device->gpu().driver);
    for (const json& r : out["ranks"])
        print_output("rank {:<3} {}, {}; {} processors, used by {} of the ranks\n", r["rank"].get<size_t>(),
                     printable(r["machine"].get<std::string>()), printable(r["device"].get<std::string>()),
                     r["processors"].get<size_t>(), r["ranks_that_share_them"].get<size_t>());
    for (const json& s : out["sums"])
        print_output("sum      {:>3} MB in {:6.1f} ms, {:.2f} GB/s\n", s["megabytes"].get<size_t>(),
                     1e3 * s["seconds"].get<double>(),
                     1e-3 * s["megabytes"].get<double>() / s["seconds"].get<double>());
    if (!out["fits"].get<bool>())
        print_output("Machines differ in NCCL or driver: install the same versions, or their sums may fail.\n");
    print_output("Sums between ranks are right. Training uses the device {} of every rank.\n", device->kind());
    return 0;
}

int run_mpi(const std::string& device, bool as_json) {
    const std::unique_ptr<Ranks> ranks = open_ranks();
    if (ranks->count == 1)
        fail(Fault::usage, "doctor --mpi: there is one process; start it as `mpirun -n 2 tundra doctor --mpi`");
    return run_together(*ranks, [&] { return test_ranks(ranks.get(), device, as_json); });
}

int run(bool as_json, const std::string& self_test_device) {
    if (self_test_device == "cpu") fail(Fault::usage, "--device cpu: the self-test compares another device with it");
    if (gpus_in(self_test_device).size() > 1)
        fail(Fault::usage, "--device {}: the self-test takes one GPU; add --mpi to test several", self_test_device);
    const Machine machine = this_machine();
    const Build build = this_build();
    std::vector<Check> devices = {device_check("cpu"), device_check("cuda"), device_check("simt")};
    if (has_cuda) devices.push_back(device_check("ptx"));
    std::error_code error;
    const auto space = std::filesystem::space(".", error);
    const double free_bytes = error ? 0 : double(space.available);
    std::vector<Check> tests = {self_test(self_test_device)};
    if (devices[1].good && !self_test_device.starts_with("cuda")) tests.push_back(self_test("cuda"));
    const bool gpu = devices[1].good;
    Check detector{.what = "MegaDetector", .text = detector_advice(gpu)};
    double rate = 0;
    try {
        rate = images_per_hour(*open_device(gpu ? "cuda" : "cpu"), suitable_detector(gpu));
        detector.text = fmt::format("about {} images per hour; {}", count_text(uint64_t(rate)), detector.text);
    } catch (const std::exception& error) {
        detector = {.what = "MegaDetector", .text = error.what(), .good = false};
    }
    const bool good = devices[0].good && std::ranges::all_of(tests, &Check::good) && free_bytes >= kEnoughDisk;
    std::vector<CudaLibraryFile> of_cuda;
    if constexpr (has_cuda) {
        of_cuda = cuda_library_files();
        of_cuda.push_back(nccl_library_file());
    }
    if (as_json) {
        json out = {{"version", build.version},
                    {"commit", build.commit},
                    {"good", good},
                    {"machine",
                     {{"processor", machine.processor.model},
                      {"cores", machine.processor.cores},
                      {"isa", machine.processor.isa},
                      {"level", cpu_level_name()},
                      {"threads", machine.threads},
                      {"memory_bytes", machine.memory_bytes},
                      {"memory_available_bytes", available_memory_bytes()},
                      {"system", machine.system},
                      {"kernel", machine.kernel}}},
                    {"disk_free_bytes", free_bytes},
                    {"self_test", {{"good", tests[0].good}, {"text", tests[0].text}}}};
        out["detector"] = {{"name", suitable_detector(gpu).name}, {"images_per_hour", rate}, {"text", detector.text}};
        if (tests.size() > 1) out["self_test_cuda"] = {{"good", tests[1].good}, {"text", tests[1].text}};
        for (const Check& d : devices)
            out["devices"].push_back({{"device", d.what}, {"usable", d.good}, {"text", d.text}});
        for (const Library& l : linked_libraries())
            out["libraries"].push_back({{"name", l.name}, {"compiled", l.compiled}, {"loaded", l.loaded}});
        for (const CudaLibraryFile& l : of_cuda)
            out["libraries"].push_back({{"name", l.name},
                                        {"compiled", l.compiled},
                                        {"loaded", l.loaded},
                                        {"file", l.file},
                                        {"missing", l.missing}});
        print_output("{}\n", out.dump(1, ' ', false, json::error_handler_t::replace));
        return good ? 0 : int(Fault::environment);
    }
    Progress progress(true);
    const auto line = [&](std::string_view state, const std::string& what, const std::string& text) {
        print_line(progress, fmt::format("{:<4} {:<14} {}", state, what, text));
    };
    line("ok", "tundra", fmt::format("{}, commit {}", build.version, build.commit));
    line("ok", "system", fmt::format("{}, {}", machine.system, machine.kernel));
    line("ok", "processor",
         fmt::format("{}, {} cores, {} threads, {}", machine.processor.model, machine.processor.cores, machine.threads,
                     fmt::join(machine.processor.isa, " ")));
    line("ok", "instructions",
         fmt::format("{}{}", cpu_level_name(), cpu_level_is_lowered() ? ", lowered by TUNDRA_CPU_LEVEL" : ""));
    const Int8Loops* const loops = int8_loops();
    const bool vnni = loops && loops->numbers == 4;
    line(vnni ? "ok" : "no", "int8",
         vnni ? "by VNNI, for models that `tundra quantize` makes" : "without VNNI: the same answers, but slower");
    line("ok", "memory",
         fmt::format("{}, {} available", bytes_text(double(machine.memory_bytes)),
                     bytes_text(double(available_memory_bytes()))));
    line(free_bytes >= kEnoughDisk ? "ok" : "BAD", "disk", fmt::format("{} free here", bytes_text(free_bytes)));
    for (const Check& d : devices)
        line(d.good ? "ok" : d.what == "cuda" || d.what == "ptx" ? "no" : "BAD", "device " + d.what, d.text);
    for (const Library& l : linked_libraries())
        if (l.name == "oneDNN" && !onednn_missing().empty())
            line("no", l.name,
                 fmt::format("own loops compute all convolutions, several times slower: {}", onednn_missing()));
        else
            line("ok", l.name,
                 fmt::format("built with {}{}", l.compiled, l.loaded.empty() ? "" : ", loaded " + l.loaded));
    for (const CudaLibraryFile& l : of_cuda)
        line(l.missing.empty() ? "ok" : "no", l.name,
             l.missing.empty() ? fmt::format("built with {}, loaded {} from {}", l.compiled, l.loaded, l.file)
                               : l.missing);
    if (std::ranges::none_of(linked_libraries(), [](const Library& l) { return l.name == "HDF5"; }))
        line("no", "HDF5", "not built in: Keras' .h5 files cannot be read; install libhdf5-dev and build again");
    const MpiLibrary mpi = mpi_library();
    line(mpi.missing.empty() ? "ok" : "no", "MPI",
         mpi.missing.empty() ? mpi.version : "training with several processes: " + mpi.missing);
    for (const FormatLibrary& l : format_libraries())
        if (!*l.version)
            line("no", l.library,
                 fmt::format(
                     "not built in: {} images cannot be read; install its development package (docs/reference.md) "
                     "and build again",
                     l.formats));
    line(detector.good ? "ok" : "no", detector.what, detector.text);
    for (const Check& test : tests) line(test.good ? "ok" : "BAD", test.what, test.text);
    print_line(progress, good ? "Everything required is available."
                              : "Something required is missing or wrong: see the lines marked BAD.");
    return good ? 0 : int(Fault::environment);
}

std::function<int()> add(CLI::App& app) {
    auto as_json = std::make_shared<bool>(false);
    app.add_flag("--json", *as_json, "print JSON");
    auto mpi = std::make_shared<bool>(false);
    app.add_flag("--mpi", *mpi, "under mpirun or srun: the ranks, their machines, and the speed of a sum over them");
    auto device = std::make_shared<std::string>("simt");
    app.add_option(
           "--device", *device,
           "the device whose results the self-test compares with those of cpu: simt, ptx, cuda or one GPU (cuda:1); "
           "where a GPU is usable, cuda is compared too. With --mpi: cpu, cuda, or GPUs for the ranks of a "
           "machine (cuda:2,3); cuda if every rank has a GPU")
        ->check([kinds = CLI::IsMember({"simt", "ptx", "cuda", "cpu"})](const std::string& text) {
            return gpus_in(text).empty() ? kinds(text) : std::string();
        })
        ->capture_default_str();
    return [=, &app] {
        return *mpi ? run_mpi(app.count("--device") ? *device : "auto", *as_json) : run(*as_json, *device);
    };
}

}  // namespace

Command doctor_command() {
    return {
        .name = "doctor",
        .summary = "Check this machine: devices, libraries, memory, disk, which detector suits it, and a self-test.",
        .examples = {"tundra doctor", "tundra doctor --json", "mpirun -n 4 tundra doctor --mpi"},
        .add = add};
}
