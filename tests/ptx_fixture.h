// Shared by the tests of virtual_gpu/ptx: device memory, and launches of PTX that the test writes.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "virtual_gpu/ptx/launch.h"
#include "virtual_gpu/simt/runtime.h"

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

template <class T>
class Memory {
public:
    explicit Memory(const std::vector<T>& values)
        : count_(values.size()), data_(static_cast<T*>(simt::device_malloc(count_ * sizeof(T)))) {
        simt::copy(data_, values.data(), count_ * sizeof(T));
    }
    ~Memory() { simt::device_free(data_); }
    T* get() const { return data_; }
    std::vector<T> host() const {
        std::vector<T> values(count_);
        simt::copy(values.data(), data_, count_ * sizeof(T));
        return values;
    }

private:
    size_t count_;
    T* data_;
};
