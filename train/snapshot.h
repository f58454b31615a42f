// The arrays of a trainer in a checkpoint: the network as "model.NAME", the optimizer's as "optimizer.NAME".
#pragma once

#include <future>
#include <utility>
#include <vector>

#include "train/checkpoint.h"
#include "train/trainer.h"

// Throws if the network holds numbers that are not finite: such weights are never saved over good ones.
void require_finite(const StateDict& network, size_t step, double learning_rate);

struct Snapshot {  // a copy on the host, while the trainer goes on
    TrainingState state;
    StateDict network;
    std::vector<std::pair<std::string, std::vector<std::byte>>> slots;  // of the optimizer
};
Snapshot snapshot_of(Trainer& trainer, StateDict network, const TrainingState& state);  // network: Trainer::state()

// Writes checkpoints beside the training, one at a time. Errors are those of CheckpointWriter::save(), thrown by the
// next call of any function.
class BackgroundWriter {
public:
    // `newest`: the step of the newest checkpoint in the folder; 0: there is none.
    BackgroundWriter(std::filesystem::path folder, size_t keep, uint64_t newest, FileCalls calls = {});

    // Returns at once, unless the one before is still being written: then it waits for that one, so that no more than
    // two intervals are ever missing on the disk.
    void start(Snapshot snapshot);
    void look();              // throws if a checkpoint could not be written; does not wait
    void finish();            // waits until all are on the disk
    std::string fault();      // waits too; why the last one could not be written, "" if it was or that was told before
    uint64_t last_written();  // waits too; the step of the newest checkpoint that was written; throws nothing

private:
    CheckpointWriter writer_;
    uint64_t newest_;
    std::future<void> writing_;  // last: its destructor waits
};

// Errors: Fault::damaged if an array is missing or has another size.
void restore_trainer(Trainer& trainer, const Checkpoint& checkpoint);
