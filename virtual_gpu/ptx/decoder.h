// One kernel from its text to instructions: registers get places in a warp's memory, constants and special registers
// too.
#pragma once

#include <map>

#include "module.h"

namespace ptx {

// The size of a shared variable or parameter; bytes is 0 for the array whose size the launch says.
struct Variable {
    size_t align, bytes;
};
using Variables = std::map<std::string_view, Variable>;

size_t number_in(std::string_view text);

// Of ".shared .align 4 .b8 name[16]" or ".param .u64 .ptr .align 1 name": the name without its extent, and the size.
std::pair<std::string_view, Variable> declared(std::string_view text);

// `line` is that of the body in the PTX. Throws Error with kernel, line and statement.
void decode(Kernel& kernel, std::string_view parameters, std::string_view body, uint32_t line,
            const Variables& module_shared);

}  // namespace ptx
