// A long run over images as the terminal sees it: progress, notes, Ctrl-C, and what is said at the end.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "app/terminal.h"
#include "base/signals.h"

class LongRun {
public:
    explicit LongRun(bool quiet) : progress(quiet) {}

    // Does the work, which calls count(). Where the disk, a drive or the GPU fails, the error says that the same
    // command resumes the run. Returns the exit code if a signal ended it (`work` returned false), else nothing.
    std::optional<int> run(const std::function<bool()>& work);

    bool count(size_t done, size_t total);  // false: a signal asks for the end
    void note(const std::string& text);     // a helper's are told by the process that started it

    Progress progress;

private:
    const StopSignals signals_;
    size_t done_ = 0, total_ = 0;
};
