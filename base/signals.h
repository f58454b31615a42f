// SIGINT, SIGTERM and SIGHUP (the terminal went away) ask for a save and an orderly end. A second SIGINT or SIGTERM
// ends the program at once; SIGHUP never does, because a closing terminal and its shell both send it. Where SIGHUP is
// ignored when the program starts, as nohup arranges, it stays ignored. SIGUSR1, which Slurm sends before a time limit,
// asks for a save, after which the work goes on.
#pragma once

// While an object exists the signals only set a flag, which loops read between steps.
class StopSignals {
public:
    StopSignals();
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    int received() const;      // the first signal; 0: none yet
    bool take_save_request();  // whether SIGUSR1 came since the last call
    int exit_code() const;     // 130 after SIGINT, 143 after SIGTERM, Fault::environment (75) after SIGHUP, else 0
};
