// Threads that prepare work ahead of a consumer, as far as there is room. Loader makes batches with it, DetectRun
// network inputs.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

// One mutex guards the state of the owner and of the prefetcher. The owner's functions has_room and next_job are called
// under it; jobs run without it.
class Prefetcher {
public:
    using Lock = std::unique_lock<std::mutex>;
    using Job = std::function<void()>;
    struct Work {
        std::function<bool()> has_room;  // whether one more job may be handed out now
        std::function<Job()> next_job;   // called if there is room; empty: this thread can end
        int niceness = 0;                // added to that of the threads; see setpriority(2)
    };

    Prefetcher() = default;
    ~Prefetcher() { stop(); }
    Prefetcher(const Prefetcher&) = delete;
    Prefetcher& operator=(const Prefetcher&) = delete;

    // Stops earlier work and clears its failure. Throws ImagesLost if the system gives not one thread.
    void start(size_t threads, Work work);
    void stop();  // running jobs are finished, no other is begun

    Lock lock() const { return Lock(mutex_); }
    // For the consumer: blocks until ready(), which is called under the lock. Throws what a job threw.
    template <class Ready>
    Lock wait(Ready ready) {
        Lock held(mutex_);
        made_.wait(held, [&] { return failure_ || ready(); });
        if (failure_) std::rethrow_exception(failure_);
        return held;
    }
    void room_changed() { room_.notify_all(); }  // has_room() or next_job() may answer differently now

private:
    void run();

    Work work_;
    mutable std::mutex mutex_;
    std::condition_variable room_, made_;
    bool stopping_ = false;
    std::exception_ptr failure_;
    std::vector<std::jthread> threads_;
};
