// A training run: data set and configuration in, run folder out. A run stopped at any moment resumes where it was.
//
// The run folder holds
//   config              the resolved configuration: `tundra train --config FILE` repeats the run
//   run.json            provenance: machine, versions, data, times (train/record.h)
//   log.jsonl           one line per step and per epoch
//   metrics.csv         one line per epoch
//   checkpoints/        step-N.safetensors (train/checkpoint.h)
//   model.safetensors   the resulting weights; the metadata has everything needed to use them
//   evaluation.json     metrics on validation and test images, and every prediction (predict/evaluation.h and
//                       predict/detect_evaluation.h)
//   bad_files.csv       images that could not be read: path, reason code, text
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/ranks.h"
#include "train/config.h"
#include "train/step_stats.h"

struct RunPlan {  // known before anything is computed
    std::vector<std::string> classes;
    size_t train_images = 0, validation_images = 0, test_images = 0;
    size_t parameters = 0, steps_per_epoch = 0, total_steps = 0;
    size_t memory_bytes = 0;      // on the device: parameters, gradients, optimizer, activations
    size_t cache_bytes = 0;       // of decoded images
    size_t disk_bytes = 0;        // of the run folder at its largest
    double seconds_per_step = 0;  // measured only for --plan, else 0
    std::string device, precision, schedule;
    std::vector<std::string> notes;
};

struct RunProgress {
    size_t step, total_steps;  // done so far
    size_t epoch, epochs;
    double images_per_second;  // over the last steps
    double seconds_left;
};

struct EpochReport {
    size_t epoch, epochs;
    NamedNumbers metrics;  // "train_loss", "validation_accuracy", ... as the task has them
    double seconds;
    bool best;
    double waited = 0;  // of the seconds, for sums over ranks that nothing hid
};

struct RunEvents {  // each may be empty
    std::function<void(const RunPlan&)> planned = {};
    std::function<void(const StepStats&, const RunProgress&)> step = {};
    std::function<void(const EpochReport&)> epoch = {};
    std::function<void(const std::string&)> note = {};  // resumed from, damaged checkpoint, ...
};

struct RunOptions {
    std::string folder = {};
    bool plan_only = false, fresh = false, eager = false, deterministic = false;
    Ranks* ranks = nullptr;      // that train together; null: this process alone
    size_t steps_per_graph = 0;  // TrainerConfig
    // "on" or "off": TrainerConfig. "auto": as the run began; a new one takes what whole steps on the GPU show to be
    // faster. run.json has it as "joined_gradients".
    std::string join_gradients = "auto";
    size_t stop_after_steps = 0;  // stop as on a signal, for tests; 0: never
};

enum class RunEnd { planned, finished, already_finished, stopped };

struct RunResult {
    RunEnd end;
    int exit_code = 0;  // 130 or 143 where a signal stopped the run, on whichever rank
    size_t step = 0;
    NamedNumbers metrics = {};  // of validation and test images
    size_t bad_files = 0;
};

// Errors: Fault::usage for a configuration that does not fit the folder's run or the data, Fault::not_finite if the
// loss diverges, Fault::memory, Fault::environment; the last checkpoint stays.
RunResult train_run(TrainConfig config, const RunOptions& options, const RunEvents& events);
RunResult train_as_rank(TrainConfig config, const RunOptions& options,
                        const RunEvents& events);  // without micro-batches
