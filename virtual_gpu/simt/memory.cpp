// Device memory: heap memory that the host may not touch.
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "asan.h"
#include "race.h"
#include "scheduler.h"

namespace simt {
namespace {

struct Devices {
    std::mutex mutex;
    std::map<char*, size_t> allocations, gaps;
    std::vector<DeviceRange> ranges;  // empty: to be made anew
    int open = 0;                     // launches and copies that run now, on any host thread
};
Devices& devices() {
    static Devices all;
    return all;
}

constexpr size_t kAlign = 256;
size_t rounded(size_t bytes) { return (bytes / kAlign + 1) * kAlign; }  // at least one byte of red zone

#ifdef SIMT_ASAN
void set_access(bool open) {
    for (const auto& [start, bytes] : devices().allocations) {
        if (open)
            ASAN_UNPOISON_MEMORY_REGION(start, bytes);
        else
            ASAN_POISON_MEMORY_REGION(start, bytes);
    }
    for (const auto& [start, bytes] : devices().gaps) ASAN_POISON_MEMORY_REGION(start, bytes);
}
#else
void set_access(bool) {}
#endif

// Cuts [start, start + bytes) out of the gaps.
void remove_gaps(std::map<char*, size_t>& gaps, char* start, size_t bytes) {
    char* const end = start + bytes;
    auto gap = gaps.lower_bound(start);
    if (gap != gaps.begin() && std::prev(gap)->first + std::prev(gap)->second > start) --gap;
    while (gap != gaps.end() && gap->first < end) {
        const auto [gap_start, gap_bytes] = *gap;
        gap = gaps.erase(gap);
        if (gap_start < start) gaps[gap_start] = size_t(start - gap_start);
        if (gap_start + gap_bytes > end) gaps[end] = size_t(gap_start + gap_bytes - end);
    }
}

}  // namespace

DeviceMemoryOpen::DeviceMemoryOpen() {
    const std::lock_guard lock(devices().mutex);
    if (devices().open++ == 0) set_access(true);
}
DeviceMemoryOpen::~DeviceMemoryOpen() {
    const std::lock_guard lock(devices().mutex);
    if (--devices().open == 0) set_access(false);
}

void* device_malloc(size_t bytes) {
    auto* memory = static_cast<char*>(std::aligned_alloc(kAlign, rounded(bytes)));
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0xff, rounded(bytes));
    const std::lock_guard lock(devices().mutex);
    ASAN_POISON_MEMORY_REGION(memory, rounded(bytes));
    if (devices().open) ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
    devices().allocations[memory] = bytes;
    devices().ranges.clear();
    race_allocated(memory, bytes);
    return memory;
}

void device_free(void* pointer) {
    if (!pointer) return;
    const std::lock_guard lock(devices().mutex);
    const auto found = devices().allocations.find(static_cast<char*>(pointer));
    if (found == devices().allocations.end()) throw Error("simt: device_free of something that is not device memory");
    remove_gaps(devices().gaps, found->first, found->second);
    ASAN_UNPOISON_MEMORY_REGION(pointer, rounded(found->second));
    race_freed(pointer);
    devices().allocations.erase(found);
    devices().ranges.clear();
    std::free(pointer);
}

void copy(void* to, const void* from, size_t bytes) {
    if (!bytes) return;
    const DeviceMemoryOpen open;
    std::memcpy(to, from, bytes);
    race_host_wrote(to, bytes);
}

void fill(void* device, int byte, size_t bytes) {
    if (!bytes) return;
    const DeviceMemoryOpen open;
    std::memset(device, byte, bytes);
    race_host_wrote(device, bytes);
}

void poison(void* device, size_t bytes) {
    if (!bytes) return;
    const std::lock_guard lock(devices().mutex);
    remove_gaps(devices().gaps, static_cast<char*>(device), bytes);
    devices().gaps[static_cast<char*>(device)] = bytes;
    devices().ranges.clear();
    ASAN_POISON_MEMORY_REGION(device, bytes);
    race_poisoned(device, bytes, true);
}

void unpoison(void* device, size_t bytes) {
    if (!bytes) return;
    const std::lock_guard lock(devices().mutex);
    remove_gaps(devices().gaps, static_cast<char*>(device), bytes);
    devices().ranges.clear();
    if (devices().open) ASAN_UNPOISON_MEMORY_REGION(device, bytes);
    race_poisoned(device, bytes, false);
}

const std::vector<DeviceRange>& device_ranges() {
    const std::lock_guard lock(devices().mutex);
    std::vector<DeviceRange>& ranges = devices().ranges;
    if (!ranges.empty()) return ranges;
    for (const auto& [start, bytes] : devices().allocations) {
        auto begin = uintptr_t(start);
        const uintptr_t end = begin + bytes;
        for (auto gap = devices().gaps.lower_bound(start); gap != devices().gaps.end() && uintptr_t(gap->first) < end;
             ++gap) {
            if (uintptr_t(gap->first) > begin) ranges.push_back({begin, uintptr_t(gap->first)});
            begin = uintptr_t(gap->first) + gap->second;
        }
        if (begin < end) ranges.push_back({begin, end});
    }
    return ranges;
}

bool memory_checked() {
#ifdef SIMT_ASAN
    return true;
#else
    return race_checked();
#endif
}

#ifndef SIMT_RACE
bool race_checked() { return false; }
#endif

}  // namespace simt
