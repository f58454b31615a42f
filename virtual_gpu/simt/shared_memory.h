// Shared memory of the block that runs: an arena of arrays with poisoned gaps between, NaN at the start of each block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cpu_flavour.h"

namespace simt {

class SharedMemory {
public:
    SharedMemory();
    ~SharedMemory();
    SharedMemory(const SharedMemory&) = delete;

    void begin_block();
    void* carve(size_t bytes, size_t align, Site site);  // throws Error when the arena is full
    size_t used() const { return used_; }                // bytes carved for this block

    bool contains(uintptr_t address) const { return address - uintptr_t(memory_) < kBytes; }
    bool allocated(uintptr_t address, size_t bytes) const;  // all within one array
    std::string find_overrun() const;                       // the array next to which something was written, or nothing

private:
    struct Array {
        size_t offset, bytes;
        Site site;
    };
    static constexpr size_t kBytes = 1 << 20;

    char* memory_ = nullptr;
    size_t end_ = 0, used_ = 0;
    std::vector<Array> arrays_;
};

}  // namespace simt
