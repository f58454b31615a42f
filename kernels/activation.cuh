// The activation functions on a GPU. All threads of a launch take the same branch.
#pragma once

#include "kernels/gpu.h"

__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }

__device__ __forceinline__ float activated(Activation activation, float x) {
    switch (activation) {
        case Activation::relu: return x < 0 ? 0.0f : x;  // NaN stays NaN
        case Activation::silu: return x * sigmoid(x);
        default: return x;
    }
}

__device__ __forceinline__ float silu_grad(float x) {
    const float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}
