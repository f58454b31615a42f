#include "coverage.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "runtime.h"

namespace ptx {
namespace {

void write_coverage() {
    const std::string path = std::string(std::getenv("PTX_COVERAGE")) + "/" + std::to_string(getpid()) + ".txt";
    std::FILE* const file = std::fopen(path.c_str(), "w");
    if (!file) return std::perror(path.c_str());
    for (const Module* module : decoded_modules())
        for (const auto& kernel : module->kernels) {
            if (!kernel->launches) continue;
            std::string executed;
            for (const Instruction& i : kernel->code) executed += i.counts.executed ? '1' : '0';
            std::fprintf(file, "%s %s %s\n", module->target.c_str(), kernel->name.c_str(), executed.c_str());
        }
    std::fclose(file);
}

}  // namespace

void write_coverage_at_exit() {
    static const bool once = [] {
        if (std::getenv("PTX_COVERAGE")) std::atexit(write_coverage);
        return true;
    }();
    static_cast<void>(once);
}

}  // namespace ptx
