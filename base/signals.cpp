// The handler and the flag that it sets, which must be global.
#include "base/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "base/children.h"
#include "base/error.h"

namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};

std::atomic<int> first_signal = 0;
std::atomic<bool> save_wanted = false;
bool from_parent_only = false;
std::atomic<int> last_number = 0;  // of signal_child()
stack_t stack_before = {};         // AddressSanitizer has one of its own
static_assert(std::atomic<int>::is_always_lock_free);

void note_signal(int signal, siginfo_t* info, void*) {
    // Its parent hands on what it gets. A signal to all processes of a job would come twice, and the second one ends.
    if (from_parent_only && info->si_pid != getppid()) return;
    if (from_parent_only && info->si_code == SI_QUEUE &&
        last_number.exchange(info->si_value.sival_int) == info->si_value.sival_int)
        return;  // sent again
    if (signal == SIGUSR1) {
        save_wanted = true;
        return;
    }
    int none = 0;
    if (!first_signal.compare_exchange_strong(none, signal) && signal != SIGHUP) _exit(128 + signal);
}

void install(struct sigaction action) {
    // A signal must not turn a read in a library into an error. And oneDNN 2.6's sgemm does not survive a handler on
    // its own stack: a program of nothing but dnnl_sgemm() and a timer ends with a corrupt heap.
    action.sa_flags |= SA_RESTART | SA_ONSTACK;
    for (const int signal : kSignals) {
        struct sigaction now = {};
        sigaction(signal, nullptr, &now);
        if (signal != SIGHUP || now.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
    }
}

}  // namespace

StopSignals::StopSignals() {
    first_signal = 0, save_wanted = false;
    static char own_stack[1 << 16];  // of the thread that is asked first, the one that came here
    const stack_t stack = {.ss_sp = own_stack, .ss_flags = 0, .ss_size = sizeof own_stack};
    sigaltstack(&stack, &stack_before);
    from_parent_only = place_as_child().has_value();
    struct sigaction action = {};
    action.sa_sigaction = note_signal, action.sa_flags = SA_SIGINFO;
    install(action);
}

StopSignals::~StopSignals() {
    if (from_parent_only) return;  // its parent sends a signal again until this process has ended
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    install(action);
    sigaltstack(&stack_before, nullptr);
}

int StopSignals::received() const { return first_signal; }

bool StopSignals::take_save_request() { return save_wanted.exchange(false); }

int StopSignals::exit_code() const {
    const int signal = received();
    return signal == SIGHUP ? int(Fault::environment) : signal ? 128 + signal : 0;
}
