// What an owner of convolutions on the CPU may ask besides compute().
#pragma once

#include <cstddef>

size_t conv_primitives_created();  // of oneDNN, since the program started; a replayed step must not add any

size_t conv_weights_kept();  // packed copies of weights that were declared constant: none of a network that ran once

// Drops the packed copies of weights that were declared constant: call it when such weights change or are freed, while
// no convolution runs.
void drop_packed_weights();
