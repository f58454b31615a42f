// Shuffling and augmentation as pure functions of seed, epoch and sample: threads and restarts change nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// Ranges of geometric and brightness changes; zeros leave an image unchanged. The default recipe and Keras' image
// generator with the settings of Celis et al. 2024 are values of this struct (train/setup.cpp).
struct AugmentRanges {
    double flip = 0;                      // probability of a mirrored image
    double rotate = 0, shear = 0;         // degrees, drawn from -x..x
    double shift = 0, zoom = 0;           // share of the side; factor 1-x..1+x; separately per axis
    double crop = 1;                      // minimum share of the area that a random crop keeps, sides 3:4 to 4:3
    double brightness = 0, contrast = 0;  // factor 1-x..1+x; contrast around middle grey

    bool operator==(const AugmentRanges&) const = default;
};

// A transform as in kernels/image.h (ImageBatch), from result to image, around the center, edges repeated:
//   rotation * shift * shear * zoom * crop * flip        (row, column), in the order of Keras:
//   https://github.com/keras-team/keras-preprocessing, image/affine_transformations.py
struct Augmentation {
    std::array<float, 6> transform;  // a b c d e f
    std::array<float, 2> color;      // gain offset
};

struct AugmentKey {
    uint64_t seed, epoch, sample;
};

Augmentation augmentation(const AugmentRanges& ranges, const AugmentKey& key, size_t in_size, size_t out_size);

// A permutation of 0..n-1.
std::vector<uint32_t> order(uint64_t seed, uint64_t epoch, size_t n);
