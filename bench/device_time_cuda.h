// The parts of bench/device_time.h that call the CUDA runtime.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device.h"

double seconds_between_events(Device& device, std::span<const Step> steps);
double copied_per_second(size_t bytes);  // read plus written

bool has_cudnn(Device& device);  // not where the CUDA runtime is the stand-in for tests

// Seconds of cuDNN's own batch_norm, batch_norm_backward, max_pool or max_pool_backward on these images (NHWC), without
// activation and residual: its fastest engine, 20 runs between two events. Nothing where cuDNN has no such operation.
std::optional<double> seconds_of_cudnn(Device& device, std::string_view op, const Shape& x, const Shape& y, DType type);

// The engines that cuDNN proposes for the step of a convolution, ready-made ones and all that it compiles, and the
// seconds of one: 20 runs between two events, nothing where it cannot run after all. The step's memory is not used.
std::vector<std::string> cudnn_engines(Device& device, const Step& step);
std::optional<double> seconds_of_cudnn(Device& device, const Step& step, const std::string& engine);
