// Starting and using several ranks: base/ranks.h says what they can do, docs/scaling.md how a training uses them.
#pragma once

#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/ranks.h"
#include "base/signals.h"
#include "data/loader.h"
#include "train/checkpoint.h"
#include "train/config.h"
#include "train/task.h"

// All ranks of the launcher that started this process (mpirun, mpiexec, srun), or this process alone. Errors (usage):
// the launcher started several processes that do not know each other, because it belongs to another MPI or this build
// has none: they would all write one run.
std::unique_ptr<Ranks> open_ranks();

size_t launched();  // processes that a launcher started together

// Where `device` names several GPUs and no launcher started this process: starts it again as a rank for each, waits for
// them, hands signals on, ends all when one fails or hangs, and returns the exit code. Else, as in these ranks,
// nothing. `checkpoints`: where they are, for its last words.
std::optional<int> run_on_each_gpu(const std::string& device, const std::filesystem::path& checkpoints);
std::unique_ptr<Ranks> local_ranks();  // for such a rank; else null

struct MpiLibrary {
    std::string version;  // empty: it cannot be used, and `missing` says why
    std::string missing;
};
MpiLibrary mpi_library();

// Where the configuration leaves it open, each rank takes its share of the processors. Errors (usage): a batch that
// cannot be split evenly.
void share_machine(const Ranks& ranks, TrainConfig& config);
bool is_cpu(const std::string& device);  // as --device names it, "auto" included
// The device of this rank: of several on one machine each takes a GPU of its own.
std::unique_ptr<Device> open_device_of(const Ranks& ranks, const TrainConfig& config, bool deterministic,
                                       const Note& note);
// Joins the devices of several ranks, null for one: Device::sums(). Every rank calls it. Errors (usage): devices on
// which they cannot train together.
std::unique_ptr<GpuSums> join_devices(Ranks& ranks, Device& device, size_t steps_per_graph);
void require_same_data(Ranks& ranks, const Dataset& data);  // Fault::usage if a rank sees other images

// What the ranks tell each other before each step, so that all of them stop, or save, behind the same one.
struct Agreement {
    size_t images;  // of all ranks together
    int stop_code;  // the exit code for the signal that some rank received; 0: none
    bool save;      // some rank received SIGUSR1 or wants it
};
// `save`: this rank wants it. Signals null: those of another thread.
Agreement agree(Ranks& ranks, StopSignals* signals, size_t images, bool save);

bool on_all_ranks(Ranks& ranks, bool here);

// Adds to the graph, behind the backward pass, the sums of the gradients and the means of the running statistics.
// Gradients are summed in buckets of the flat arrays, from the last layer to the first, as soon as they are there.
void sum_over_ranks(Graph& graph, const Parameters& parameters);

// Makes every rank's network, optimizer and state those of rank 0.
void share(Ranks& ranks, Trainer& trainer, TrainingState& state);

// The numbers of every rank, on every rank.
template <class T>
std::vector<std::vector<T>> gather(Ranks& ranks, std::span<const T> own) {
    std::vector<std::vector<T>> all;
    for (const std::string& bytes : ranks.gather({reinterpret_cast<const char*>(own.data()), own.size_bytes()})) {
        all.emplace_back(bytes.size() / sizeof(T));
        std::memcpy(all.back().data(), bytes.data(), bytes.size());
    }
    return all;
}

std::vector<FailedImage> of_all_ranks(Ranks& ranks, const std::vector<FailedImage>& files);  // each path once
