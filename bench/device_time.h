// How long steps take on a device by itself, and what a GPU reaches at most.
#pragma once

#include "bench/peaks.h"
#include "engine/device.h"

// Seconds of all steps, one after the other: on a GPU between two events around one recorded graph, so that the host's
// work does not count; elsewhere by the clock on the wall. They run twice before.
double seconds_of(Device& device, std::span<const Step> steps);

bool on_silicon(const Device& device);  // a GPU, not a device that executes kernels on the CPU

// On the device cuda: copying 1 GiB within the GPU, and the product of two square matrices of that type by cuBLASLt,
// the best of five. On any other device: small ones, which only show that the code runs.
Peaks measure_gpu_peaks(Device& device, DType type);
