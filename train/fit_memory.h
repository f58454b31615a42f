// Buffer that a training does not get: how much it needs, and which batch would fit.
#pragma once

#include "base/error.h"
#include "train/task.h"

// On a cpu: throws if more was taken than there is. The system hands out memory that it does not have, and kills later.
void require_memory(const Device& device);

// Throws what there is to say after `error`, for which building the task ended; what that took is given back by now.
[[noreturn]] void fail_for_memory(const TrainConfig& config, const Dataset& data, Device& device, DType precision,
                                  bool eager, const Error& error);
