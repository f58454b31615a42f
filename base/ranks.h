// Those who train one network together ("ranks", as MPI calls them). docs/scaling.md has the design.
//
// Every rank calls the same functions in the same order. Sums run pairwise over the ranks, (0 + 1) + (2 + 3), in the
// same order every time, and give the same bits on every rank. This class is a process alone, for which all of it does
// nothing; train/ranks_mpi.cpp is several processes over MPI, train/micro_batches.cpp several threads of each.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

class Ranks {
public:
    Ranks() = default;
    virtual ~Ranks() = default;  // waits for the other ranks
    Ranks(const Ranks&) = delete;

    size_t rank = 0, count = 1;
    Ranks* process = this;     // for a thread that is a rank: the ranks that its process is one of
    bool leads = true;         // the first rank of its process, whose thread gets the signals
    std::string machine = {};  // its name, for people
    size_t on_machine = 1;     // ranks on this machine
    size_t on_processors = 1;  // ranks that share the processors of this one
    // Of a process: where the checkpoints are, for the last words of a rank that misses another, and whether one that
    // uses no processor for long is taken for lost.
    std::string checkpoints;
    std::atomic<bool> watched = false;
    double waited_seconds = 0;  // in wait(): the part of the sums that no computation hides

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
