#include "app/jobs/long_run.h"

#include <fmt/format.h>

#include "app/jobs/helpers.h"
#include "base/error.h"

void LongRun::note(const std::string& text) {
    if (!handed_work()) print_note(progress, text);
}

bool LongRun::count(size_t done, size_t total) {
    done_ = done, total_ = total;
    progress.count(done, total, "images");
    return !signals_.received();
}

std::optional<int> LongRun::run(const std::function<bool()>& work) {
    bool finished = false;
    try {
        finished = work();
    } catch (const Error& e) {  // such as a full disk or a lost GPU
        progress.clear();
        if (e.fault != Fault::environment || !done_ || handed_work()) throw;
        fail(e.fault, "{}; run the same command again to resume", e.what());
    }
    progress.clear();
    if (finished) return {};
    note(fmt::format("stopped after {} of {} images; run the same command again to resume", done_, total_));
    return signals_.exit_code();
}
