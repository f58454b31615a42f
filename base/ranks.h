// Those who train one network together ("ranks", as MPI calls them). docs/scaling.md has the design.
//
// Every rank calls the same functions in the same order. Sums run pairwise over the ranks, (0 + 1) + (2 + 3), in the
// same order every time, and give the same bits on every rank. This class is a process alone, for which all of it does
// nothing; train/ranks_mpi.cpp is several processes over MPI, train/micro_batches.cpp several threads of each.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"

struct CUstream_st;  // cudaStream_t points to it

// Sums between GPUs, each of another process, ordered with the work on a stream and recorded with it: the host waits
// for none of them. engine/gpu_sums_cuda.cpp.
class GpuSums {
public:
    virtual ~GpuSums() = default;
    std::string version = {};  // "NCCL 2.28.9"

    // values = factor * sum of those of all ranks, in place, factor 1 or 1 / ranks: behind what is on `stream`, beside
    // what comes there before wait().
    virtual void start_sum(CUstream_st* stream, void* values, size_t count, DType type, float factor) = 0;
    virtual void wait(CUstream_st* stream) = 0;  // for all sums that were started: before what comes on `stream`
    // all: (ranks, bytes), between what is on `stream` and what comes there.
    virtual void gather(CUstream_st* stream, const void* own, void* all, size_t bytes) = 0;
    // After an error on this rank: ends what waits for the others, who may never come to it.
    virtual void abandon() noexcept = 0;
};

struct AbandonAfterError {
    GpuSums* sums;  // or null
    explicit AbandonAfterError(GpuSums* s) : sums(s) {}
    ~AbandonAfterError() {
        if (sums && std::uncaught_exceptions()) sums->abandon();
    }
};

// rows: (count, width). Row 0 becomes the sum of all rows, pairwise.
template <class T>
void add_rows(T* rows, size_t count, size_t width) {
    for (size_t step = 1; step < count; step *= 2)
        for (size_t row = 0; row + step < count; row += 2 * step) {
            T* __restrict to = rows + row * width, * __restrict from = rows + (row + step) * width;
            for (size_t i = 0; i < width; ++i) to[i] += from[i];
        }
}

class Ranks {
public:
    Ranks() = default;
    virtual ~Ranks() = default;  // waits for the other ranks
    Ranks(const Ranks&) = delete;

    size_t rank = 0, count = 1;
    Ranks* process = this;         // for a thread that is a rank: the ranks that its process is one of
    bool leads = true;             // the first rank of its process, whose thread gets the signals
    std::string machine = {};      // its name, for people
    size_t on_machine = 1;         // ranks on this machine
    size_t before_on_machine = 0;  // of them, those of lower rank
    size_t on_processors = 1;      // ranks that share the processors of this one
    // Of a process: where the checkpoints are, for the last words of a rank that misses another, and whether one that
    // uses no processor for long is taken for lost.
    std::string checkpoints;
    std::atomic<bool> watched = false;
    GpuSums* gpu_sums = nullptr;  // where the ranks train on GPUs
    double waited_seconds = 0;    // in wait(): the part of the sums that no computation hides

    bool first() const { return rank == 0; }  // it writes all files
    std::string name() const { return "rank " + std::to_string(rank) + " on " + machine; }

    // In place, for a few numbers; returns when they are there. Every rank may have `rows` of them, one behind the
    // other, all of which are added up, those of rank 0 first; the sum is the first row.
    virtual void sum(std::span<double> /*values*/, size_t /*rows*/ = 1) {}
    // rows[0] = factor * sum of the rows of all ranks, while the caller goes on; they stay untouched until wait()
    // returns.
    virtual void start_sum(std::span<float* const> /*rows*/, size_t /*width*/, float /*factor*/) {}
    void start_sum(std::span<float> values, float factor) {
        float* const row = values.data();
        start_sum({&row, 1}, values.size(), factor);
    }
    virtual void wait() {}  // for all sums that were started
    // The texts of all ranks, on every rank.
    virtual std::vector<std::string> gather(const std::string& text) { return {text}; }
    virtual void broadcast(std::span<std::byte>) {}  // of rank 0
    // Ends every rank, with this exit code. Whoever calls it has told why.
    virtual void abort(int /*code*/) {}
};
