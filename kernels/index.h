// Arithmetic on sizes and indices. Always inlined: files compiled for one instruction set use it too, and a copy that
// the linker shared with other files would carry instructions there that the machine may not have.
#pragma once

#include <cstddef>

#include "base/host_device.h"

[[gnu::always_inline]] HOST_DEVICE constexpr size_t ceil_div(size_t count, size_t size) {
    return (count + size - 1) / size;
}

// 0 <= at < size in one comparison: as an unsigned number, a negative `at` is larger than any size.
[[gnu::always_inline]] HOST_DEVICE constexpr bool inside(ptrdiff_t at, size_t size) { return size_t(at) < size; }
[[gnu::always_inline]] HOST_DEVICE constexpr bool inside(int at, int size) { return unsigned(at) < unsigned(size); }
