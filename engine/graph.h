// A static graph: the operations of one step, their shapes and their order. No tensor elements are touched here.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/tensor.h"

class Graph;
class Ranks;
struct Op;

struct Value {  // a tensor that some node of the graph produces, or that comes from outside
    Graph* graph = nullptr;
    int id = -1;
    explicit operator bool() const { return id >= 0; }
    const Shape& shape() const;
    DType dtype() const;
};

using Values = std::span<const Value>;
using NamedValues = std::map<std::string, Value>;  // operands of a node by name

enum class ValueKind {
    input,      // written by the host before a step
    parameter,  // in Parameters, by name
    external,   // at an address known when the graph is built
    temporary   // in the arena, as long as it is needed
};

// The role of a parameter for the optimizer and the number format.
enum class ParameterRole {
    weight,        // convolution and matrix weights: in the network's type, with a float master copy
    norm_or_bias,  // scales, shifts, biases: always float
    statistic,     // running mean and variance: float, no gradient
    int8_weight    // bytes, of a quantized network: engine/int8.h
};

// The initial values of a parameter that is not read from a file.
enum class Initializer {
    zeros,
    ones,
    kaiming_normal_fan_out,  // He et al. 2015, as torchvision's ResNet: normal, std = sqrt(2 / (c_out * kh * kw))
    kaiming_uniform_fan_in,  // torch's default for convolutions: uniform, bound = 1 / sqrt(fan_in)
    glorot_uniform,          // Keras: uniform, bound = sqrt(6 / (fan_in + fan_out))
    uniform_fan_in           // torch's Linear, weight and bias: uniform, bound = 1 / sqrt(fan_in)
};

struct ParameterSpec {
    ParameterRole role = ParameterRole::weight;
    Initializer init = Initializer::zeros;
    size_t fan_in = 0;   // of uniform_fan_in biases, whose shape does not give it
    size_t padding = 0;  // the last input channels of a convolution, where x is zero; files do not hold them
};

struct Node {
    std::shared_ptr<const Op> op;
    std::vector<int> in, out;  // in the order of op->operands(); -1: an optional operand that is absent
    std::string layer = {};    // of the network, for profilers and error messages

    int operator[](std::string_view name) const;  // the operand of that name, -1 if absent
};

struct ValueInfo {
    std::string name;
    Shape shape;
    DType dtype;
    ValueKind kind = ValueKind::temporary;
    ParameterSpec spec = {};  // parameters only
    void* address = nullptr;  // external, and temporaries that Graph::bind() fixed
};

struct OutputSpec {  // of a new node; omitted if it is like an empty value
    std::string name;
    Shape shape = {};
    DType dtype = DType::f32;
    bool there = true;
    OutputSpec(std::string name, Shape shape, DType dtype)
        : name(std::move(name)), shape(std::move(shape)), dtype(dtype) {}
    OutputSpec(std::string name, Value like) : name(std::move(name)), there(bool(like)) {
        if (there) shape = like.shape(), dtype = like.dtype();
    }
};

class Graph {
public:
    // `compute`: type of activations and weights. `training`: weights change between steps, gradients will be
    // needed.
    explicit Graph(DType compute = DType::f32, bool training = false) : compute(compute), training(training) {}
    Graph(const Graph&) = delete;  // values point to their graph

    const DType compute;
    const bool training;
    std::string layer;             // layer of the next nodes
    Ranks* ranks = nullptr;        // that the loss is summed over; null: this process alone
    bool sync_batch_norm = false;  // batch norm over the images of all ranks
    std::vector<ValueInfo> values;
    std::vector<Node> nodes;  // in the order in which they run

    Value input(std::string name, Shape shape, DType dtype) {
        return value({std::move(name), std::move(shape), dtype, ValueKind::input});
    }
    Value parameter(std::string name, Shape shape, ParameterSpec spec);  // the same name again is the same value
    Value external(std::string name, Shape shape, DType dtype, void* address) {
        return value({std::move(name), std::move(shape), dtype, ValueKind::external, {}, address});
    }

    // The node writes this value to a fixed address outside the arena, such as a slice of the flat gradient array. The
    // graph does not know that this memory is also the external value "gradient" that an optimizer reads: no edge joins
    // the two. It is correct because nodes run in the order in which they were added, the optimizer's last.
    void bind(Value v, void* address) { values[size_t(v.id)].address = address; }

    Value value(ValueInfo info) {
        values.push_back(std::move(info));
        return {this, int(values.size()) - 1};
    }
};

// Adds a node to the graph of its inputs; returns its outputs. Optional operands may be left out. An Error names an
// operand that the operation does not have.
NamedValues add_node(std::shared_ptr<const Op> op, const NamedValues& in, const std::vector<OutputSpec>& out);

inline const Shape& Value::shape() const { return graph->values[size_t(id)].shape; }
inline DType Value::dtype() const { return graph->values[size_t(id)].dtype; }

// Adds to the graph of y the gradient of sum(y * dy) with respect to each of `wanted`; an empty Value if y does not
// depend on it. dy has y's shape.
std::vector<Value> gradients(Value y, Value dy, Values wanted);
