// SIGINT and SIGTERM ask for a save and an orderly end; the second one ends the program at once.
#pragma once

// While it lives the two signals only leave a note, which the training loop reads between steps.
class StopSignals {
public:
    StopSignals();
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    int received() const;                                                // the first signal, 0 before
    int exit_code() const { return received() ? 128 + received() : 0; }  // 130 for SIGINT, 143 for SIGTERM
};
