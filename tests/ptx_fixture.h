// Shared by the tests of virtual_gpu/ptx: device memory, and launches of PTX that the test writes.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/device_array.h"
#include "virtual_gpu/ptx/launch.h"

inline const std::string kHeader = ".version 9.0\n.target sm_100\n.address_size 64\n";
inline std::string kernel_text(const std::string& body, const std::string& parameters = "\t.param .u64 p0") {
    return kHeader + ".entry test(" + parameters +
           ")\n{\n.reg .pred %p<20>;\n.reg .b16 %h<20>;\n.reg .b32 %r<20>;\n.reg .b64 %rd<20>;\n" + body + "ret;\n}\n";
}

// Runs the only kernel of `text` with pointers as parameters.
inline void launch(const std::string& text, ptx::Dim grid, ptx::Dim block, const std::vector<void*>& pointers) {
    const auto module = ptx::parse(text);
    ptx::Launch launch{.kernel = module->kernels.at(0).get(), .grid = grid, .block = block};
    launch.parameters.resize(pointers.size() * sizeof(void*));
    std::memcpy(launch.parameters.data(), pointers.data(), launch.parameters.size());
    ptx::run(launch);
}
