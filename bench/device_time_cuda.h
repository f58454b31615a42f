// The parts of bench/device_time.h that call the CUDA runtime.
#pragma once

#include <span>

#include "engine/device.h"

double seconds_between_events(Device& device, std::span<const Step> steps);
double copied_per_second(size_t bytes);  // read plus written
