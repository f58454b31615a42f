// Out-of-memory reports for training: how much is needed and the largest batch that fits.
#pragma once

#include "base/error.h"
#include "train/task.h"

// Throws if the device cpu has allocated more than is free: the system overcommits, and would kill the process later.
void require_memory(const Device& device);

// Throws the report after `error`, which ended the construction of a task; its memory, and the arena's, which is not
// used, must be released by now.
[[noreturn]] void fail_for_memory(const TrainConfig& config, Ranks& ranks, const Dataset& data,
                                  const TaskContext& context, const Error& error);
