// The head of a result file for a model, as MegaDetector's tools write it.
// https://github.com/agentmorris/MegaDetector/blob/main/megadetector-output-format.md
#pragma once

#include "app/detect/result_file.h"
#include "models/files/detector_file.h"

// Categories and info, without completion time and settings of the run. `image_size`: at which the model runs.
ResultHead result_head(const DetectorModel& model, size_t image_size);
