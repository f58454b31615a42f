// A row of bench/kernels.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/op.h"
#include "engine/plan.h"

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
    Step without_memory() const {  // for those who look at its shapes
        Step step{op, {}, {}};
        void* const somewhere = reinterpret_cast<void*>(4096);
        const Operands operands = op->operands();
        for (const Operand& o : operands.in) {
            const auto slot = std::ranges::find(in, o.name, &Slot::name);
            step.in.push_back(slot == in.end() ? Tensor{} : Tensor{somewhere, slot->shape, slot->dtype});
        }
        for (const Operand& o : operands.out) {
            const auto spec = std::ranges::find(out, o.name, &OutputSpec::name);
            step.out.push_back(spec == out.end() ? Tensor{} : Tensor{somewhere, spec->shape, spec->dtype});
        }
        return step;
    }
};

inline bool is_float(DType type) { return type == DType::f32 || type == DType::bf16 || type == DType::f16; }
