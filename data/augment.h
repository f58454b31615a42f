// The order of a data set's samples and how each picture is moved and lit: pure functions of seed, epoch and sample, so
// neither threads nor a restart in the middle change anything.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// What a transform means: kernels/image.h, ImageBatch. All are about the centre; edges repeat.
enum class Recipe {
    none,      // scaled from in_size to out_size, nothing else
    standard,  // flip, scale 0.9..1.1, shift up to 5 %, rotation up to 5 degrees, contrast 0.8..1.2, brightness +-20
    keras      // Keras' image generator as Celis et al. 2024 set it: rotation up to 40 degrees, shifts up to 20 %, shear up
               // to 0.2 DEGREES (the unit of Keras: nearly nothing), zoom 0.8..1.2 for each axis by itself, flip.
               // Matrix: rotation * shift * shear * zoom, from result to picture, rows before columns.
               // https://github.com/keras-team/keras-preprocessing: image/affine_transformations.py
};

struct Augmentation {
    std::array<float, 6> transform;  // a b c d e f
    std::array<float, 2> color;      // gain offset
};

struct AugmentKey {
    uint64_t seed, epoch, sample;
};

Augmentation augmentation(Recipe recipe, const AugmentKey& key, size_t in_size, size_t out_size);

// A permutation of 0..n-1.
std::vector<uint32_t> order(uint64_t seed, uint64_t epoch, size_t n);
