// Several training steps on their way to a device that runs them as one recorded graph: what the host writes before
// each of them is uploaded at once, and copied to where the steps read it by kernels between them.
#pragma once

#include <memory_resource>
#include <vector>

#include "engine/program.h"

class StepQueue {
public:
    // Of `steps` steps, before each of which at most `input_bytes` are written and behind which `result_bytes` are
    // read. Device memory: three times the inputs, and the results.
    StepQueue(Device& device, size_t steps, size_t input_bytes, size_t result_bytes);

    // For the step that is queued next, a multiple of 4 bytes; every step writes the same number to the same addresses.
    void write(void* to, Piece piece);
    void end_step();
    size_t queued() const { return queued_; }
    size_t capacity() const { return steps_; }
    bool full() const { return queued_ == steps_; }
    size_t memory_bytes() const { return device_inputs_.bytes() + device_results_.bytes(); }

    // Starts what is queued; `results` is what is read behind each step. Returns the results of all, for a Readback.
    Piece start(Program& program, const std::vector<Piece>& results);

private:
    struct Input {
        void* to;
        size_t bytes, at;  // its place among the inputs of a step
    };
    std::vector<Step> copies_before(size_t step) const;
    std::vector<Step> copies_behind(size_t step, const std::vector<Piece>& results) const;
    void record(Program& program, const std::vector<Piece>& results);

    Device& device_;
    const size_t steps_, input_bytes_, result_bytes_;
    std::pmr::vector<std::byte> host_[2];  // of even and odd starts: the device reads one while the other is filled
    Buffer device_inputs_, device_results_;
    std::vector<Input> inputs_;  // in the order in which a step writes them; from the first step
    size_t queued_ = 0, written_ = 0, starts_ = 0;
    std::unique_ptr<Recording> recording_;  // of steps_ steps
    bool refused_ = false;                  // to be recorded: not tried again
    const void* bound_to_ = nullptr;        // where the results of the last full queue were: they move with the arena
};
