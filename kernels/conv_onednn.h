// What an owner of convolutions on the CPU may ask of conv_onednn.cpp besides compute().
#pragma once

#include <cstddef>

size_t conv_primitives_created();  // since the program started; a replayed step must not add any

// Drops the packed copies of weights that were declared constant: call it when such weights change or are freed, while
// no convolution runs.
void forget_constant_weights();
