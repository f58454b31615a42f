// The small detector that scripts/train_detector.sh made and that is installed beside the program.
#pragma once

#include <functional>
#include <string>

#include "app/jobs/machine.h"
#include "predict/detector.h"

// For a run without a model. `option`: with which one is named, for messages.
DetectorModel read_shipped(const std::string& option, const MachineOptions& machine,
                           const std::function<void(const std::string&)>& note);
