// The float datasets of an HDF5 file, read in a child process, so that a fault of the library becomes an error instead
// of a crash.
#pragma once

#include "base/safetensors.h"

// Metadata: `model_config`, in which Keras keeps the architecture, and "name G" for each group G/vars that says, as
// those of Keras 3 do, which layer it belongs to. Names are paths inside the file, "conv1_conv/conv1_conv/kernel:0";
// all elements become float32. Without HDF5 at build time every file is refused. Limits: 20,000 objects, 8 levels, all
// data at most 64 MiB + 16 times the file, 60 s of CPU time.
SafetensorsFile read_hdf5(const std::filesystem::path& path);
SafetensorsFile read_hdf5(const std::filesystem::path& path, std::span<const std::byte> bytes);  // path: for messages
