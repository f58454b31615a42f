// The interface between windows.h and the vectorised loops of bf16.h and int8.h.
//
// Some numbers that follow each other in the depth of a sum fill the 32 bits of a lane and are multiplied at once. A
// vector has `lanes` of those, a panel two vectors of columns.
//
//   gathered   (chunk, capacity, lanes)       some rows of the left matrix, cut into vectors; chunks of all runs
//              (capacity, run, lane)          where a run fits into a vector: only what it has, the runs make one
//   packed     (panel, run, lane, 2 * lanes)  the right matrix
#pragma once

#include <cstddef>
#include <cstdint>

// The window of one pixel: `runs` rows of x, each `run` numbers that follow each other. Outside counts as 0.
struct WindowRow {
    ptrdiff_t at;        // number of x where the first run starts; it may lie outside
    size_t top, bottom;  // runs inside x: [top, bottom)
    size_t first, last;  // numbers of each of them inside x: [first, last)
    size_t to;           // where the pixel starts in y
};
template <class Number>
struct WindowGather {
    const Number* x;
    size_t runs, run, pitch;  // pitch: from run to run
    const WindowRow* row;
    size_t rows;
    size_t to_row, to_vector, to_run;  // lanes from row to row, from vector to vector of a run, from run to run
    uint32_t* to;
    Number outside;
};
template <class Result>
struct WindowTask {
    size_t runs, run_lanes, rows, outs;
    size_t left_pitch, left_step;  // lanes from row to row and from vector to vector
    const void* left;              // gathered, or x itself
    const uint32_t* right;         // packed
    const WindowRow* row;
    Result result;
    const char* soon;  // weights that will be multiplied next: fetched into the second cache meanwhile
    size_t soon_rate;  // cache lines of them per four lanes
    void* sums;        // (rows, 2 * lanes) of 32 bits, of the parts of the depth before this one
    bool first, last;  // of them: sums start anew; the result is written
};
