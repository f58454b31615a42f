// Inference in int8 on the device cpu: which layers of a network compute on bytes, and how a graph is made to.
//
// A byte of an activation stands for (byte - zero) * scale, one pair per tensor; weights are bytes with one scale per
// output channel. Jacob et al. 2018, https://arxiv.org/abs/1712.05877
#pragma once

#include <map>
#include <set>
#include <string>

#include "engine/graph.h"

struct Quantization;

struct Range {  // of numbers; holds 0
    float low = 0, high = 0;
    bool operator==(const Range&) const = default;
};
Quantization quantization_of(const Range& range);

struct Int8Layers {                       // by their names, which nodes have as Node::layer
    std::set<std::string> convolutions;   // on bytes
    std::map<std::string, Range> ranges;  // of what convolutions give, those in float32 among them
    bool empty() const { return convolutions.empty(); }
};

// The type in which a network of this precision is traced: of int8 (DType::i8) float32.
constexpr DType traced_type(DType precision) { return precision == DType::i8 ? DType::f32 : precision; }

// In an inference graph in float32, replaces the convolutions of `layers` by such on bytes. Pools, upsampling, slices
// and concatenations between them take bytes too; all else stays float32, and tensors are converted where the two meet.
// The parameter NAME.weight of a replaced convolution gets the role int8_weight, and NAME.weight_scale joins it. Other
// values keep their numbers. Errors (damaged): a range that is needed is missing.
void use_int8(Graph& graph, const Int8Layers& layers);
