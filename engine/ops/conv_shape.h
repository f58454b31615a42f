// The sizes of a convolution, checked: an Error names what does not fit.
#pragma once

#include "engine/ops.h"
#include "kernels/conv/conv.h"

ConvShape conv_shape(Value x, Value weight, const ConvOptions& options);
