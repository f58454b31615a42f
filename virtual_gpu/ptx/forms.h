// The opcodes that are known. "add.rn.f32" with its types is one form; what is not in the table is an error at load.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "module.h"

namespace ptx {

// The operands of a form by their size in bytes: 1 for predicates, 0 for none. Registers of 1 and 2 bytes have lanes of
// 4. `Layout` says how the operands are written.
struct Form {
    enum Layout : uint8_t {
        plain,
        memory,
        shuffle,
        vote,
        barrier,
        barrier_warp,
        branch,
        exit,
        vector_move
    } layout = plain;
    Handler run = nullptr;
    uint8_t out = 0, in[3] = {};
    Space space = Space::none;
    uint8_t elements = 1;  // of a vector in memory
    bool store = false;
    // memory: by the size of the lanes of the register, 4 or 8
    Handler by_lane[2] = {};
};

using Forms = std::map<std::string, Form, std::less<>>;

const Forms& forms();

// Each adds the forms of one kind.
void add_arithmetic(Forms&);
void add_floats(Forms&);
void add_comparisons(Forms&);
void add_conversions(Forms&);
void add_memory(Forms&);
void add_warp_operations(Forms&);

}  // namespace ptx
