// The arrays of a trainer in a checkpoint: the network as "model.NAME", the optimizer's as "optimizer.NAME".
#pragma once

#include "train/checkpoint.h"
#include "train/trainer.h"

// Throws if the network holds numbers that are not finite: such weights are never saved over good ones.
void require_finite(const StateDict& network, size_t step, double learning_rate);

// `network`: Trainer::state().
void save_trainer(Trainer& trainer, const StateDict& network, const TrainingState& state, CheckpointWriter& writer);

// Errors: Fault::damaged if an array is missing or has another size.
void restore_trainer(Trainer& trainer, const Checkpoint& checkpoint);
