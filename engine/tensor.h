// A view of an array on some device. Whoever allocated the memory owns it.
#pragma once

#include <fmt/format.h>

#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"

using Shape = std::vector<size_t>;  // NHWC for images, C fastest

inline size_t numel(const Shape& shape) {
    size_t n = 1;
    for (size_t d : shape) n *= d;
    return n;
}

inline std::string to_string(const Shape& shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

struct Tensor {
    void* data = nullptr;
    Shape shape;
    DType dtype = DType::f32;

    template <class T>
    T* as() const {
        return static_cast<T*>(data);
    }
    size_t bytes() const { return numel(shape) * size_of(dtype); }
};

using Tensors = std::span<const Tensor>;
