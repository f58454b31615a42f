// The named parameters of a network in flat arrays: one launch updates all of them, one copy saves them.
#pragma once

#include <functional>
#include <map>

#include "engine/device.h"

// Parameters of one ParameterRole. Frozen ones come first, so that the trained ones are one range.
struct ParameterGroup {
    DType dtype = DType::f32;      // of the copy and of the gradient
    size_t count = 0, frozen = 0;  // elements; the range [frozen, count) is trained
    Buffer master;                 // count floats; empty for 16 bits without gradients
    Buffer gradient;               // count elements of dtype; only if gradients are wanted
    Buffer copy;                   // count elements of dtype; only if dtype is not f32
    size_t trained() const { return count - frozen; }
};

class Parameters {
public:
    struct Entry {
        std::string name;
        Shape shape;  // convolution weights: (c_out, kernel_h, kernel_w, c_in)
        ParameterSpec spec;
        size_t offset;  // elements, in its group
        bool trained;
    };
    struct Options {
        bool gradients = false;
        std::function<bool(const std::string&)> trained = [](const std::string&) { return true; };
    };

    // Allocates every parameter of the graph, filled with zeros.
    Parameters(Device& device, const Graph& graph, const Options& options);
    Parameters(Device& device, const Graph& graph) : Parameters(device, graph, Options{}) {}

    Device& device() const { return device_; }
    const std::vector<Entry>& entries() const { return entries_; }  // in the order of the graph
    const Entry& entry(const std::string& name) const;
    bool contains(const std::string& name) const { return index_.contains(name); }
    size_t scalar_count() const;  // of weights and vectors

    ParameterGroup& group(ParameterRole role) { return groups_[size_t(role)]; }
    const ParameterGroup& group(ParameterRole role) const { return groups_[size_t(role)]; }

    void* address(const std::string& name) const;   // read by the network
    void* gradient(const std::string& name) const;  // written by the backward pass
    void set(const std::string& name, std::span<const float> values);
    std::vector<float> get(const std::string& name) const;
    std::vector<float> get_gradient(const std::string& name) const;

private:
    Device& device_;
    std::vector<Entry> entries_;
    std::map<std::string, size_t> index_;
    ParameterGroup groups_[4];
};

// Fills every parameter as declared. Each name has a separate stream of random numbers, so that the result does not
// depend on the order or on other parameters.
void initialize(Parameters& parameters, uint64_t seed);
