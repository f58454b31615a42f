// Operations on `count` elements outside of a graph, for sums over ranks in a fixed order (engine/gpu_sums_cuda.cpp).
#pragma once

#include <memory>

#include "engine/op.h"

std::shared_ptr<const Op> add_op(size_t count);
std::shared_ptr<const Op> ema_op(size_t count);
