// In which precision a run trains.
#pragma once

#include "predict/precision.h"
#include "train/run_folder.h"
#include "train/task.h"

// What --precision says. On the device cpu `auto` takes bf16 where --init is a model that passed
// predict/precision_check.h and a step is faster so. A run that is resumed keeps to what it began with. Fault::usage
// for a run in bf16 that began on a processor with other instructions, and for 16 bits with several ranks.
PrecisionChoice precision_of_run(const TrainConfig& config, Device& device, Ranks& ranks, const RunFolder& folder,
                                 const Dataset& data);

// As run.json has it.
nlohmann::json precision_facts(const PrecisionChoice& choice, const Device& device);
