// Which MegaDetector suits a machine: what `tundra detect` says without --model, and what `tundra doctor` measures.
#pragma once

#include <string>

#include "engine/device.h"

// A file of release v1000.0 and its form at an image of 4:3.
struct SuitableDetector {
    const char *name, *form;  // for people, for random_detector()
    size_t h, w;              // of the network's input
};
// By MegaDetector's release notes: the largest with a GPU, the fast one of the two newest forms without.
SuitableDetector suitable_detector(bool gpu);

// "MDv1000-sorrel suits a machine without a GPU; get it from ..."
std::string detector_advice(bool gpu);

// Images per hour that the network takes on the device, from random weights of its form: about five seconds, without
// decoding.
double images_per_hour(Device& device, const SuitableDetector& detector);
