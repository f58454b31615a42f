// Whether a run joins gradients in convolutions (engine/ops/join_gradients.h), which only a GPU can decide for itself.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "train/run.h"
#include "train/task.h"

// `record`: run.json of a run that is resumed, or null. Errors (usage): a device that cannot.
bool joins_gradients(const RunOptions& options, const nlohmann::json& record, const TrainConfig& config, Ranks& ranks,
                     const TaskContext& context, const Dataset& data, const Note& note);
