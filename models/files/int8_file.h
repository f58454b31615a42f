// Quantized networks in files: models/int8.h.
#pragma once

#include <cstdint>
#include <functional>

#include "base/safetensors.h"
#include "models/files/weights.h"

// Of a safetensors file whose metadata has kInt8: takes scales and ranges out of file.state into file.int8. Errors: a
// newer format (usage); tensors that contradict each other (damaged).
void take_int8(WeightFile& file);

// file.int8 and file.state as one state, with the layers that it makes of the model, checked. Nothing for other files.
void join_int8(const WeightFile& file, StateDict& state, Int8Layers& layers, const std::function<Model()>& network);

// The tensors of a state as files have them: float32, and the weights of a quantized network as I8. `bytes` holds the
// latter.
std::vector<FileTensor> file_tensors(const StateDict& state, std::vector<std::vector<int8_t>>& bytes);
