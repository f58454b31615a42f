// The order of a data set's samples and how each image is moved and lit: pure functions of seed, epoch and sample, so
// neither threads nor a restart in the middle change anything.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// How far an image may be moved and lit; all zeros leave it alone. The default recipe and Keras' image generator as
// Celis et al. 2024 set it are values of this struct (train/config.h).
struct AugmentRanges {
    double flip = 0;                      // probability of a mirrored image
    double rotate = 0, shear = 0;         // degrees, drawn from -x..x
    double shift = 0, zoom = 0;           // share of the side; factor 1-x..1+x; each axis by itself
    double crop = 1;                      // smallest share of the area that a random crop keeps, its sides 3:4 to 4:3
    double brightness = 0, contrast = 0;  // factor 1-x..1+x; contrast about the middle grey

    bool operator==(const AugmentRanges&) const = default;
};

// What a transform means: kernels/image.h, ImageBatch. From result to image, about the centre, edges repeated:
//   rotation * shift * shear * zoom * crop * flip        rows before columns, as Keras writes its matrices:
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
