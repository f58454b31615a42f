// How the sums of int8.h become y, for compute_direct() and for int8.cpp:
//
//   value = sum * scale(k) + shift(k)      and, where the residual is early, + residual byte * residual_scale
//
// In steps of y, that is all but limits and rounding. Else the activation follows, then a late residual, byte *
// residual_scale + residual_shift, and for bytes value * inverse + zero. Each product is fused with the addition after
// it.
#pragma once

#include "kernels/conv/int8.h"

struct Int8Terms {
    bool is_late, is_early;  // the residual, behind or before the activation
    bool in_steps;           // a value is a byte that is not rounded yet; ReLU limits it to `least`
    float unit, residual_scale, residual_shift, least;

    explicit Int8Terms(const ConvInt8& op)
        : is_late(op.residual && op.residual_last && op.activation != Activation::none),
          is_early(op.residual && !is_late),
          in_steps(op.y && op.activation != Activation::silu && !is_late),
          unit(in_steps ? 1 / op.y_range.scale : 1),
          residual_scale(op.residual_range.scale * unit),
          residual_shift(-(float(op.residual_range.zero) * residual_scale)),
          least(in_steps && op.activation == Activation::relu ? float(op.y_range.zero) : 0) {}

    float scale(const ConvInt8& op, size_t k) const { return op.x_range.scale * op.weight_scale[k] * unit; }
    float shift(const ConvInt8& op, size_t k) const {
        const float bias = (op.bias ? op.bias[k] : 0) * unit, early = bias + (is_early ? residual_shift : 0);
        return in_steps ? early + float(op.y_range.zero) : early;
    }
};
