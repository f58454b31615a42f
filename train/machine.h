// The machine of a run: processor, memory, system, libraries, this build, and the energy consumed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct Processor {
    std::string model;
    size_t cores = 0;              // physical
    std::vector<std::string> isa;  // extensions that matter for arithmetic
};

Processor parse_cpuinfo(std::string_view text);  // of /proc/cpuinfo

struct Machine {
    Processor processor;
    size_t threads = 0;  // that this process may use
    uint64_t memory_bytes = 0;
    std::string system, kernel;
};

Machine this_machine();

struct Library {
    std::string name, compiled, loaded;  // version built against, version or file in use; empty if unknown
};

std::vector<Library> linked_libraries();

struct Build {
    std::string version, commit, compiler, flags;
};

Build this_build();

uint64_t peak_memory_bytes();  // resident, of this process since its start; 0 if it cannot be read

// Processor packages through RAPL. A counter wraps after some minutes under full load: call joules() more often.
// https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
class EnergyMeter {
public:
    explicit EnergyMeter(const std::filesystem::path& powercap = "/sys/class/powercap");

    std::optional<double> joules();  // since construction; nothing if it cannot be read (usually only root may)

private:
    struct Package {
        uint64_t last, range;  // microjoules
    };
    std::map<std::filesystem::path, Package> packages_;  // by counter
    double joules_ = 0;
};
