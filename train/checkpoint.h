// Training state on disk that survives a kill, a full disk and flipped bits.
//
// One safetensors file per checkpoint, FOLDER/step-N.safetensors: the arrays, and as metadata the state below and a
// hash over all of it, so that a file proves itself wherever it is copied. Saving is: temporary file, fsync, rename,
// fsync of the folder (base/file.h), then the file is read back and verified, and only then older ones are deleted. A
// crash at any point leaves the last verified checkpoint or the new one. Loading takes the newest that verifies.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/safetensors.h"

struct TrainingState {
    uint64_t step = 0;         // optimizer steps done; the schedule resumes here
    uint64_t total_steps = 0;  // of the schedule
    uint64_t epoch = 0;        // the current one
    uint64_t position = 0;     // batches of that epoch already used (data/loader.h, start())
    uint64_t seed = 0;         // determines, with epoch and position, all orders and augmentation
    double loss_scale = 1;
    uint64_t best_step = 0;  // 0: not validated yet
    double best_metric = 0;
    std::string data_fingerprint, config_hash;

    bool operator==(const TrainingState&) const = default;
};

struct Checkpoint {
    TrainingState state;
    SafetensorsFile file;
    std::filesystem::path path;
};

// Errors: Fault::damaged with the file and the reason, Fault::usage if it cannot be opened.
Checkpoint load_checkpoint(const std::filesystem::path& path);

// The newest of the folder that verifies, or nothing if there is no checkpoint. Every damaged one adds a line to
// `notes`, and so does the one used instead. Fault::damaged if there are some and none verifies.
std::optional<Checkpoint> load_newest_checkpoint(const std::filesystem::path& folder, std::vector<std::string>& notes);

// Of a text and of names, types, shapes and values, in whatever order.
std::string content_hash(const std::string& text, std::span<const FileTensor> tensors);

std::filesystem::path checkpoint_path(const std::filesystem::path& folder, uint64_t step);
// Of the checkpoints in `folder`, damaged ones too.
std::set<uint64_t> steps_in(const std::filesystem::path& folder);

// The one writer of a folder.
class CheckpointWriter {
public:
    // Creates the folder and removes the remains of interrupted saves.
    explicit CheckpointWriter(std::filesystem::path folder, size_t keep = 2, FileCalls calls = {});

    // Afterwards the folder holds the `keep` newest that verified and the best one that each of them names. Damaged
    // ones and those of later steps, from a run that was not continued, are deleted. Errors: Fault::environment;
    // nothing is deleted then.
    void save(const TrainingState& state, std::span<const FileTensor> tensors);

private:
    std::filesystem::path folder_;
    size_t keep_;
    FileCalls calls_;
    std::map<uint64_t, uint64_t> best_step_of_;  // per verified checkpoint in the folder
};
