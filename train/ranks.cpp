#include "train/ranks.h"

#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/processors.h"
#include "engine/op.h"
#include "engine/ops.h"

using nlohmann::json;

namespace {

constexpr size_t kBucket = size_t(1) << 20;  // elements: 4 MB

#ifdef TUNDRA_MPI
// The library beside the program, or where it is installed. Null: `why` says why not.
void* open_library(std::string& why) {
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    if (folder.empty()) {  // a relative path would open a library of the current folder
        why = "/proc/self/exe does not say where the program is";
        return nullptr;
    }
    for (const std::filesystem::path& path : {folder / "tundra_mpi.so", folder / "../lib/tundra/tundra_mpi.so"})
        if (std::filesystem::exists(path, error)) {
            // The parts of Open MPI that it opens later look for its names.
            if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) return library;
            why = dlerror();
            return nullptr;
        }
    why = fmt::format("tundra_mpi.so is not beside the program in {}", folder.string());
    return nullptr;
}
#else
void* open_library(std::string& why) {
    why = "this build has no MPI; install libopenmpi-dev and build again";
    return nullptr;
}
#endif

std::string line_of(const char* file) {
    std::ifstream in(file);
    std::string line;
    std::getline(in, line);
    return line;
}

std::string boot_of(const Ranks& ranks) {  // tells machines apart
    const std::string boot = line_of("/proc/sys/kernel/random/boot_id");
    return boot.empty() ? ranks.machine : boot;
}

// Ranks on one machine share its memory; those that may use the same processors share them.
void find_neighbours(Ranks& ranks) {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    const std::string here = boot_of(ranks), processors(reinterpret_cast<const char*>(&set), sizeof set);
    const std::vector<std::string> machines = ranks.gather(here), all = ranks.gather(here + processors);
    ranks.on_machine = size_t(std::ranges::count(machines, here));
    ranks.before_on_machine = size_t(std::count(machines.begin(), machines.begin() + ptrdiff_t(ranks.rank), here));
    ranks.on_processors = size_t(std::ranges::count(all, here + processors));
}

}  // namespace

// Under Open MPI's mpirun the variables of Slurm are those of its
// helpers.
size_t launched() {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"})
        if (const char* text = std::getenv(name)) return std::strtoul(text, nullptr, 10);
    return 1;
}

std::unique_ptr<Ranks> open_ranks() {
    if (std::unique_ptr<Ranks> ranks = local_ranks()) {
        find_neighbours(*ranks);
        return ranks;
    }
    const size_t expected = launched();
    if (expected <= 1) return std::make_unique<Ranks>();
    std::string why;
    void* const library = open_library(why);
    std::unique_ptr<Ranks> ranks;
    if (library) {
        ranks.reset(reinterpret_cast<Ranks* (*)()>(dlsym(library, "tundra_mpi_ranks"))());
        why = "the launcher belongs to another MPI than this build (`tundra doctor` names it)";
    }
    if (!ranks || ranks->count < expected)
        fail(Fault::usage, "the launcher started {} processes that cannot work together: {}", expected, why);
    find_neighbours(*ranks);
    return ranks;
}

MpiLibrary mpi_library() {
    MpiLibrary found;
    if (void* const library = open_library(found.missing))
        reinterpret_cast<void (*)(std::string&)>(dlsym(library, "tundra_mpi_version"))(found.version);
    return found;
}

void share_machine(const Ranks& ranks, TrainConfig& config) {
    if (ranks.count == 1) return;
    if (config.batch % ranks.count) {
        const uint64_t less = config.batch / ranks.count * ranks.count;
        fail(Fault::usage, "--batch {}: cannot be split evenly over {} ranks; {}{} can", config.batch, ranks.count,
             less ? fmt::format("{} or ", less) : "", less + ranks.count);
    }
    if (!config.threads) config.threads = std::max<size_t>(1, size_t(usable_processors()) / ranks.on_processors);
}

bool is_cpu(const std::string& device) { return device == "cpu" || (device == "auto" && !gpu_count()); }

std::unique_ptr<Device> open_device_of(const Ranks& ranks, const TrainConfig& config, bool deterministic,
                                       const Note& note) {
    DeviceOptions options{.threads = int(config.threads), .deterministic = deterministic};
    const std::vector<int> gpus = gpus_in(config.device);
    std::string device = config.device;
    if (ranks.process != &ranks && !is_cpu(device))
        fail(Fault::usage, "--device {}: --micro-batch computes on the device cpu only; add --device cpu", device);
    if (!gpus.empty()) {
        if (ranks.before_on_machine >= gpus.size())
            fail(Fault::usage, "--device {}: names {} GPUs for {} ranks on this machine", device, gpus.size(),
                 ranks.on_machine);
        if (ranks.on_machine < gpus.size())
            fail(Fault::usage, "--device {}: names {} GPUs, and {} ranks train on this machine", device, gpus.size(),
                 ranks.on_machine);
        device = fmt::format("cuda:{}", gpus[ranks.before_on_machine]);
    } else if (device == "cuda" || device == "auto") {  // Slurm may show each rank its own GPU only
        options.gpu = int(ranks.before_on_machine % std::max<size_t>(1, gpu_count()));
    }
    std::string reason;
    std::unique_ptr<Device> opened = open_device(device, options, &reason);
    if (!reason.empty()) note(fmt::format("device: {} ({})", opened->kind(), reason));
    return opened;
}

std::unique_ptr<GpuSums> join_devices(Ranks& ranks, Device& device, size_t steps_per_graph) {
    if (ranks.count == 1) return nullptr;
    const bool on_gpu = device.kind() == "cuda";
    if (!on_gpu && device.kind() != "cpu")
        fail(Fault::usage, "--device {}: several ranks train on the devices cpu and cuda; add --device cpu",
             device.kind());
    const std::vector<std::string> kinds = ranks.gather(std::string(device.kind()));
    const std::vector<std::string> places = ranks.gather(boot_of(ranks) + device.gpu().bus);
    for (size_t r = 1; r < ranks.count; ++r) {
        if (kinds[r] != kinds[0])
            fail(Fault::usage, "rank 0 has the device {} and rank {} {}; name one with --device", kinds[0], r,
                 kinds[r]);
        const auto same = size_t(std::ranges::find(places, places[r]) - places.begin());
        if (on_gpu && same < r)
            fail(Fault::usage,
                 "ranks {} and {} have the same GPU; start as many ranks on a machine as it has GPUs, or add --device "
                 "cpu",
                 same, r);
    }
    if (on_gpu && steps_per_graph > 1)
        fail(Fault::usage, "--steps-per-graph {}: several ranks start one step at a time; leave it out",
             steps_per_graph);
    std::unique_ptr<GpuSums> sums = device.sums(ranks);
    ranks.gpu_sums = sums.get();
    return sums;
}

void require_same_data(Ranks& ranks, const Dataset& data) {
    const std::vector<std::string> hashes = ranks.gather(data.fingerprint.hash);
    for (size_t r = 1; r < hashes.size(); ++r)
        if (hashes[r] != hashes[0])
            fail(Fault::usage, "rank {} sees other images than rank 0; DATA must hold the same on every machine", r);
}

Agreement agree(Ranks& ranks, StopSignals* signals, size_t images, bool save) {
    const int code = signals ? signals->exit_code() : 0;
    double told[] = {double(images), double(code == 143), double(code == 130), double(code == 75),
                     double(save) + double(signals && signals->take_save_request())};
    ranks.sum(told);
    return {.images = size_t(told[0]),
            .stop_code = told[1] > 0   ? 143
                         : told[2] > 0 ? 130
                         : told[3] > 0 ? 75
                                       : 0,
            .save = told[4] > 0};
}

bool on_all_ranks(Ranks& ranks, bool here) {
    double missing = here ? 0 : 1;
    ranks.sum({&missing, 1});
    return missing == 0;
}

void sum_over_ranks(Graph& graph, const Parameters& parameters) {
    std::vector<std::vector<Node>> after(graph.nodes.size());  // sums to start behind each node
    const auto add = [&](size_t ready, const char* name, DType type, void* data, size_t count, float factor) {
        start_sum_over_ranks(graph.external(name, {count}, type, data), factor);
        after[ready].push_back(std::move(graph.nodes.back()));
        graph.nodes.pop_back();
    };
    std::map<const void*, size_t> written;  // by which node, by address
    size_t last_statistic = 0;
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        for (const int v : graph.nodes[n].out)
            if (v >= 0 && graph.values[size_t(v)].address) written[graph.values[size_t(v)].address] = n;
        if (graph.nodes[n].op->name() == "batch_norm") last_statistic = n;
    }
    for (const ParameterRole role : {ParameterRole::weight, ParameterRole::norm_or_bias}) {
        const ParameterGroup& group = parameters.group(role);
        std::vector<const Parameters::Entry*> entries;  // the last layer first
        for (const Parameters::Entry& e : parameters.entries())
            if (e.trained && e.spec.role == role) entries.insert(entries.begin(), &e);
        size_t end = group.count, ready = 0;
        for (size_t i = 0; i < entries.size(); ++i) {
            ready = std::max(ready, written.at(parameters.gradient(entries[i]->name)));
            if (end - entries[i]->offset < kBucket && i + 1 < entries.size()) continue;
            add(ready, "gradients", group.dtype,
                group.gradient.as<std::byte>() + entries[i]->offset * size_of(group.dtype), end - entries[i]->offset,
                1);
            end = entries[i]->offset, ready = 0;
        }
    }
    const ParameterGroup& statistics = parameters.group(ParameterRole::statistic);
    if (last_statistic && statistics.count)
        add(last_statistic, "statistics", DType::f32, statistics.master.data(), statistics.count,
            1 / float(graph.ranks->count));
    std::vector<Node> nodes;
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        nodes.push_back(std::move(graph.nodes[n]));
        for (Node& node : after[n]) nodes.push_back(std::move(node));
    }
    graph.nodes = std::move(nodes);
}

void share(Ranks& ranks, Trainer& trainer, TrainingState& state) {
    if (ranks.count == 1) return;
    std::vector<const Buffer*> buffers;
    for (const ParameterRole role : {ParameterRole::weight, ParameterRole::norm_or_bias, ParameterRole::statistic})
        buffers.push_back(&trainer.parameters().group(role).master);
    for (const Optimizer::Slot& slot : trainer.optimizer().slots()) buffers.push_back(slot.memory);
    Device& device = trainer.parameters().device();
    for (const Buffer* buffer : buffers) {
        std::vector<std::byte> bytes(buffer->bytes());
        device.download(bytes.data(), buffer->data(), bytes.size());
        ranks.broadcast(bytes);
        device.upload(buffer->data(), bytes.data(), bytes.size());
    }
    double numbers[] = {double(state.step), double(state.epoch),     double(state.position),
                        state.loss_scale,   double(state.best_step), state.best_metric};
    ranks.broadcast(std::as_writable_bytes(std::span(numbers)));
    state.step = uint64_t(numbers[0]), state.epoch = uint64_t(numbers[1]), state.position = uint64_t(numbers[2]);
    ranks.process->watched = true;  // from here on it computes or reads images
    state.loss_scale = numbers[3], state.best_step = uint64_t(numbers[4]), state.best_metric = numbers[5];
}

std::vector<FailedImage> of_all_ranks(Ranks& ranks, const std::vector<FailedImage>& files) {
    if (ranks.count == 1) return files;
    json own = json::array();
    for (const FailedImage& f : files)
        own.push_back({json::binary({f.path.begin(), f.path.end()}), f.code, f.text, f.used});
    const std::vector<uint8_t> bytes = json::to_cbor(own);
    std::map<std::string, FailedImage> all;
    for (const std::string& text : ranks.gather({bytes.begin(), bytes.end()}))
        for (const json& f : json::from_cbor(text)) {
            const auto& path = f.at(0).get_binary();
            all.try_emplace({path.begin(), path.end()},
                            FailedImage{{path.begin(), path.end()}, f.at(1), f.at(2), f.at(3)});
        }
    std::vector<FailedImage> list;
    for (auto& [path, file] : all) list.push_back(std::move(file));
    return list;
}
