// Launches of decoded kernels: blocks one after the other, the warps of a block in turns from barrier to barrier, in
// the order that simt::config() says. Device memory is that of virtual_gpu/simt.
#pragma once

#include "warp.h"

namespace ptx {

struct Config {
    int off_by = 0;        // units in the last place by which approximate instructions miss, up or down
    bool measure = false;  // counts requests, sectors and bank conflicts: three times slower
};
Config& config();

struct Launch {
    const Kernel* kernel = nullptr;
    Dim grid, block;
    size_t dynamic_shared = 0;
    std::vector<std::byte> parameters = {};  // as the kernel's parameter space has them
};

// One launch at a time; others wait. Errors: whatever a GPU would trap on, computes garbage from, or hangs in, with
// kernel, PTX line, source line, block and thread.
void run(Launch);

}  // namespace ptx
