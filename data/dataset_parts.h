// Shared by the readers of data sets with classes and with boxes.
#pragma once

#include <optional>

#include "base/text.h"
#include "data/dataset.h"
#include "data/image.h"

// "train", "Training", "val", "valid", ... in any case.
std::optional<Part> part_of(const std::string& name);

// Replaces the backslashes of a Windows path, one without slashes.
std::string with_slashes(std::string path);

// An image under two names (absolute and relative, `a` and `./a`, through a link to its folder) would be in training
// and in validation. Fault::usage with `path`, the data set's.
void refuse_repeated_images(const std::string& path, const Dataset& data);

struct WantedFacts {
    bool serial_first = false;  // the serial number in EXIF replaces a known camera
    bool size = false;          // h and w
};
// Size, time and camera of every sample, from its file. Fault::usage, or a note if options.links, if two are one file,
// by a symbolic or a hard link: refuse_repeated_images() looks at folders only.
void read_all_facts(Dataset& data, const DatasetOptions& options, const WantedFacts& wanted);

// Size and status of an image, from its first bytes if they suffice; no pixels.
Decoded read_header(const std::string& path);

// Splits the samples as in data/split.h if the data set has no parts. Labels are 0 .. labels - 1.
void make_parts(bool has_parts, const DatasetOptions& options, size_t labels, Dataset& data);

Fingerprint fingerprint_of(const Dataset& data, bool boxes);
