// Runs launches on the calling OS thread: blocks one after the other, the threads of a block as fibers.
//
// A fiber runs CUDA threads that have not started yet, one after the other; only a thread that has to wait keeps its
// fiber, and another fiber runs the rest. A kernel without barriers needs one fiber and two switches per block.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "cpu_flavour.h"
#include "fiber.h"
#include "shared_memory.h"

namespace simt {

enum class State : uint8_t { running, at_barrier, at_warp_op, done };

struct Thread {
    State state = State::done;
    Fiber* fiber = nullptr;  // while it runs or waits
    Site site{};             // where it waits
    WarpOp op{};             // the rest: of the warp operation that it waits in
    uint8_t source_lane = 0;
    uint32_t mask = 0;
    uint64_t in = 0, out = 0;
    Collective collective = nullptr;
};

class Scheduler {
public:
    static Scheduler& get();  // of this host thread

    void run(const Launch& launch);

    // Called by kernels.
    int syncthreads(bool predicate, Site site);
    uint64_t warp_op(WarpOp op, uint32_t mask, uint64_t in, unsigned source_lane, Collective collective, Site site);
    void* shared_at(SharedSlot& slot, size_t bytes, size_t align, const char* file, unsigned line);
    void* dynamic_shared(const char* file, unsigned line);
    [[noreturn]] void fail_here(Site site, const std::string& what);

    // Called by the race checker.
    bool in_kernel() const { return in_kernel_; }
    bool in_collective() const { return in_collective_; }
    unsigned current() const { return current_; }
    uint64_t block() const { return block_; }
    const Launch& launch() const { return launch_; }
    const SharedMemory& shared() const { return shared_; }
    const Fiber* fiber() const { return threads_[current_].fiber; }
    std::string name_of_block(uint64_t block) const;
    std::string name_of_thread(unsigned thread) const;

    Stats stats() const { return {switches_, fibers_.size()}; }

private:
    std::string deadlock() const;

    void check_launch() const;
    void run_block();
    void start_block();
    static void run_threads(Fiber& self);
    void finish_thread(unsigned thread);
    Fiber* idle_fiber();
    Fiber& next_fiber();
    void switch_to(Fiber& from, Fiber& to);
    void become(unsigned thread);
    void wait_here();
    void wake(unsigned thread);
    void release_barrier();
    void release_complete_groups(unsigned warp);
    void finish_warp_op(unsigned warp, uint32_t group);
    uint64_t random();

    // One launch.
    Launch launch_{};
    size_t shared_limit_ = 0;
    unsigned count_ = 0;  // threads of a block
    uint64_t random_ = 0;
    std::vector<Thread> threads_;
    std::vector<uint3> ids_;
    std::vector<unsigned> order_;  // in which the threads of the block start
    bool in_kernel_ = false, in_collective_ = false;

    // One block.
    uint64_t block_ = 0, block_serial_ = 0;
    unsigned current_ = 0, started_ = 0, live_ = 0;
    unsigned at_barrier_ = 0, barrier_first_ = 0;
    int barrier_sum_ = 0, barrier_result_ = 0;
    Site barrier_site_{};
    uint32_t waiting_[32] = {}, alive_[32] = {};  // lanes of each warp
    std::exception_ptr error_;
    SharedMemory shared_;
    void* dynamic_shared_ = nullptr;

    Fiber host_;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<Fiber*> idle_, ready_;
    size_t ready_begin_ = 0;
    uint64_t switches_ = 0;
};

}  // namespace simt
