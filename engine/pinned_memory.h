// Host memory from which the device cuda copies by itself. From any thread.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <iterator>
#include <map>
#include <memory_resource>
#include <mutex>

// Pinning is slow, so blocks that are given back wait for the next that asks. Where the system pins no more, it is
// ordinary memory. Once `lost` is true, CUDA is not called.
class PinnedMemory final : public std::pmr::memory_resource {
public:
    explicit PinnedMemory(const std::atomic<bool>& lost) : lost_(lost) {}
    int gpu = 0;  // a thread that asks another one would begin to use that one

    bool holds(const void* p) {
        const std::lock_guard lock(mutex_);
        auto block = blocks_.upper_bound(static_cast<std::byte*>(const_cast<void*>(p)));
        return block != blocks_.begin() && p < std::prev(block)->first + std::prev(block)->second.bytes;
    }
    void release() noexcept {
        for (const auto& [address, block] : blocks_) cudaFreeHost(address);
        blocks_.clear();
    }

private:
    struct Block {
        size_t bytes;
        bool free;
    };

    // The smallest free block that suffices, or a new one in place of one that is too small: there are never more
    // blocks than were in use at once.
    void* do_allocate(size_t bytes, size_t alignment) override {
        const std::lock_guard lock(mutex_);
        auto best = blocks_.end(), small = blocks_.end();
        for (auto block = blocks_.begin(); block != blocks_.end(); ++block) {
            if (!block->second.free) continue;
            auto& kept = block->second.bytes < bytes ? small : best;
            if (kept == blocks_.end() || block->second.bytes < kept->second.bytes) kept = block;
        }
        if (best != blocks_.end()) {
            best->second.free = false;
            return best->first;
        }
        if (gpu && !lost_) cudaSetDevice(gpu);
        if (!lost_ && small != blocks_.end()) {
            cudaFreeHost(small->first);
            blocks_.erase(small);
        }
        void* memory = nullptr;
        if (lost_ || cudaMallocHost(&memory, bytes) != cudaSuccess) {
            if (!lost_) cudaGetLastError();  // or the next launch of this thread reports it
            return std::pmr::new_delete_resource()->allocate(bytes, alignment);
        }
        blocks_[static_cast<std::byte*>(memory)] = {bytes, false};
        return memory;
    }
    void do_deallocate(void* memory, size_t bytes, size_t alignment) override {
        const std::lock_guard lock(mutex_);
        if (const auto block = blocks_.find(static_cast<std::byte*>(memory)); block != blocks_.end())
            block->second.free = true;
        else
            std::pmr::new_delete_resource()->deallocate(memory, bytes, alignment);
    }
    bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

    const std::atomic<bool>& lost_;
    std::mutex mutex_;
    std::map<std::byte*, Block> blocks_;  // by address
};
