// The handler and the one word it writes: a handler can reach nothing but a global.
#include "train/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace {

std::atomic<int> first_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free);

void note_signal(int signal) {
    int none = 0;
    if (!first_signal.compare_exchange_strong(none, signal)) _exit(128 + signal);
}

void install(void (*handler)(int)) {
    struct sigaction action = {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;  // a signal must not turn a read in a library into an error
    for (int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

}  // namespace

StopSignals::StopSignals() {
    first_signal = 0;
    install(note_signal);
}

StopSignals::~StopSignals() { install(SIG_DFL); }

int StopSignals::received() const { return first_signal; }
