// Out-of-memory reports for training: how much is needed and the largest batch that fits.
#pragma once

#include "base/error.h"
#include "train/task.h"

uint64_t free_memory(const Device& device);

// The free memory that require_memory() compares with, to be asked before anything is built. Every rank calls it.
uint64_t memory_before_build(const Device& device, Ranks& ranks);

// Throws if the ranks of this machine, micro-batches among them, have allocated more than was free for the device cpu:
// the system overcommits, and would kill the process later.
void require_memory(const Device& device, const Ranks& ranks, uint64_t free);

// Throws the report after `error`, which ended the construction of a task; its memory, and the arena's, which is not
// used, must be released by now.
[[noreturn]] void fail_for_memory(const TrainConfig& config, Ranks& ranks, const Dataset& data,
                                  const TaskContext& context, uint64_t free, const Error& error);
