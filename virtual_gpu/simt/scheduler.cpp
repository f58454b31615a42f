// Launches, blocks and the scheduling of fibers. Barriers and warp operations are in synchronise.cpp.
#include "scheduler.h"

#include <cstdlib>
#include <numeric>

#include "race.h"
#include "text.h"

namespace simt {
namespace {

// Shared memory per block that a launch may ask for, by architecture (CUDA programming guide, compute capabilities).
size_t shared_limit_of(int arch) {
    switch (arch) {
        case 80:
        case 87: return 163 << 10;
        case 86:
        case 89:
        case 120:
        case 121: return 99 << 10;
        case 90:
        case 100:
        case 101:
        case 103: return 227 << 10;
        default: throw Error(join("simt: no limit of shared memory is known for sm_", arch));
    }
}
constexpr size_t kStaticSharedLimit = 48 << 10;  // ptxas refuses more

}  // namespace

Scheduler& Scheduler::get() {
    static thread_local Scheduler scheduler;
    return scheduler;
}

void Scheduler::check_launch() const {
    const dim3 grid = launch_.grid, block = launch_.block;
    const uint64_t threads = uint64_t(block.x) * block.y * block.z;
    if (threads < 1 || threads > 1024 || block.z > 64)
        throw Error(join("simt: a block of ", block, " threads; 1 to 1024 are possible, 64 along z"));
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
        throw Error(join("simt: a grid of ", grid, " blocks; 1 to 2147483647x65535x65535 are possible"));
    if (launch_.shared_bytes > shared_limit_)
        throw Error(join("simt: ", launch_.shared_bytes, " bytes of dynamic shared memory, sm_", launch_.arch, " has ",
                         shared_limit_));
}

void Scheduler::run(const Launch& launch) {
    if (in_kernel_) throw Error("simt: a kernel cannot launch another one");
    launch_ = launch;
    shared_limit_ = shared_limit_of(launch.arch);
    check_launch();
    const dim3 grid = launch.grid, block = launch.block;
    count_ = block.x * block.y * block.z;
    blockDim = {block.x, block.y, block.z};
    gridDim = {grid.x, grid.y, grid.z};
    threads_.resize(count_);
    ids_.resize(count_);
    for (unsigned t = 0; t < count_; ++t) ids_[t] = {t % block.x, t / block.x % block.y, t / (block.x * block.y)};
    order_.resize(count_);
    std::iota(order_.begin(), order_.end(), 0u);

    const bool reverse = config().order == Order::reverse, shuffle = config().order == Order::shuffle;
    random_ = config().seed * 0x2545f4914f6cdd1dull + 1;
    if (reverse) std::reverse(order_.begin(), order_.end());
    const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
    std::vector<uint64_t> shuffled(shuffle ? blocks : 0);
    for (uint64_t i = 0; i < shuffled.size(); ++i) {
        const uint64_t j = random() % (i + 1);
        shuffled[i] = shuffled[j];
        shuffled[j] = i;
    }

    resolve(launch.arguments, launch.arguments_bytes);
    race_launch(*this);
    try {
        for (uint64_t i = 0; i < blocks; ++i) {
            block_ = reverse ? blocks - 1 - i : shuffle ? shuffled[i] : i;
            blockIdx = {unsigned(block_ % grid.x), unsigned(block_ / grid.x % grid.y),
                        unsigned(block_ / (uint64_t(grid.x) * grid.y))};
            for (unsigned t = count_; shuffle && t > 1; --t) std::swap(order_[t - 1], order_[random() % t]);
            run_block();
        }
    } catch (const Error& error) {
        const std::string findings = race_launch_end();
        throw Error(findings.empty() ? error.what() : join(error.what(), "\n", findings));
    } catch (...) {
        race_launch_end();
        throw;
    }
    if (const std::string findings = race_launch_end(); !findings.empty()) throw Error(findings);
}

void Scheduler::start_block() {
    ++block_serial_;
    shared_.begin_block();
    dynamic_shared_ = nullptr;
    if (launch_.shared_bytes) dynamic_shared_ = shared_.carve(launch_.shared_bytes, 128, {"of the launch", 0});
    for (unsigned w = 0; w < 32; ++w) {
        const unsigned lanes = count_ > w * 32 ? count_ - w * 32 : 0;
        alive_[w] = lanes >= 32 ? ~0u : (1u << lanes) - 1;
        waiting_[w] = 0;
    }
    for (Thread& thread : threads_) thread.state = State::done;
    started_ = at_barrier_ = 0;
    live_ = count_;
    error_ = nullptr;
    in_collective_ = false;
    race_block();
}

void Scheduler::run_block() {
    start_block();
    in_kernel_ = true;
    switch_to(host_, *idle_fiber());
    in_kernel_ = false;
    if (error_ || live_) {
        const std::exception_ptr error = error_ ? error_ : std::make_exception_ptr(Error(deadlock()));
        idle_.clear();
        ready_.clear();
        ready_begin_ = 0;
        for (auto& fiber : fibers_) {  // those that still wait are abandoned
            fiber->reset();
            idle_.push_back(fiber.get());
        }
        std::rethrow_exception(error);
    }
    if (const std::string array = shared_.find_overrun(); !array.empty())
        throw Error(join("simt: a write next to the shared array ", array, "; block ", name_of_block(block_)));
}

// The life of a fiber.
void Scheduler::run_threads(Fiber& self) {
    Scheduler& scheduler = get();
    for (;;) {
        try {
            while (scheduler.started_ < scheduler.count_) {
                const unsigned thread = scheduler.order_[scheduler.started_++];
                scheduler.threads_[thread].state = State::running;
                scheduler.threads_[thread].fiber = &self;
                scheduler.become(thread);
                scheduler.launch_.body(scheduler.launch_.arguments);
                scheduler.finish_thread(thread);
            }
        } catch (...) {
            scheduler.error_ = std::current_exception();
        }
        if (scheduler.error_)
            scheduler.switch_to(self, scheduler.host_);  // does not come back: run_block resets this fiber
        scheduler.idle_.push_back(&self);
        scheduler.switch_to(self, scheduler.next_fiber());
    }
}

void Scheduler::finish_thread(unsigned thread) {
    threads_[thread].state = State::done;
    --live_;
    alive_[thread / 32] &= ~(1u << thread % 32);
    if (at_barrier_ && !config().allow_exit_before_barrier)
        fail_here(barrier_site_, join(name_of_thread(thread), " returned while ", name_of_thread(barrier_first_),
                                      " waits at this __syncthreads"));
    if (at_barrier_ && at_barrier_ == live_) release_barrier();
    if (waiting_[thread / 32]) release_complete_groups(thread / 32);
}

Fiber* Scheduler::idle_fiber() {
    if (idle_.empty()) {
        fibers_.push_back(std::make_unique<Fiber>(config().stack_bytes, run_threads));
        return fibers_.back().get();
    }
    Fiber* fiber = idle_.back();
    idle_.pop_back();
    return fiber;
}

Fiber& Scheduler::next_fiber() {
    const bool fresh = started_ < count_, ready = ready_begin_ < ready_.size();
    const bool shuffle = config().order == Order::shuffle;
    if (fresh && (!ready || (shuffle && random() % 2))) return *idle_fiber();
    if (!ready) return host_;  // finished, or a deadlock
    if (shuffle) std::swap(ready_[ready_begin_], ready_[ready_begin_ + random() % (ready_.size() - ready_begin_)]);
    Fiber* fiber = ready_[ready_begin_++];
    if (ready_begin_ == ready_.size()) {
        ready_.clear();
        ready_begin_ = 0;
    }
    return *fiber;
}

void Scheduler::switch_to(Fiber& from, Fiber& to) {
    ++switches_;
    Fiber::switch_to(from, to);
}

void Scheduler::become(unsigned thread) {
    current_ = thread;
    threadIdx = ids_[thread];
}

void Scheduler::wait_here() {
    const unsigned me = current_;
    switch_to(*threads_[me].fiber, next_fiber());
    become(me);
}

void Scheduler::wake(unsigned thread) {
    threads_[thread].state = State::running;
    if (thread != current_) ready_.push_back(threads_[thread].fiber);
}

uint64_t Scheduler::random() {  // splitmix64
    uint64_t z = random_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

void* Scheduler::shared_at(SharedSlot& slot, size_t bytes, size_t align, const char* file, unsigned line) {
    if (slot.block == block_serial_) return slot.address;
    const size_t static_bytes = shared_.used() - launch_.shared_bytes + bytes;
    if (static_bytes > kStaticSharedLimit)
        fail_here({file, line}, join(static_bytes, " bytes in SIMT_SHARED arrays; more than ", kStaticSharedLimit,
                                     " need SIMT_DYNAMIC_SHARED"));
    if (shared_.used() + bytes > shared_limit_)
        fail_here({file, line},
                  join(shared_.used() + bytes, " bytes of shared memory, sm_", launch_.arch, " has ", shared_limit_));
    slot.block = block_serial_;
    slot.address = shared_.carve(bytes, align, {file, line});
    return slot.address;
}

void* Scheduler::dynamic_shared(const char* file, unsigned line) {
    if (!dynamic_shared_) fail_here({file, line}, "the launch gave no dynamic shared memory");
    return dynamic_shared_;
}

Config& config() {
    static thread_local Config config = [] {
        Config start;
        const char* variable = std::getenv("SIMT_ORDER");
        const std::string order = variable ? variable : "in_order";
        if (order == "reverse")
            start.order = Order::reverse;
        else if (order.starts_with("shuffle:"))
            start.order = Order::shuffle, start.seed = std::strtoull(order.c_str() + 8, nullptr, 0);
        else if (order != "in_order")
            throw Error(join("simt: SIMT_ORDER is '", order, "'; it may be in_order, reverse or shuffle:SEED"));
        return start;
    }();
    return config;
}

Stats stats() { return Scheduler::get().stats(); }

inline namespace cpu {

void* shared_at(SharedSlot& slot, size_t bytes, size_t align, const char* file, unsigned line) {
    return Scheduler::get().shared_at(slot, bytes, align, file, line);
}
void* dynamic_shared(const char* file, unsigned line) { return Scheduler::get().dynamic_shared(file, line); }
int syncthreads(bool predicate, Site site) { return Scheduler::get().syncthreads(predicate, site); }
uint64_t warp_op(WarpOp op, uint32_t mask, uint64_t in, unsigned source_lane, Collective collective, Site site) {
    return Scheduler::get().warp_op(op, mask, in, source_lane, collective, site);
}
unsigned lane() { return Scheduler::get().current() % 32; }
void trap(Site site) { Scheduler::get().fail_here(site, "__trap"); }
void run(const Launch& launch) { Scheduler::get().run(launch); }

}  // namespace cpu

}  // namespace simt
