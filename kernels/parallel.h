// How the plain loops of the CPU device are shared among its threads.
#pragma once

#include <omp.h>

#include <algorithm>

#include "kernels/device.h"
#include "kernels/index.h"

// Calls body(begin, end) once per thread with its part of [0, count). Parts begin at multiples of `grain`; work of one
// grain stays on the calling thread. The team always has cpu.threads members: libgomp ends the threads that a smaller
// team does not need and has to start them again for the next one.
template <class Body>
void parallel_for(const Cpu& cpu, size_t count, size_t grain, const Body& body) {
    const size_t pieces = ceil_div(count, grain);
    if (pieces <= 1 || cpu.threads <= 1) {
        if (count) body(size_t(0), count);
        return;
    }
#pragma omp parallel num_threads(cpu.threads)
    {
        const size_t thread = size_t(omp_get_thread_num()), threads = size_t(omp_get_num_threads());
        const size_t begin = pieces * thread / threads * grain;
        const size_t end = std::min(count, pieces * (thread + 1) / threads * grain);
        if (begin < end) body(begin, end);
    }
}

// A tile of rows is the unit of a sum over rows: every tile is summed by itself and the tiles are added in order, so
// the result does not depend on the number of threads.
struct RowTiles {
    size_t rows, tile_rows, count;

    explicit RowTiles(size_t rows) : rows(rows) {
        constexpr size_t max_tiles = 64, min_rows = 16;
        tile_rows = std::max(min_rows, ceil_div(rows, max_tiles));
        count = ceil_div(rows, tile_rows);
    }
    size_t begin(size_t tile) const { return tile * tile_rows; }
    size_t end(size_t tile) const { return std::min(rows, (tile + 1) * tile_rows); }
};
