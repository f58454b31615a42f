#include "app/jobs/together.h"

#include <chrono>
#include <thread>

#include "app/terminal.h"
#include "base/error.h"

int run_together(Ranks& ranks, const std::function<int()>& work) {
    if (ranks.count == 1) return work();
    int code = int(Fault::runtime);
    std::string text;
    try {
        return work();
    } catch (const Error& e) {
        code = int(e.fault), text = e.what();
    } catch (const std::bad_alloc&) {
        code = int(Fault::memory), text = "out of memory";
    } catch (const std::exception& e) {
        text = e.what();
    }
    // An error that all ranks meet is told once: the first rank ends the others meanwhile.
    if (!ranks.first()) std::this_thread::sleep_for(std::chrono::seconds(1));
    write_error(fmt::format("tundra: {}: {}\n", ranks.name(), printable(text)));
    ranks.abort(code);
    return code;
}
