#include "engine/waiting.h"

#include <fcntl.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
constexpr auto kInterval = 50ms;
constexpr double kBusyShare = 0.1;  // of the time, waiting for a processor
// Threads that sleep now and then get their processor back at once, so that the share tells nothing any more: after
// this time the long spinning is tried again, for as long as a look takes.
constexpr auto kTryAgain = 5s;

double seconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double>(d).count(); }

// The second number of /proc/thread-self/schedstat; below 0 if there is none.
double delay_of(int file) {
    char text[128];
    const ssize_t bytes = file < 0 ? -1 : pread(file, text, sizeof text - 1, 0);
    unsigned long long ran = 0, delayed = 0;
    text[std::max<ssize_t>(0, bytes)] = '\0';
    return std::sscanf(text, "%llu %llu", &ran, &delayed) == 2 ? 1e-9 * double(delayed) : -1;
}

}  // namespace

// A thread with a team of its own, as many threads as make the program have more than processors. They sleep.
class Waiting::IdleTeam {
public:
    explicit IdleTeam(int size)
        : leader_([this, size] {
#pragma omp parallel num_threads(size)
              asm volatile("" ::: "memory");  // or the compiler removes the region
              begun_ = true;
              begun_.notify_one();
              ended_.wait(false);
          }) {
        begun_.wait(false);
    }
    ~IdleTeam() {
        ended_ = true;
        ended_.notify_one();
    }

private:
    std::atomic<bool> begun_ = false, ended_ = false;
    std::jthread leader_;  // last: uses the others; OpenMP ends the team with it
};

Waiting::Waiting(int threads)
    : threads_(threads),
      watches_(threads > 1 && threads <= omp_get_num_procs() && !std::getenv("OMP_WAIT_POLICY") &&
               !std::getenv("GOMP_SPINCOUNT")) {}

Waiting::~Waiting() {
    if (schedstat_ >= 0) close(schedstat_);
}

void Waiting::set_short(bool spin_shortly) {
    if (spin_shortly == is_short()) return;
    if (!spin_shortly) return idle_team_.reset();
    const int size = omp_get_num_procs() - threads_ + 2;
    try {
        for (std::vector<std::jthread> trial; int(trial.size()) < size;)  // OpenMP would end the program without them
            trial.emplace_back([] {});
        idle_team_ = std::make_unique<IdleTeam>(size);
    } catch (const std::system_error&) {  // no thread to be had: it stays as it was
    }
}

void Waiting::look() {
    const Clock::time_point now = Clock::now();
    if (schedstat_ < 0) schedstat_ = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    const double delay = delay_of(schedstat_);
    watches_ = delay >= 0;
    if (!watches_) return set_short(false);
    const bool first = last_look_ == Clock::time_point();
    const double share = first ? 0 : (delay - last_delay_) / seconds(now - last_look_);
    next_look_ = now + kInterval, last_look_ = now, last_delay_ = delay;
    if (share > kBusyShare) last_busy_ = now;
    set_short(share > kBusyShare || (is_short() && now - last_busy_ < kTryAgain));
}
