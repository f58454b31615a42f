// Packed copies of weights that do not change, found by address. Several convolutions may run at once.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>

#include "base/aligned_memory.h"

class ConstantWeights {
public:
    enum class Packing { winograd, bf16_pairs, int8 };

    // Null at the first use: a network that runs once needs no new memory, and scratch memory lies in the cache.
    template <class Pack>
    const void* find(const void* weight, size_t c_in, size_t c_out, Packing packing, size_t bytes, const Pack& pack) {
        const std::lock_guard lock(mutex_);
        const auto [found, first_use] = all_.try_emplace({static_cast<const char*>(weight), c_in, c_out, packing});
        if (first_use) return nullptr;
        AlignedMemory& packed = found->second;
        if (!packed) {
            packed = aligned_memory(bytes);
            pack(packed.get());
        }
        return packed.get();
    }
    void drop(const void* memory, size_t bytes) {
        const std::lock_guard lock(mutex_);
        const auto* const begin = static_cast<const char*>(memory);
        all_.erase(all_.lower_bound({begin, 0, 0, {}}), all_.lower_bound({begin + bytes, 0, 0, {}}));
    }
    size_t count() {
        const std::lock_guard lock(mutex_);
        return size_t(std::ranges::count_if(all_, [](const auto& one) { return bool(one.second); }));
    }

private:
    std::mutex mutex_;
    // In bf16 the same weight is packed in one way for large images and in the other for small ones.
    std::map<std::tuple<const char*, size_t, size_t, Packing>, AlignedMemory> all_;
};
ConstantWeights& constant_weights();  // cpu.cpp
