// The CPU convolutions as a device sees them: whether their library is there, the statistics of their caches, and when
// packed weights become invalid.
#pragma once

#include <cstddef>
#include <string>

// Why oneDNN is not used; empty where it is. Without it all convolutions and products are own loops.
const std::string& onednn_missing();

size_t conv_primitives_created();  // of oneDNN, since the program started; a replayed step must not add any

size_t packed_weight_count();  // copies of weights that were declared constant; none after a single run of a network

// Drops the packed copies of constant weights in [memory, memory + bytes). To be called when such memory is written to
// or freed, while no convolution reads it; the device `cpu` does so in upload() and release().
void drop_packed_weights(const void* memory, size_t bytes);
