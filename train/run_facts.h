// The facts of a run and of a session for run.json (train/record.h).
#pragma once

#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "engine/device.h"
#include "train/config.h"

nlohmann::json session_facts(const TrainConfig& config, const Device& device, DType precision);
nlohmann::json run_facts(const TrainConfig& config, const Dataset& data, uint64_t total_steps);
