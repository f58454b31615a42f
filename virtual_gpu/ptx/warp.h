// A warp: the registers of 32 threads side by side, and which of the threads are where.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "module.h"
#include "virtual_gpu/simt/runtime.h"

namespace ptx {

struct Dim {
    uint32_t x = 1, y = 1, z = 1;
};

// Threads of a warp that are at the same instruction.
struct Group {
    enum State : uint8_t { ready, at_barrier, parked };  // parked: at a collective instruction, for the others
    uint32_t at = 0, mask = 0;
    State state = ready;
};

struct Warp {
    const Kernel* kernel = nullptr;
    std::byte *registers = nullptr, *shared = nullptr;
    const std::byte* parameters = nullptr;
    const std::vector<simt::DeviceRange>*memory = nullptr, *shared_arrays = nullptr;
    uint32_t mask = 0;                    // the threads for which an instruction runs now
    alignas(64) uint32_t lanes[32] = {};  // the same, ~0 or 0 each
    uint32_t live = 0;                    // threads that have not returned
    unsigned index = 0;                   // in the block
    Dim block;
    std::vector<Group> groups;

    template <class T>
    T* at(uint32_t offset) const {
        return reinterpret_cast<T*>(registers + offset);
    }
    void set_mask(uint32_t lanes_that_run);
    [[noreturn]] void fail(const Instruction&, const std::string& what, unsigned lane = 32) const;
};

// Runs until every thread has returned or waits at a barrier.
void run_until_barrier(Warp&);

}  // namespace ptx
