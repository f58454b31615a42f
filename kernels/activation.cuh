// The activation functions on a GPU. They are chosen by a value that all threads share: no thread waits for another.
#pragma once

#include "kernels/gpu.h"

__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }

__device__ __forceinline__ float activated(Activation activation, float x) {
    switch (activation) {
        case Activation::relu: return x < 0 ? 0.0f : x;  // NaN stays NaN
        case Activation::silu: return x * sigmoid(x);
        case Activation::sigmoid: return sigmoid(x);
        default: return x;
    }
}

// activation'(x)
__device__ __forceinline__ float activation_grad(Activation activation, float x) {
    switch (activation) {
        case Activation::relu: return x > 0 ? 1.0f : 0.0f;
        case Activation::silu: {
            const float s = sigmoid(x);
            return s * (1.0f + x * (1.0f - s));
        }
        case Activation::sigmoid: {
            const float s = sigmoid(x);
            return s * (1.0f - s);
        }
        default: return 1.0f;
    }
}
