// The facts of a run and of a session for run.json (train/record.h).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "train/run.h"
#include "train/schedule.h"
#include "train/task.h"

RunPlan plan_of(const TrainConfig& config, const Dataset& data, Task& task, const Device& device, DType precision,
                size_t steps_per_epoch, const Schedule& schedule);
// With several ranks also where each of them runs; every rank calls it.
nlohmann::json session_facts(const TrainConfig& config, const Device& device, DType precision, Ranks& ranks);
nlohmann::json run_facts(const TrainConfig& config, const Dataset& data, uint64_t total_steps);
// The row of metrics.csv behind its step, and the line of the log.
std::vector<std::optional<double>> epoch_row(const EpochReport& report, double learning_rate);
nlohmann::json epoch_line(uint64_t step, const EpochReport& report);
nlohmann::json step_line(uint64_t step, uint64_t epoch, const StepStats& stats, bool lost, const Ranks& ranks);
