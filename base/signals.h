// SIGINT and SIGTERM ask for a save and an orderly end; a second one ends the program at once.
#pragma once

// While an object exists the signals only set a flag, which loops read between steps.
class StopSignals {
public:
    StopSignals();
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    int received() const;                                                // the first signal; 0: none yet
    int exit_code() const { return received() ? 128 + received() : 0; }  // 130 for SIGINT, 143 for SIGTERM
};
