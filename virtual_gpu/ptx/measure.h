// What a GPU's memory system would have to do for a request of a warp, by the usual model (CUDA C++ programming guide,
// "Global memory" and "Shared memory"; not confirmed on hardware here): global memory comes in sectors of 32 bytes,
// shared memory in passes over 32 banks of 4 bytes, a request of 8 bytes per lane by half warps, of 16 by quarters.
#pragma once

#include "warp.h"

namespace ptx {

void measure(const Warp&, const Instruction&, const uint64_t addresses[32], size_t bytes);

}  // namespace ptx
