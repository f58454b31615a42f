// A quantized network as a state and as a safetensors file, which `tundra quantize` writes.
//
// Normalization is folded. For a convolution NAME on bytes, NAME.weight has the bytes, -127 to 127 (in a StateDict as
// floats, in the file as I8), and NAME.weight_scale (c_out) what a byte of each output channel stands for. For every
// convolution whose result is read as bytes, NAME.range (2) is the lowest and the highest number of that result. All
// other tensors are float32, as in other files. Metadata: kInt8, a JSON object
//   {"format": 1, "tundra": version, "original": file, "calibration_images": n, "labelled": bool, "float32": [names of
//   the convolutions left so], "float32_share": float32_share(), "checks": how many were made, "check":
//   to_text(PrecisionCheck) of the last}; files of earlier versions have neither share nor checks
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "engine/int8.h"
#include "models/state.h"

constexpr const char* kInt8 = "tundra.int8";
constexpr int kInt8Format = 1;
constexpr std::string_view kWeightScale = ".weight_scale", kRange = ".range";

struct Model;

// The layers that run on bytes when a network is quantized: all convolutions but those that read the image and those
// whose results leave the network (heads). `ranges`: of all convolutions, measured.
Int8Layers layers_to_quantize(const Model& model, std::map<std::string, Range> ranges);

// Of each convolution its share of the network's arithmetic, and what stays in float32 of it.
std::map<std::string, double> arithmetic_shares(const Model& model);
double float32_share(const Model& model, const Int8Layers& layers);

// The layers that give a network's outputs, with their operations.
std::map<std::string, std::string_view> output_layers(const Model& model);

// A state with folded normalization, quantized: symmetric weights, whose largest in each output channel becomes 127.
StateDict quantized(StateDict folded, const Int8Layers& layers);

// Errors (damaged): layers that the network does not have, or a range that it needs and does not get.
void check_int8(const Model& model);

// What a quantized state says of its layers. Empty for another state. Errors (damaged): a scale is missing, of another
// shape or not positive, a weight no byte, a range not finite, empty or without 0.
Int8Layers int8_layers(const StateDict& state);
