// Device memory: heap memory under addresses that the host cannot use.
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
};
Devices& devices() {
    static Devices all;
    return all;
}

constexpr size_t kAlign = 256;
size_t rounded(size_t bytes) { return (bytes / kAlign + 1) * kAlign; }  // at least one byte of red zone

// Set in every device address that the host sees. No processor maps such addresses for programs, so reading one faults.
constexpr uintptr_t kMark = uintptr_t(1) << 52;
char* marked(char* memory) { return reinterpret_cast<char*>(uintptr_t(memory) | kMark); }
char* real(const void* pointer) { return reinterpret_cast<char*>(uintptr_t(pointer) & ~kMark); }  // of any pointer

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

void* device_malloc(size_t bytes) {
    auto* memory = static_cast<char*>(std::aligned_alloc(kAlign, rounded(bytes)));
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0xff, rounded(bytes));
    ASAN_POISON_MEMORY_REGION(memory + bytes, rounded(bytes) - bytes);
    const std::lock_guard lock(devices().mutex);
    devices().allocations[memory] = bytes;
    devices().ranges.clear();
    race_allocated(memory, bytes);
    return marked(memory);
}

void device_free(void* pointer) {
    if (!pointer) return;
    char* const memory = real(pointer);
    const std::lock_guard lock(devices().mutex);
    const auto found = devices().allocations.find(memory);
    if (found == devices().allocations.end() || memory == pointer)
        throw Error("simt: device_free of something that is not device memory");
    remove_gaps(devices().gaps, memory, found->second);
    ASAN_UNPOISON_MEMORY_REGION(memory, rounded(found->second));
    race_freed(memory);
    devices().allocations.erase(found);
    devices().ranges.clear();
    std::free(memory);
}

void resolve(void* arguments, size_t bytes) {
    const std::lock_guard lock(devices().mutex);
    for (size_t at = 0; at + sizeof(uintptr_t) <= bytes; at += sizeof(uintptr_t)) {
        uintptr_t word;
        std::memcpy(&word, static_cast<char*>(arguments) + at, sizeof word);
        if (!(word & kMark)) continue;
        word &= ~kMark;  // an address, if it lies in device memory; else a number
        auto next = devices().allocations.upper_bound(reinterpret_cast<char*>(word));
        if (next == devices().allocations.begin()) continue;
        --next;
        if (word - uintptr_t(next->first) <= next->second)  // the end, too
            std::memcpy(static_cast<char*>(arguments) + at, &word, sizeof word);
    }
}

void copy(void* to, const void* from, size_t bytes) {
    if (!bytes) return;
    std::memcpy(real(to), real(from), bytes);
    race_host_wrote(real(to), bytes);
}

void fill(void* device, int byte, size_t bytes) {
    if (!bytes) return;
    std::memset(real(device), byte, bytes);
    race_host_wrote(real(device), bytes);
}

void poison(void* device, size_t bytes) {
    if (!bytes) return;
    char* const gap = real(device);
    const std::lock_guard lock(devices().mutex);
    remove_gaps(devices().gaps, gap, bytes);
    devices().gaps[gap] = bytes;
    devices().ranges.clear();
    ASAN_POISON_MEMORY_REGION(gap, bytes);
    race_poisoned(gap, bytes, true);
}

void unpoison(void* device, size_t bytes) {
    if (!bytes) return;
    char* const gap = real(device);
    const std::lock_guard lock(devices().mutex);
    remove_gaps(devices().gaps, gap, bytes);
    devices().ranges.clear();
    ASAN_UNPOISON_MEMORY_REGION(gap, bytes);
    race_poisoned(gap, bytes, false);
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
