// A layer as Keras describes it in JSON, and the refusal of one that tundra does not compute.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"

struct KerasRefusal {  // thrown
    std::string text;
};

struct KerasLayer {
    std::string key;  // its place in a file of Keras 3, "layers/functional/layers/conv2d_3"
    std::string class_name, name;
    nlohmann::json config, inputs;

    template <class... Parts>
    [[noreturn]] void refuse(fmt::format_string<Parts...> text, Parts&&... parts) const {
        throw KerasRefusal{
            fmt::format("its layer '{}' ({}) {}", name, class_name, fmt::format(text, std::forward<Parts>(parts)...))};
    }
};

// The values of a variable in the file of weights, for layers that keep there what they learned about the data; nothing
// if it is missing.
using StoredVariable = std::function<std::vector<float>(const KerasLayer&, const std::string& variable)>;

constexpr int kKerasDepth = 8;  // of models inside models, and of lists inside lists

// The numbers of a value of any nesting, also as Keras 3 stores tensors: {"config": {"value": [...]}}.
std::vector<double> keras_numbers(const nlohmann::json& value);
