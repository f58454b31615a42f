// Micro-batches: every rank computes its share of a batch in parts of one size. Each part is computed by a thread of
// its own that takes part as a rank, so that the number of processes changes neither a sum nor its order.
#include <signal.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "train/ranks.h"
#include "train/run.h"
#include "train/run_folder.h"

namespace {

struct AnotherFailed {};  // ends a thread that waits for one that has thrown

// Adds the rows of a process up pairwise, as far as that is the same whatever rows other processes have: in groups of a
// power of two, and all of them where it is alone. Returns one row of each group, with its sum.
template <class T>
std::vector<T*> added_rows(const Ranks& process, std::span<T* const> rows, size_t width) {
    const size_t group = process.count > 1 ? rows.size() & (~rows.size() + 1) : std::bit_ceil(rows.size());
    for (size_t step = 1; step < group; step *= 2)
        for (size_t row = 0; row + step < rows.size(); row += 2 * step) {
            T* __restrict to = rows[row], * __restrict from = rows[row + step];
            for (size_t i = 0; i < width; ++i) to[i] += from[i];
        }
    std::vector<T*> sums;
    for (size_t row = 0; row < rows.size(); row += group) sums.push_back(rows[row]);
    return sums;
}

template <class T>
void copy_to_all(std::span<T* const> rows, size_t width) {
    for (T* const row : rows.subspan(1)) std::copy_n(rows[0], width, row);
}

// What the threads of a process share.
struct Group {
    Ranks& process;
    const size_t threads;
    std::mutex mutex = {};
    std::condition_variable changed = {};
    size_t arrived = 0, meetings = 0;
    std::exception_ptr failure = {};

    struct Sum {
        std::vector<float*> rows;  // by thread
        size_t arrived = 0;
    };
    std::deque<Sum> sums = {};  // since the last wait(), in the order in which every thread starts them
    std::vector<std::span<std::byte>> bytes = std::vector<std::span<std::byte>>(threads);
    std::vector<double*> numbers = std::vector<double*>(threads);
    std::vector<const std::string*> texts = std::vector<const std::string*>(threads);
    std::vector<std::string> gathered = {};

    // Returns when all threads have come; the last one does `once` for all of them.
    template <class Once>
    void meet(const Once& once) {
        std::unique_lock lock(mutex);
        if (failure) throw AnotherFailed();
        const size_t number = meetings;
        if (++arrived == threads) {
            arrived = 0;
            once();
            ++meetings;
            changed.notify_all();
            return;
        }
        changed.wait(lock, [&] { return meetings != number || failure; });
        if (meetings == number) throw AnotherFailed();
    }

    void fail(std::exception_ptr error) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::move(error);
        changed.notify_all();
    }
};

class ThreadRanks final : public Ranks {
public:
    ThreadRanks(Group& group, size_t thread) : group_(group), thread_(thread) {
        const Ranks& p = group.process;
        rank = p.rank * group.threads + thread, count = p.count * group.threads;
        process = &group.process, leads = thread == 0;
        machine = p.machine;
        on_machine = p.on_machine * group.threads, on_processors = p.on_processors * group.threads;
    }

    void sum(std::span<double> values, size_t) override {  // one row of each thread
        group_.numbers[thread_] = values.data();
        group_.meet([&] {
            std::vector<double> sums;
            for (const double* row : added_rows<double>(*process, group_.numbers, values.size()))
                sums.insert(sums.end(), row, row + values.size());
            process->sum(sums, sums.size() / values.size());
            std::copy_n(sums.begin(), values.size(), group_.numbers[0]);
            copy_to_all<double>(group_.numbers, values.size());
        });
    }

    void start_sum(std::span<float* const> rows, size_t width, float factor) override {
        const std::lock_guard lock(group_.mutex);
        if (group_.failure) throw AnotherFailed();
        sizes_.push_back(width);
        if (group_.sums.size() < sizes_.size()) group_.sums.push_back({std::vector<float*>(group_.threads)});
        Group::Sum& sum = group_.sums[sizes_.size() - 1];
        sum.rows[thread_] = rows[0];
        if (++sum.arrived < group_.threads) return;
        const std::vector<float*> sums = added_rows<float>(*process, sum.rows, width);
        if (process->count > 1) return process->start_sum(sums, width, factor);
        for (float& x : std::span(sums[0], width)) x *= factor;
    }

    void wait() override {
        const auto begin = std::chrono::steady_clock::now();
        group_.meet([&] {
            process->wait();
            for (size_t i = 0; i < sizes_.size(); ++i) copy_to_all<float>(group_.sums[i].rows, sizes_[i]);
            group_.sums.clear();
        });
        sizes_.clear();
        waited_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }

    std::vector<std::string> gather(const std::string& text) override {
        group_.texts[thread_] = &text;
        group_.meet([&] {
            group_.gathered.resize(count);
            for (size_t t = 0; t < group_.threads; ++t) {
                std::vector<std::string> of_processes = process->gather(*group_.texts[t]);
                for (size_t p = 0; p < of_processes.size(); ++p)
                    group_.gathered[p * group_.threads + t] = std::move(of_processes[p]);
            }
        });
        return group_.gathered;
    }

    void broadcast(std::span<std::byte> bytes) override {
        group_.bytes[thread_] = bytes;
        group_.meet([&] {
            process->broadcast(group_.bytes[0]);
            for (const std::span<std::byte> to : group_.bytes)
                if (to.data() != group_.bytes[0].data()) std::ranges::copy(group_.bytes[0], to.begin());
        });
    }

    void abort(int code) override { process->abort(code); }

private:
    Group& group_;
    const size_t thread_;
    std::vector<size_t> sizes_;  // of the sums that this thread has started since the last wait()
};

// Calls work() for `threads` ranks of this process, the first of them in this thread. Rethrows the first error.
template <class Work>
void run_in_threads(Ranks& process, size_t threads, const Work& work) {
    Group group{process, threads};
    const auto run = [&](size_t thread) {
        try {
            ThreadRanks ranks(group, thread);
            work(ranks);
        } catch (const AnotherFailed&) {
        } catch (...) {
            group.fail(std::current_exception());
        }
    };
    sigset_t stops, before;  // they are for this thread
    sigemptyset(&stops);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) sigaddset(&stops, signal);
    pthread_sigmask(SIG_BLOCK, &stops, &before);
    std::vector<std::jthread> others;
    try {
        for (size_t t = 1; t < threads; ++t) others.emplace_back(run, t);
    } catch (...) {  // no thread is left; those that began wait for the others
        group.fail(std::current_exception());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!group.failure) run(0);
    others.clear();
    if (group.failure) std::rethrow_exception(group.failure);
}

// In how many parts a rank computes its share of a batch. Also sets config.micro_batch where the command leaves it
// open: to that of the run in the folder, or of a new --deterministic run to the share of a rank, so that another
// number of ranks can continue it with the same bits.
size_t parts_of_share(Ranks& ranks, TrainConfig& config, const RunOptions& options) {
    uint64_t& size = config.micro_batch;
    if (!size) {
        if (ranks.first()) {
            const std::optional<TrainConfig> before = RunFolder(options.folder, options.fresh).config();
            if (before)
                size = before->micro_batch;
            else if (options.deterministic && ranks.count > 1 && config.batch % ranks.count == 0 &&
                     is_cpu(config.device))
                size = config.batch / ranks.count;
        }
        ranks.broadcast(std::as_writable_bytes(std::span(&size, 1)));
    }
    if (!size) return 1;
    const uint64_t all = config.batch / size, parts = all / ranks.count;
    if (config.batch % size) fail(Fault::usage, "--micro-batch {}: must divide --batch {}", size, config.batch);
    if (all % ranks.count)
        fail(Fault::usage, "--micro-batch {}: the {} of a batch of {} cannot be dealt evenly to {} ranks", size, all,
             config.batch, ranks.count);
    return size_t(parts);
}

}  // namespace

RunResult train_run(TrainConfig config, const RunOptions& options, const RunEvents& events) {
    Ranks alone;
    Ranks& ranks = options.ranks ? *options.ranks : alone;
    const size_t parts = parts_of_share(ranks, config, options);
    if (parts == 1) return train_as_rank(std::move(config), options, events);
    RunEvents told = events;
    if (events.planned)
        told.planned = [&](RunPlan plan) {
            plan.memory_bytes *= parts;
            plan.notes.push_back(fmt::format("{} computes {} micro-batches of {} images of a step",
                                             ranks.count > 1 ? "each rank" : "this process", parts,
                                             config.micro_batch));
            events.planned(plan);
        };
    RunResult result{};
    run_in_threads(ranks, parts, [&](Ranks& rank) {
        RunOptions own = options;
        own.ranks = &rank;
        RunResult found = train_as_rank(config, own, rank.leads ? told : RunEvents{});
        if (rank.leads) result = std::move(found);
    });
    return result;
}
