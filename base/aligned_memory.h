// Host memory that starts at a cache line, or at a large page if it is at least that large: page faults of 4 KiB pages
// take longer than writing to them.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

constexpr size_t alignment = 64;  // bytes
constexpr size_t aligned(size_t bytes, size_t to = alignment) { return (bytes + to - 1) / to * to; }

struct FreeAligned {
    void operator()(void* memory) const { std::free(memory); }
};
using AlignedMemory = std::unique_ptr<void, FreeAligned>;

inline AlignedMemory aligned_memory(size_t bytes) {
    constexpr size_t large_page = size_t(2) << 20;
    const size_t boundary = bytes >= large_page ? large_page : alignment, all = aligned(bytes + !bytes, boundary);
    AlignedMemory memory(std::aligned_alloc(boundary, all));
    if (!memory) throw std::bad_alloc();
    if (boundary == large_page) madvise(memory.get(), all, MADV_HUGEPAGE);
    return memory;
}
