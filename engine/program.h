// A planned graph on a device: write the inputs, run, read the kept values.
#pragma once

#include <array>
#include <functional>
#include <memory>

#include "engine/parameters.h"

// The memory of temporaries, shared by the programs of a session: only one of them runs at a time.
class Arena {
public:
    explicit Arena(Device& device) : device_(device) {}
    void reserve(size_t bytes);  // grows, never shrinks; programs rebind their steps
    void* data() const { return memory_.data(); }
    size_t bytes() const { return memory_.bytes(); }

private:
    Device& device_;
    Buffer memory_;
};

// Bytes needed for a batch.
struct BatchMemory {
    uint64_t batch, bytes;
};
// The largest batch that fits into `free` bytes, by the line through two batches (every image takes the same); 5 % are
// reserved for fragmentation and libraries that load later. 0: not even small.batch fits.
uint64_t largest_batch(uint64_t free, BatchMemory small, BatchMemory large);

struct ProgramOptions {
    bool eager = false;  // never record: for sanitizers and profilers
    size_t batch = 0;    // images per run: an out-of-memory message then names the largest batch that would fit
    // Looks for it in every convolution, on the CPU, where a ReLU can make 0 of NaN: in the first run, and in all runs
    // of a network where weights or the results of the first run are large. No image makes them 1e30 times larger.
    bool overflow = false;
    // On the device cpu: called after each step of every run.
    std::function<void(const Step&)> after_step = {};
};

class Program {
public:
    // `keep`: temporaries that read() is called with after a run. Every parameter of the graph must be in `parameters`.
    Program(Arena& arena, std::unique_ptr<Graph> graph, const Parameters& parameters, Values keep,
            const ProgramOptions& options = {});

    void run();  // Fault::not_finite for an overflow that was looked for
    // run(), and copies of the kept values to the host that the device makes when it gets there, so that the host can
    // prepare the next run meanwhile. Returns the number of the run, for finish().
    size_t start();
    // Waits for one of the last two started runs: its kept values, one after the other in their order.
    std::span<const std::byte> finish(size_t run);
    void prepare();  // setup of the first run() that does not need the inputs

    template <class T>
    void write(Value input, std::span<const T> values) {
        write_bytes(input, std::as_bytes(values));
    }
    // The first bytes of an input, from pieces in memory that Device::upload_async() describes.
    void write(Value input, std::span<const Piece> pieces);
    template <class T>
    std::vector<T> read(Value v) const {
        std::vector<T> values(numel(v.shape()));
        read_bytes(v, std::as_writable_bytes(std::span(values)));
        return values;
    }

    // The device address of a parameter, an input, or a value kept by the last run.
    const void* address(Value v) const;

    const Graph& graph() const { return *graph_; }
    const Plan& plan() const { return plan_; }
    std::span<const Step> steps();  // bound to the current address of the arena
    void run_step(size_t i);        // one step, waited for: for benchmarks
    size_t input_bytes() const;

private:
    void allocate_inputs(const Parameters& parameters);
    void run_with_checks(std::span<const Step> steps);
    [[noreturn]] void fail_for_memory(const Error& error);
    void write_bytes(Value input, std::span<const std::byte>);
    void read_bytes(Value v, std::span<std::byte>) const;

    Arena& arena_;
    Device& device_;
    std::unique_ptr<Graph> graph_;
    ProgramOptions options_;
    Plan plan_;
    std::vector<Value> kept_;
    std::array<std::unique_ptr<Readback>, 2> readbacks_;  // of even and odd starts; made by the first
    size_t starts_ = 0;
    std::vector<Buffer> inputs_;  // by value id; empty unless it is an input
    std::vector<void*> storage_;  // by value id
    std::vector<Step> steps_;
    std::unique_ptr<Recording> recording_;
    const void* bound_to_ = nullptr;
    size_t runs_ = 0;       // since the steps were bound
    bool watches_ = false;  // for overflow
};
