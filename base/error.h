// Error reporting: one line that says what is wrong, with which value, and what to do about it.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

// The exit code of the program when the error reaches main().
enum class Fault {
    runtime = 1,      // anything else
    usage = 2,        // options, configuration, a device that is not available
    inputs = 3,       // finished, but more than the allowed number of inputs failed
    damaged = 4,      // a model, checkpoint or result file that cannot be trusted
    memory = 5,       // host or device memory
    not_finite = 6,   // numbers overflowed: training diverged, or a network overflowed
    environment = 75  // disk full, device lost: retrying may help
};

struct Error : std::runtime_error {
    Fault fault;
    Error(Fault fault, const std::string& message) : runtime_error(message), fault(fault) {}
};

template <class... Parts>
[[noreturn]] void fail(Fault fault, fmt::format_string<Parts...> text, Parts&&... parts) {
    throw Error(fault, fmt::format(text, std::forward<Parts>(parts)...));
}

// Checks what the caller of an operation must ensure: require(n == 3, "conv: stride has {} elements", n).
template <class... Parts>
void require(bool condition, fmt::format_string<Parts...> text, Parts&&... parts) {
    if (!condition) throw Error(Fault::runtime, fmt::format(text, std::forward<Parts>(parts)...));
}
