// Labels in the files of other programs: COCO Camera Traps and Camtrap DP, known by their content.
#pragma once

#include <string>
#include <vector>

#include "data/box_source.h"

// An image with its class.
struct LabelledImage {
    Sample sample;
    std::string label;
};

struct LabelSource {
    std::filesystem::path root;  // names of samples are relative to it
    std::vector<LabelledImage> images;
    Warnings odd;
};

// The datapackage.json that `path` is or holds; empty if it is no data package.
std::filesystem::path data_package(const std::filesystem::path& path);

// A class per image, from a data package or a file in COCO's format. Images without a class, with several, or with one
// of an event only (a burst, not all of whose images need to show it) are left out and counted in `odd`. Classes of
// Camtrap DP are scientific names, and human, vehicle and blank. Fault::usage for a file that is neither.
LabelSource read_label_source(const std::filesystem::path& path);

// Classes animal, person and vehicle, as MegaDetector has them.
BoxSource read_camtrap_boxes(const std::filesystem::path& package);

// The classes of COCO's images.
LabelSource read_coco_labels(const std::filesystem::path& file);
