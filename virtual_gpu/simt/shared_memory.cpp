// The arena behind SIMT_SHARED and SIMT_DYNAMIC_SHARED.
#include "shared_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "asan.h"
#include "text.h"

namespace simt {
namespace {
constexpr size_t kGap = 64;
constexpr unsigned char kFill = 0xff;  // NaN in every floating type, -1 in the others
}  // namespace

SharedMemory::SharedMemory() {
    void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<char*>(memory);
    ASAN_POISON_MEMORY_REGION(memory_, kBytes);
}

SharedMemory::~SharedMemory() {
    ASAN_UNPOISON_MEMORY_REGION(memory_, kBytes);
    munmap(memory_, kBytes);
}

void SharedMemory::begin_block() {
    ASAN_UNPOISON_MEMORY_REGION(memory_, kGap);
    std::memset(memory_, kFill, kGap);
    ASAN_POISON_MEMORY_REGION(memory_, end_ + kGap);
    end_ = used_ = 0;
    arrays_.clear();
}

void* SharedMemory::carve(size_t bytes, size_t align, Site site) {
    align = std::max<size_t>(align, 16);
    const size_t offset = (end_ + kGap + align - 1) / align * align;
    if (offset + bytes + 2 * kGap > kBytes) throw Error("simt: the arena for shared memory is full");
    const size_t fresh = end_ + kGap, end = offset + bytes + kGap;  // the gap before it may hold an overrun by now
    ASAN_UNPOISON_MEMORY_REGION(memory_ + fresh, end - fresh);
    std::memset(memory_ + fresh, kFill, end - fresh);
    ASAN_POISON_MEMORY_REGION(memory_ + fresh, offset - fresh);
    ASAN_POISON_MEMORY_REGION(memory_ + offset + bytes, kGap);
    end_ = offset + bytes;
    used_ += bytes;
    arrays_.push_back({offset, bytes, site});
    return memory_ + offset;
}

bool SharedMemory::allocated(uintptr_t address, size_t bytes) const {
    const size_t offset = address - uintptr_t(memory_);
    return std::ranges::any_of(
        arrays_, [&](const Array& a) { return offset >= a.offset && offset + bytes <= a.offset + a.bytes; });
}

std::string SharedMemory::find_overrun() const {
#ifndef SIMT_ASAN  // which reports the access itself
    size_t end = 0;
    for (size_t i = 0; i <= arrays_.size(); ++i) {
        const size_t next = i < arrays_.size() ? arrays_[i].offset : end + kGap;
        const auto untouched = [](char c) { return static_cast<unsigned char>(c) == kFill; };
        if (!arrays_.empty() && !std::all_of(memory_ + end, memory_ + next, untouched))
            return join(arrays_[i ? i - 1 : 0].site);
        if (i < arrays_.size()) end = arrays_[i].offset + arrays_[i].bytes;
    }
#endif
    return {};
}

}  // namespace simt
