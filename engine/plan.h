// Memory planning: the address of every value of a graph, and the steps to run. Done once, replayed every step.
#pragma once

#include <memory>

#include "engine/graph.h"

struct Step {
    std::shared_ptr<const Op> op;
    std::vector<Tensor> in, out;
    std::string layer = {};

    Tensor operator[](std::string_view name) const;  // the operand of that name, empty if absent
};
std::string to_string(const Step&);  // "layer1.0.conv1: conv"

struct Plan {
    std::vector<size_t> offset;  // of each temporary in the arena, in bytes
    size_t bytes = 0;            // of the arena
    size_t lower_bound = 0;      // maximum bytes alive at once: no plan can be smaller
};

struct PlanOptions {
    bool share = true;      // two temporaries share memory when the last use of one comes before the first of the other
    bool in_place = false;  // an output may take the memory of the input that it overwrites: engine/op.h
    size_t gap = 0;         // bytes between values, for checkers that poison them
};

// `keep`: values that are read after the step.
Plan plan_memory(const Graph& graph, Values keep, const PlanOptions& options = {});

// `storage[i]`: the memory of value i if it is an input or a parameter, else null.
std::vector<Step> bind_steps(const Graph& graph, const Plan& plan, void* arena, std::span<void* const> storage);
