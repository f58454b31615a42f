// The race checker: every access of a kernel is compared with the last ones to the same bytes. It also reports reads of
// memory that nobody wrote and addresses that a GPU could not reach.
//
// The .cu files are compiled with -fsanitize=thread and linked with this file instead of libtsan. Ordered are,
// within a launch: the accesses of one thread; what __syncthreads separates in a block; lanes that met in a warp
// operation (a vector clock per warp, so partial masks are exact). Blocks are never ordered. Atomics race with plain
// accesses only. Kept per byte: the last write, and the reads of two threads that are as far apart as possible; a race
// with a third reader of the same epoch can be missed in one thread order, and is seen in another.
#include "race.h"

#include <dlfcn.h>

#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>

#include "scheduler.h"
#include "text.h"

extern "C" char __executable_start, end;  // of the program image, by the linker

namespace simt {
namespace {

// Epochs count block barriers, blocks and launches of the process, so that an older one is ordered before a newer one
// of the same block, and one from before the launch does not matter.
constexpr uint32_t kNever = 0, kHost = 1, kPoisoned = ~0u;
constexpr uint32_t kLastLaneEpoch = (1 << 15) - 1;

struct Stamp {  // one access
    uint32_t epoch = kNever;
    uint32_t thread = 0;  // block << 10 | thread of the block
    uint64_t pc : 48 = 0, lane_epoch : 15 = 0, atomic : 1 = 0;
};
struct Cell {
    Stamp write, read, other_read;
};
constexpr uintptr_t kPageBytes = 4096;
struct Page {  // cells start with 4 bytes each, and are split when a smaller access comes
    unsigned bytes_per_cell = 4;
    std::vector<Cell> cells{kPageBytes / 4};

    void split(unsigned bytes) {
        std::vector<Cell> finer(kPageBytes / bytes);
        for (size_t i = 0; i < finer.size(); ++i) finer[i] = cells[i * bytes / bytes_per_cell];
        cells.swap(finer);
        bytes_per_cell = bytes;
    }
};
enum class Access { read, write, atomic };
struct Finding {
    const char* what;
    Access access;
    uintptr_t address;
    void *pc, *earlier_pc;
    uint32_t thread, earlier_thread;
    bool earlier_write;
};

std::mutex mutex;  // of everything below; held during a whole launch
thread_local Scheduler* active = nullptr;
bool busy = false;  // the checker may itself call templates that were instrumented in a .cu file
std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
Page* recent_pages[1024];
uintptr_t recent_keys[1024];
std::map<uintptr_t, size_t> allocations;
uintptr_t recent_start = 0;
size_t recent_bytes = 0;
uint32_t epoch = kHost + 1, launch_epoch = epoch, block_epoch = epoch;
uint32_t lane_epochs[1024];
uint32_t clocks[32][32][32];  // [warp][lane][other]: the lane comes after what `other` did in lane epochs below this
std::vector<Finding> findings;
std::set<std::pair<void*, void*>> reported;
constexpr size_t kMaxFindings = 8;

Page* find_page(uintptr_t address, bool create) {
    const uintptr_t key = address / kPageBytes;
    Page*& recent = recent_pages[key % 1024];
    if (recent && recent_keys[key % 1024] == key) return recent;
    auto found = pages.find(key);
    if (found == pages.end()) {
        if (!create) return nullptr;
        found = pages.emplace(key, std::make_unique<Page>()).first;
    }
    recent_keys[key % 1024] = key;
    return recent = found->second.get();
}

// Calls f(cell, its address) for the cells of [address, address + bytes).
template <class F>
void for_cells(uintptr_t address, size_t bytes, bool create, F&& f) {
    for (const uintptr_t stop = address + bytes; address < stop;) {
        const uintptr_t page_end = (address / kPageBytes + 1) * kPageBytes, part_end = std::min(stop, page_end);
        if (Page* page = find_page(address, create)) {
            const uintptr_t odd = address | part_end;
            if (odd % page->bytes_per_cell) page->split(odd % 2 ? 1 : 2);
            for (; address < part_end; address += page->bytes_per_cell)
                f(page->cells[address % kPageBytes / page->bytes_per_cell], address);
        }
        address = part_end;
    }
}

bool ordered(const Stamp& earlier, uint32_t me) {
    if (earlier.thread == me) return true;
    if ((earlier.thread ^ me) >> 10) return false;
    if (earlier.epoch != epoch) return true;
    const uint32_t a = earlier.thread & 1023, b = me & 1023;
    return a / 32 == b / 32 && clocks[b / 32][b % 32][a % 32] > earlier.lane_epoch;
}

int distance(const Stamp& a, uint32_t thread) {  // 0: the same thread, then lane, warp, block
    const uint32_t difference = a.thread ^ thread;
    return difference >> 10 ? 3 : difference >> 5 ? 2 : difference ? 1 : 0;
}

enum class Place { shared, device, ignored, unreachable };
Place place_of(const Scheduler& scheduler, uintptr_t address, size_t bytes, Access access) {
    if (scheduler.shared().contains(address))
        return scheduler.shared().allocated(address, bytes) ? Place::shared : Place::unreachable;
    if (address - recent_start < recent_bytes && address + bytes <= recent_start + recent_bytes) return Place::device;
    if (scheduler.in_collective() || scheduler.fiber()->owns(address)) return Place::ignored;
    if (address - uintptr_t(scheduler.launch().arguments) < scheduler.launch().arguments_bytes) return Place::ignored;
    if (address >= uintptr_t(&__executable_start) && address < uintptr_t(&end))
        return access == Access::read ? Place::ignored : Place::unreachable;  // constants
    const auto thread_pointer = uintptr_t(__builtin_thread_pointer());
    if (address + 65536 > thread_pointer && address < thread_pointer + 4096) return Place::ignored;  // threadIdx
    auto found = allocations.upper_bound(address);
    if (found == allocations.begin()) return Place::unreachable;
    --found;
    if (address + bytes > found->first + found->second) return Place::unreachable;
    recent_start = found->first;
    recent_bytes = found->second;
    return Place::device;
}

void report(Finding finding) {
    if (findings.size() < kMaxFindings && reported.insert({finding.earlier_pc, finding.pc}).second)
        findings.push_back(finding);
}

void check(Scheduler& scheduler, uintptr_t address, size_t bytes, Access access, void* pc) {
    const Place place = place_of(scheduler, address, bytes, access);
    if (place == Place::ignored) return;
    const uint32_t me = uint32_t(scheduler.block() << 10) | scheduler.current();
    const auto say = [&](const char* what, uintptr_t where, const Stamp* earlier, bool earlier_write) {
        report({what, access, where, pc, earlier ? reinterpret_cast<void*>(earlier->pc) : nullptr, me,
                earlier ? earlier->thread : 0, earlier_write});
    };
    if (place == Place::unreachable) return say("an address outside of device memory", address, nullptr, false);

    const uint32_t since = place == Place::shared ? block_epoch : launch_epoch;
    Stamp now;
    now.epoch = epoch;
    now.thread = me;
    now.pc = uint64_t(pc);
    now.lane_epoch = std::min(lane_epochs[scheduler.current()], kLastLaneEpoch);
    now.atomic = access == Access::atomic;
    for_cells(address, bytes, true, [&](Cell& cell, uintptr_t where) {
        if (cell.write.epoch == kPoisoned) return say("a gap between values", where, nullptr, false);
        const auto races = [&](const Stamp& earlier) {
            return earlier.epoch >= since && !(now.atomic && earlier.atomic) && !ordered(earlier, me);
        };
        if (races(cell.write)) say("data race", where, &cell.write, true);
        if (access != Access::write && (place == Place::shared ? cell.write.epoch < since : cell.write.epoch == kNever))
            say("uninitialised read", where, nullptr, false);
        if (access == Access::read) {
            if (cell.read.thread != me || cell.read.epoch < since) {
                const bool keep_other =
                    cell.other_read.epoch >= since && distance(cell.other_read, me) > distance(cell.read, me);
                if (!keep_other) cell.other_read = cell.read;
            }
            cell.read = now;
        } else {
            if (races(cell.read)) say("data race", where, &cell.read, false);
            if (races(cell.other_read)) say("data race", where, &cell.other_read, false);
            cell.write = now;
        }
    });
}

void record(void* address, size_t bytes, Access access, void* pc) {
    if (!active || !active->in_kernel() || busy || !bytes) return;
    busy = true;
    check(*active, uintptr_t(address), bytes, access, pc);
    busy = false;
}

// The line in the kernel or in an inline function of it, then the kernel's own line. Not those of simt's headers.
std::string line_of(void* pc) {
    Dl_info info{};
    if (!dladdr(pc, &info) || !info.dli_fname) return "?";
    const uintptr_t offset = uintptr_t(pc) - 1 - uintptr_t(info.dli_fbase);
    std::string first, last;
    const std::string command = join("addr2line -i -e '", info.dli_fname, "' ", Mask{offset}, " 2>/dev/null");
    if (FILE* pipe = popen(command.c_str(), "r")) {
        for (char text[1024]; std::fgets(text, sizeof text, pipe);) {
            last.assign(text, std::string(text).find_first_of(" \n"));
            if (first.empty() && last.find("/cpu_intrinsics.h:") == std::string::npos) first = last;
        }
        pclose(pipe);
    }
    if (first.empty() || first[0] == '?') return join(info.dli_fname, "+", Mask{offset});
    return first == last ? first : join(first, " (inlined at ", last, ")");
}

std::string describe(const Scheduler& scheduler, const Finding& f) {
    const auto who = [&](uint32_t thread) {
        return join("block ", scheduler.name_of_block(thread >> 10), " ", scheduler.name_of_thread(thread & 1023));
    };
    const char* const names[] = {"read", "write", "atomic"};
    std::string text = join(line_of(f.pc), ": ", f.what, ": ", names[int(f.access)], " by ", who(f.thread));
    if (f.earlier_pc)
        text += join(", ", f.earlier_write ? "write" : "read", " by ", who(f.earlier_thread), " at ",
                     line_of(f.earlier_pc));
    const auto next = allocations.upper_bound(f.address);
    if (scheduler.shared().contains(f.address))
        text += ", shared memory";
    else if (next != allocations.begin() && f.address - std::prev(next)->first < 2 * std::prev(next)->second)
        text += join(", byte ", f.address - std::prev(next)->first, " of an allocation of ", std::prev(next)->second);
    return text;
}

}  // namespace

bool race_checked() { return true; }

void race_launch(Scheduler& scheduler) {
    mutex.lock();
    active = &scheduler;
    findings.clear();
    reported.clear();
    launch_epoch = ++epoch;
}

std::string race_launch_end() {
    std::string text;
    for (const Finding& finding : findings) text += join(text.empty() ? "simt: " : "\n", describe(*active, finding));
    active = nullptr;
    busy = false;
    mutex.unlock();
    return text;
}

void race_block() {
    block_epoch = ++epoch;
    std::fill_n(lane_epochs, 1024, 0);
    std::fill_n(&clocks[0][0][0], 32 * 32 * 32, 0);
}

void race_barrier() { ++epoch; }

void race_warp(unsigned warp, uint32_t group) {
    uint32_t merged[32] = {};
    for (unsigned other = 0; other < 32; ++other) {
        for (unsigned lane = 0; lane < 32; ++lane)
            if (group >> lane & 1) merged[other] = std::max(merged[other], clocks[warp][lane][other]);
        if (group >> other & 1) merged[other] = ++lane_epochs[warp * 32 + other];
    }
    for (unsigned lane = 0; lane < 32; ++lane)
        if (group >> lane & 1) std::copy_n(merged, 32, clocks[warp][lane]);
}

void race_allocated(void* device, size_t bytes) {
    const std::lock_guard lock(mutex);
    allocations[uintptr_t(device)] = bytes;
    for_cells(uintptr_t(device), (bytes + 3) / 4 * 4, false, [](Cell& cell, uintptr_t) { cell = {}; });
}

void race_freed(void* device) {
    const std::lock_guard lock(mutex);
    const auto found = allocations.find(uintptr_t(device));
    const uintptr_t stop = (found->first + found->second) / kPageBytes;
    for (uintptr_t key = (found->first + kPageBytes - 1) / kPageBytes; key < stop; ++key)
        if (pages.erase(key)) recent_pages[key % 1024] = nullptr;
    allocations.erase(found);
    recent_bytes = 0;
}

void race_host_wrote(void* device, size_t bytes) {
    const std::lock_guard lock(mutex);
    const auto address = uintptr_t(device);
    const auto next = allocations.upper_bound(address);
    if (next == allocations.begin() || address - std::prev(next)->first >= std::prev(next)->second) return;
    for_cells(address, bytes, true, [](Cell& cell, uintptr_t) {
        if (cell.write.epoch == kPoisoned) return;
        cell = {};
        cell.write.epoch = kHost;
    });
}

void race_poisoned(void* device, size_t bytes, bool poisoned) {
    const std::lock_guard lock(mutex);
    for_cells(uintptr_t(device), bytes, poisoned, [poisoned](Cell& cell, uintptr_t) {
        cell = {};
        cell.write.epoch = poisoned ? kPoisoned : kNever;
    });
}

inline namespace cpu {
void atomic_access(void* address, size_t bytes, void* pc) { record(address, bytes, Access::atomic, pc); }
}  // namespace cpu

// The functions that -fsanitize=thread calls.
extern "C" {
#define SIMT_PC __builtin_return_address(0)
#define SIMT_TSAN_SIZE(n)                                                           \
    void __tsan_read##n(void* a) { record(a, n, Access::read, SIMT_PC); }           \
    void __tsan_write##n(void* a) { record(a, n, Access::write, SIMT_PC); }         \
    void __tsan_unaligned_read##n(void* a) { record(a, n, Access::read, SIMT_PC); } \
    void __tsan_unaligned_write##n(void* a) { record(a, n, Access::write, SIMT_PC); }
SIMT_TSAN_SIZE(1)
SIMT_TSAN_SIZE(2)
SIMT_TSAN_SIZE(4)
SIMT_TSAN_SIZE(8)
SIMT_TSAN_SIZE(16)
void __tsan_read_range(void* a, size_t n) { record(a, n, Access::read, SIMT_PC); }
void __tsan_write_range(void* a, size_t n) { record(a, n, Access::write, SIMT_PC); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

// Host code in a .cu file may use std::atomic or a static with a guard.
#define SIMT_TSAN_ATOMIC(bits, T)                                                                                     \
    T __tsan_atomic##bits##_load(const volatile T* a, int) { return __atomic_load_n(a, __ATOMIC_SEQ_CST); }           \
    void __tsan_atomic##bits##_store(volatile T* a, T v, int) { __atomic_store_n(a, v, __ATOMIC_SEQ_CST); }           \
    T __tsan_atomic##bits##_exchange(volatile T* a, T v, int) { return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST); } \
    T __tsan_atomic##bits##_fetch_add(volatile T* a, T v, int) { return __atomic_fetch_add(a, v, __ATOMIC_SEQ_CST); } \
    T __tsan_atomic##bits##_fetch_sub(volatile T* a, T v, int) { return __atomic_fetch_sub(a, v, __ATOMIC_SEQ_CST); } \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile T* a, T* c, T v, int, int) {                           \
        return __atomic_compare_exchange_n(a, c, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                       \
    }
SIMT_TSAN_ATOMIC(8, uint8_t)
SIMT_TSAN_ATOMIC(32, uint32_t)
SIMT_TSAN_ATOMIC(64, uint64_t)
}

}  // namespace simt
