// Calls from the scheduler to the race checker; without SIMT_RACE they do nothing and race.cpp is not linked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace simt {

class Scheduler;

#ifdef SIMT_RACE
void race_launch(Scheduler& scheduler);  // one host thread at a time: waits for the others
std::string race_launch_end();           // what was found, or nothing
void race_block();                       // a block starts
void race_barrier();                     // __syncthreads: all threads of the block are ordered
void race_warp(unsigned warp, uint32_t group);
void race_allocated(void* device, size_t bytes);
void race_freed(void* device);
void race_host_wrote(void* device, size_t bytes);
void race_poisoned(void* device, size_t bytes, bool poisoned);
#else
inline void race_launch(Scheduler&) {}
inline std::string race_launch_end() { return {}; }
inline void race_block() {}
inline void race_barrier() {}
inline void race_warp(unsigned, uint32_t) {}
inline void race_allocated(void*, size_t) {}
inline void race_freed(void*) {}
inline void race_host_wrote(void*, size_t) {}
inline void race_poisoned(void*, size_t, bool) {}
#endif

}  // namespace simt
