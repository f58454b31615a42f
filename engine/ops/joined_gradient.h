// Two gradients that meet at a ReLU, added by the convolution that gives one of them.
#pragma once

#include "engine/graph.h"

// `a` and `b` are all of the gradient of y, the output of a ReLU. Where one of them comes out of a convolution and the
// graph wants it, that convolution is made the last node so far and given the other one: the result is the gradient of
// what the ReLU read. Else an empty value.
Value joined_gradient(Value a, Value b, Value y);
