// Shared by the readers of data sets with classes and with boxes.
#pragma once

#include <optional>

#include "base/text.h"
#include "data/dataset.h"
#include "data/image.h"

// "train", "Training", "val", "valid", ... in any case.
std::optional<Part> part_of(const std::string& name);

// A path as Windows writes it: its backslashes are slashes if it has no slashes.
std::string with_slashes(std::string path);

struct WantedFacts {
    bool serial_first = false;  // the serial number of EXIF replaces a camera that is known already
    bool size = false;          // h and w
};
// Size, time and camera of every sample, from its file.
void read_all_facts(Dataset& data, const DatasetOptions& options, const WantedFacts& wanted);

// Size and trouble of an image, from its first bytes where they will do; no pixels.
Decoded read_header(const std::string& path);

// Parts the samples as data/split.h has it, where the data set does not say itself. Labels are 0 .. labels - 1.
void make_parts(bool has_parts, const DatasetOptions& options, size_t labels, Dataset& data);

Fingerprint fingerprint_of(const Dataset& data, bool boxes);
