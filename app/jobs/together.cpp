#include "app/jobs/together.h"

#include <chrono>
#include <new>
#include <thread>

#include "app/terminal.h"
#include "base/error.h"

int run_caught(const std::function<int()>& work, std::optional<std::string>& error) {
    try {
        return work();
    } catch (const Error& e) {
        error = e.what();
        return int(e.fault);
    } catch (const std::bad_alloc&) {
        error = "out of memory";
        return int(Fault::memory);
    } catch (const std::exception& e) {
        error = e.what();
        return int(Fault::runtime);
    }
}

int run_together(Ranks& ranks, const std::function<int()>& work) {
    if (ranks.count == 1) return work();
    std::optional<std::string> error;
    const int code = run_caught(work, error);
    if (!error) return code;
    // An error that all ranks meet is told once: the first rank ends the others meanwhile.
    if (!ranks.first()) std::this_thread::sleep_for(std::chrono::seconds(1));
    write_error(fmt::format("tundra: {}: {}\n", ranks.name(), printable(*error)));
    ranks.abort(code);
    return code;
}
