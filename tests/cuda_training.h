// Training steps of a narrow ResNet, for tests of the device cuda over the stand-in for the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "engine/device_cuda.h"
#include "models/resnet.h"
#include "train/trainer.h"

#ifdef WITH_PTX
inline constexpr const char* kKernelsOf = "ptx";
#else
inline constexpr const char* kKernelsOf = "simt";
#endif

inline Fault fault_of(const std::function<void()>& f, std::string& text) {
    try {
        f();
    } catch (const Error& e) {
        text = e.what();
        return e.fault;
    }
    text = "nothing was thrown";
    return Fault::runtime;
}

inline constexpr size_t kBatch = 4, kSize = 32;

inline Batch batch(unsigned seed) {
    Batch b;
    for (size_t i = 0; i < kBatch * kSize * kSize * 3; ++i) b.images.push_back(uint8_t((i + seed) * 2654435761u >> 24));
    for (size_t i = 0; i < kBatch; ++i) {
        for (float f : {1, 0, 0, 0, 1, 0}) b.transform.push_back(f);
        for (float f : {1, 0}) b.color.push_back(f);
        b.labels.push_back(int32_t((i + seed) % 3));
    }
    return b;
}

inline TrainerConfig config(bool eager = false) {
    return {.model = make_model(ResNetConfig{.depth = 50, .classes = 3, .width = 4}),
            .batch = kBatch,
            .height = kSize,
            .width = kSize,
            .normalize = {{0.02f, 0.02f, 0.02f}, {-2, -2, -2}},
            .loss = classification_loss(),
            .eager = eager};
}
