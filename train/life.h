// Whether a rank still computes. One that waits for a drive or a driver for ever can still send signs of life, but uses
// no processor.
#pragma once

#include <chrono>
#include <ctime>

constexpr auto kSilence = std::chrono::seconds(20);  // a rank that is silent for so long is lost

class LifeWatch {
public:
    // Asked every second by a thread that does no work. `idle`: the rank need not compute now.
    bool lost(bool idle) {
        const auto seconds = [](clockid_t clock) {
            timespec t{};
            clock_gettime(clock, &t);
            return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
        };
        const double used = seconds(CLOCK_PROCESS_CPUTIME_ID) - seconds(CLOCK_THREAD_CPUTIME_ID);
        const auto now = std::chrono::steady_clock::now();
        // Whoever asks too late was stopped itself (Ctrl-Z, a suspended job), and learns nothing.
        if (idle || used - used_ > 0.01 || now - asked_ > std::chrono::seconds(5)) used_ = used, worked_ = now;
        asked_ = now;
        return now - worked_ > kSilence;
    }

private:
    std::chrono::steady_clock::time_point worked_ = std::chrono::steady_clock::now(), asked_ = worked_;
    double used_ = 0;  // seconds of the processor
};
