// What an owner of convolutions on the CPU may ask besides compute(), and the memory of weights that are packed once.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

size_t conv_primitives_created();  // of oneDNN, since the program started; a replayed step must not add any

// Drops the packed copies of weights that were declared constant: call it when such weights change or are freed, while
// no convolution runs.
void forget_constant_weights();

constexpr size_t alignment = 64;  // bytes
constexpr size_t aligned(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

struct FreeAligned {
    void operator()(void* memory) const { ::operator delete(memory, std::align_val_t(alignment)); }
};
using AlignedMemory = std::unique_ptr<void, FreeAligned>;
inline AlignedMemory aligned_memory(size_t bytes) {
    return AlignedMemory(::operator new(bytes, std::align_val_t(alignment)));
}
