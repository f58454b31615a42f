// A row of bench/kernels.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/op.h"

struct Slot {  // one operand of a row
    std::string name;
    Shape shape;
    DType dtype;
};

// One operation with its operands' shapes: what a row of the table times.
struct Row {
    std::shared_ptr<const Op> op, reference;  // reference: same operands; null where another device is the reference
    std::vector<Slot> in;                     // without those that are absent
    std::vector<OutputSpec> out;
    std::string name;

    size_t bytes() const {
        size_t sum = 0;
        for (const Slot& s : in) sum += numel(s.shape) * size_of(s.dtype);
        for (const OutputSpec& o : out) sum += numel(o.shape) * size_of(o.dtype);
        return sum;
    }
};

bool is_float(DType type) { return type == DType::f32 || type == DType::bf16 || type == DType::f16; }
