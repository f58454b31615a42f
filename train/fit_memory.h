// Out-of-memory reports for training: how much is needed and the largest batch that fits.
#pragma once

#include "base/error.h"
#include "train/task.h"

// Throws if a device of kind cpu has allocated more than there is: the system hands out memory that it does not have,
// and kills the process later.
void require_memory(const Device& device);

// Throws the report after `error`, which ended the building of a task whose memory has been released by now.
[[noreturn]] void fail_for_memory(const TrainConfig& config, const Dataset& data, Device& device, DType precision,
                                  bool eager, const Error& error);
