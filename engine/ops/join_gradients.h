// Two gradients that meet at the end of a block of ResNet, added by the convolution that gives one of them.
#pragma once

#include "engine/graph.h"

// Behind gradients(), not for the CPU. Where batch_norm_backward adds two gradients behind a ReLU and one of them comes
// out of a convolution, that convolution gets the other one and the ReLU's output (ConvBackwardData), so that
// batch_norm_backward reads one tensor instead of three and writes one less.
void join_gradients(Graph& graph);
