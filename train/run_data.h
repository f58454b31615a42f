// The data set of a run: opened, checked, and compared with what the run knew of it when it began.
#pragma once

#include "train/checkpoint.h"
#include "train/run_folder.h"

// Makes `config.data` absolute, because a run may be resumed from another folder, and sets `config.classes`.
// Errors: Fault::usage as of Task::open_data(), and for a part of which no image can be read; Fault::environment if
// `folder` holds a run of this data that has not finished, and images have gone since. Where that run has finished, a
// note tells what became of the images, and without them nothing is returned, except where a plan needs them. Links
// are errors for a new run only.
Dataset open_run_data(Task& task, TrainConfig& config, const RunFolder& folder, bool plan_only, const Note& note);

// ImagesLost if none of the images of a part could be read.
void require_images(const Dataset& data, Part part, const std::vector<FailedImage>& bad_files);

// Errors (usage): the checkpoint in `folder` belongs to other images or another configuration.
void require_same_run(const TrainingState& checkpoint, const TrainConfig& config, const Dataset& data,
                      size_t total_steps, const RunFolder& folder);
