// Barriers, warp operations, and the messages for threads that do not meet.
#include <algorithm>
#include <bit>
#include <cstring>

#include "race.h"
#include "scheduler.h"
#include "text.h"

namespace simt {
namespace {

bool same(Site a, Site b) { return a.line == b.line && !std::strcmp(a.file, b.file); }

}  // namespace

std::string Scheduler::name_of_block(uint64_t block) const {
    const dim3 g = launch_.grid;
    return join(uint3{unsigned(block % g.x), unsigned(block / g.x % g.y), unsigned(block / (uint64_t(g.x) * g.y))});
}
std::string Scheduler::name_of_thread(unsigned thread) const { return join("thread ", ids_[thread]); }

void Scheduler::fail_here(Site site, const std::string& what) {
    throw Error(join("simt: ", site, ": ", what, "; block ", name_of_block(block_)));
}

std::string Scheduler::deadlock() const {
    std::string message = join("simt: deadlock in block ", name_of_block(block_), ":");
    int named = 0;
    for (unsigned t = 0; t < count_ && named < 6; ++t) {
        const Thread& thread = threads_[t];
        if (thread.state != State::at_barrier && thread.state != State::at_warp_op) continue;
        message += join(" ", name_of_thread(t), " waits at ", thread.site);
        message += thread.state == State::at_barrier ? " (__syncthreads);"
                                                     : join(" (warp operation, mask ", Mask{thread.mask}, ");");
        ++named;
    }
    return message;
}

int Scheduler::syncthreads(bool predicate, Site site) {
    if (at_barrier_ == 0) {
        barrier_site_ = site;
        barrier_first_ = current_;
        barrier_sum_ = 0;
    } else if (!same(site, barrier_site_)) {
        fail_here(site, join("divergent __syncthreads: ", name_of_thread(current_), " is here, ",
                             name_of_thread(barrier_first_), " at ", barrier_site_));
    }
    if (live_ != count_ && !config().allow_exit_before_barrier)
        fail_here(site, join(name_of_thread(current_), " reaches __syncthreads after another thread has returned"));
    threads_[current_].state = State::at_barrier;
    threads_[current_].site = site;
    barrier_sum_ += predicate;
    if (++at_barrier_ == live_)
        release_barrier();
    else
        wait_here();
    return barrier_result_;
}

void Scheduler::release_barrier() {
    at_barrier_ = 0;
    barrier_result_ = barrier_sum_;
    for (unsigned thread : order_)
        if (threads_[thread].state == State::at_barrier) wake(thread);
    race_barrier();
}

// A meeting of the live lanes in the mask; the last to arrive computes for all.
uint64_t Scheduler::warp_op(WarpOp op, uint32_t mask, uint64_t in, unsigned source_lane, Collective collective,
                            Site site) {
    Thread& me = threads_[current_];
    const unsigned warp = current_ / 32, lane = current_ % 32;
    if (!(mask >> lane & 1)) fail_here(site, join(name_of_thread(current_), " is not in its own mask ", Mask{mask}));
    me.state = State::at_warp_op;
    me.site = site;
    me.op = op;
    me.source_lane = uint8_t(source_lane);
    me.mask = mask;
    me.in = in;
    me.collective = collective;
    waiting_[warp] |= 1u << lane;
    const uint32_t group = mask & alive_[warp];
    if ((waiting_[warp] & group) == group)
        finish_warp_op(warp, group);
    else
        wait_here();
    return me.out;
}

void Scheduler::release_complete_groups(unsigned warp) {  // after a lane has returned
    for (uint32_t left = waiting_[warp]; left;) {
        const uint32_t group = threads_[warp * 32 + unsigned(std::countr_zero(left))].mask & alive_[warp];
        left &= ~group;
        if ((group & waiting_[warp]) == group) finish_warp_op(warp, group);
    }
}

void Scheduler::finish_warp_op(unsigned warp, uint32_t group) {
    Thread* lanes = &threads_[warp * 32];
    const Thread& first = lanes[std::countr_zero(group)];
    uint32_t ballot = 0;
    void* arguments[32] = {};
    for (uint32_t left = group; left; left &= left - 1) {
        const int lane = std::countr_zero(left);
        const Thread& thread = lanes[lane];
        if (thread.mask != first.mask || thread.op != first.op || thread.collective != first.collective)
            fail_here(thread.site, join("lanes of a warp meet with another mask or operation: mask ", Mask{thread.mask},
                                        " here, ", Mask{first.mask}, " at ", first.site));
        ballot |= uint32_t(thread.in != 0) << lane;
        arguments[lane] = reinterpret_cast<void*>(thread.in);
    }
    for (uint32_t left = group; left; left &= left - 1) {
        const unsigned lane = unsigned(std::countr_zero(left));
        Thread& thread = lanes[lane];
        if (thread.op == WarpOp::ballot) thread.out = ballot;
        if (thread.op != WarpOp::shuffle) continue;
        if (!(group >> thread.source_lane & 1))
            fail_here(thread.site,
                      join(name_of_thread(warp * 32 + lane), " shuffles from lane ", int(thread.source_lane),
                           ", which has returned, does not exist or is not in the mask ", Mask{thread.mask}));
        thread.out = lanes[thread.source_lane].in;
    }
    if (first.op == WarpOp::collective) {
        in_collective_ = true;
        first.collective(arguments, group);
        in_collective_ = false;
    }
    waiting_[warp] &= ~group;
    for (uint32_t left = group; left; left &= left - 1) wake(warp * 32 + unsigned(std::countr_zero(left)));
    race_warp(warp, group);
}

}  // namespace simt
