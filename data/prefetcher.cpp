#include "data/prefetcher.h"

#include <sys/resource.h>

#include <algorithm>
#include <system_error>

#include "data/drive.h"

void Prefetcher::start(size_t threads, Work work) {
    stop();
    work_ = std::move(work);
    failure_ = nullptr;
    try {
        while (threads_.size() < std::max<size_t>(1, threads)) threads_.emplace_back([this] { run(); });
    } catch (const std::system_error& e) {  // on a busy system fewer will do
        if (threads_.empty())
            throw ImagesLost(Fault::environment,
                             fmt::format("the system gives no thread to read images: {}", e.what()));
    }
}

void Prefetcher::stop() {
    {
        const Lock held = lock();
        stopping_ = true;
    }
    room_.notify_all();
    threads_.clear();
    stopping_ = false;
}

void Prefetcher::run() {
    // On Linux this is the priority of the calling thread alone.
    if (work_.niceness) setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + work_.niceness);
    Lock held = lock();
    try {
        for (;;) {
            room_.wait(held, [&] { return stopping_ || failure_ || work_.has_room(); });
            if (stopping_ || failure_) return;
            const Job job = work_.next_job();
            if (!job) return;
            held.unlock();
            job();
            made_.notify_all();
            held.lock();
        }
    } catch (...) {
        if (!held.owns_lock()) held.lock();
        if (!failure_) failure_ = std::current_exception();
    }
    room_.notify_all();
    made_.notify_all();
}
