// The facts of a run and of a session for run.json (train/record.h).
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "predict/precision.h"
#include "train/record.h"
#include "train/run.h"
#include "train/schedule.h"
#include "train/task.h"

RunPlan plan_of(const TrainConfig& config, const Dataset& data, Task& task, const Device& device,
                const PrecisionChoice& precision, size_t steps_per_epoch, const Schedule& schedule);
// With several ranks also where each of them runs; every rank calls it.
nlohmann::json session_facts(const TrainConfig& config, const Device& device, DType precision, Ranks& ranks);
nlohmann::json run_facts(const TrainConfig& config, const Dataset& data, uint64_t total_steps,
                         nlohmann::json precision);
// How many steps a graph has goes into the record once the trainer has decided; `note` says it where nobody `asked` for
// a number. False: not yet.
bool record_steps_per_graph(RunRecord& record, const Device& device, const Trainer& trainer, size_t asked,
                            const Note& note);

struct PendingStep {  // started and not logged yet
    uint64_t step;
    ScheduleValue value;
    std::chrono::steady_clock::time_point begin;
    size_t images;  // readable ones
    double waited;  // StepStats::waited
};
// The row of metrics.csv behind its step, and the line of the log.
std::vector<std::optional<double>> epoch_row(const EpochReport& report, double learning_rate);
nlohmann::json epoch_line(uint64_t step, const EpochReport& report);
nlohmann::json step_line(uint64_t step, uint64_t epoch, const StepStats& stats, bool lost, const Ranks& ranks);
