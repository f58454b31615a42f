// The host's side of the execution model: settings, device memory, errors. No CUDA name: any .cpp may use it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace simt {

// A mistake of a kernel, with the kernel's file and line, the block and the thread.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Order { in_order, reverse, shuffle };

struct Config {
    Order order = Order::in_order;           // of blocks, and of the threads of a block
    uint64_t seed = 0;                       // of Order::shuffle
    bool allow_exit_before_barrier = false;  // GPUs allow it since sm_70; refused, as it is nearly always a mistake
    size_t stack_bytes = 128 << 10;          // of each thread that waits somewhere
};

// One per host thread. Starts from the environment: SIMT_ORDER = in_order, reverse or shuffle:SEED.
Config& config();

// Runs f under in_order, reverse and `seeds` shuffles: what a kernel computes must not depend on the order.
template <class F>
void for_each_schedule(unsigned seeds, F&& f) {
    struct Restore {
        Config saved = config();
        ~Restore() { config() = saved; }
    } restore;
    config().order = Order::in_order, f();
    config().order = Order::reverse, f();
    config().order = Order::shuffle;
    for (unsigned seed = 1; seed <= seeds; ++seed) config().seed = seed, f();
}

// Device memory starts as NaN and is aligned to 256 bytes. The host gets addresses at which it cannot read or write (a
// segmentation fault); a launch turns those among its arguments into real ones, which costs the same however much
// memory there is. Addresses that are stored in device memory stay as they are, so kernels cannot follow them. `copy`
// takes pointers to either side.
void* device_malloc(size_t bytes);  // throws std::bad_alloc
void device_free(void* pointer);    // null is fine; another pointer that device_malloc did not give: Error
void copy(void* to, const void* from, size_t bytes);
void fill(void* device, int byte, size_t bytes);  // memset

// Marks gaps between the values of one allocation: kernels that touch them are reported. unpoison also forgets what was
// written there, so reading before writing is reported again.
void poison(void* device, size_t bytes);
void unpoison(void* device, size_t bytes);

// Device memory without its gaps, by real address; valid until memory is taken, given back, poisoned or unpoisoned.
struct DeviceRange {
    uintptr_t begin, end;
};
const std::vector<DeviceRange>& device_ranges();

// Turns the device addresses among the arguments of a launch, which lie at multiples of 8 bytes, into real ones.
void resolve(void* arguments, size_t bytes);

// Whether this build looks for races, uninitialised reads and wrong addresses (SIMT_RACE). A launch with findings
// throws Error at its end.
bool race_checked();
// Whether poisoned memory is watched, by AddressSanitizer or the race checker.
bool memory_checked();

struct Stats {
    uint64_t switches = 0;  // between threads of this host thread
    size_t fibers = 0;      // stacks that exist
};
Stats stats();

}  // namespace simt
