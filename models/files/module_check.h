// Whether a pickled network computes what tundra builds from its weights.
#pragma once

#include <map>
#include <string>

#include "models/files/pickle.h"

struct ModuleCheck {
    std::string problem{};  // the first layer that is not known, with its class or setting; "" if all are
    double epsilon = 0;     // of its normalizations; 0 if it has none
};

// What a module runs besides the forward() of its class: one of its own or hooks; "" if nothing. In fused files
// forward() is the one of the class that skips what was folded.
std::string own_code(PickleValue module);

// Looks at every module below `outermost`: its class and every setting that changes results (stride, padding, groups,
// dilation, activation, epsilon, pooling, upsampling). `names`: from the full name of each tensor of the network to the
// name that it has in models/resnet.h or models/yolov5.h. Modules outside of `prefix`, where the network begins, may be
// wrappers, losses and what changes nothing (dropout); if the last layer is unknown (`headless`), anything.
ModuleCheck check_modules(PickleValue outermost, const std::string& path, const std::string& prefix,
                          const std::map<std::string, std::string>& names, bool headless);
