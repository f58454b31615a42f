// Reads /proc, /sys and the versions of the libraries.
#include "train/machine.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <turbojpeg.h>
#include <unistd.h>
#include <zip.h>
#ifdef TUNDRA_HDF5
#include <hdf5.h>
#endif

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "base/processors.h"
#include "build_info.h"
#include "data/image.h"
#include "kernels/onednn.h"

namespace {

std::string content_of(const std::filesystem::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// "key : value" or "key=value" lines.
std::string_view value_of(std::string_view line, char separator) {
    size_t at = line.find(separator);
    if (at == line.npos) return "";
    line.remove_prefix(at + 1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t\""), line.size()));
    return line.substr(0, line.find_last_not_of(" \t\"") + 1);
}

std::optional<uint64_t> number_in(const std::filesystem::path& path) {
    std::ifstream file(path);
    uint64_t value = 0;
    return file >> value ? std::optional(value) : std::nullopt;
}

// The shared object that a function came from: "libturbojpeg.so.0.2.0".
std::string file_of(void* function) {
    Dl_info info;
    if (!dladdr(function, &info) || !info.dli_fname) return "";
    std::error_code error;
    std::filesystem::path path = std::filesystem::canonical(info.dli_fname, error);
    return error ? "" : path.filename().string();
}

}  // namespace

Processor parse_cpuinfo(std::string_view text) {
    constexpr std::string_view wanted[] = {"sse4_2",      "avx",      "f16c",     "fma",         "avx2",
                                           "avx_vnni",    "avx512f",  "avx512bw", "avx512_vnni", "avx512_bf16",
                                           "avx512_fp16", "amx_tile", "amx_bf16", "asimd",       "sve"};
    Processor processor;
    std::set<std::string> cores;
    std::string package;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        std::string value(value_of(line, ':'));
        if (line.starts_with("model name")) processor.model = value;
        if (line.starts_with("physical id")) package = value;
        if (line.starts_with("core id")) cores.insert(package + "/" + value);
        if (!processor.isa.empty() || !(line.starts_with("flags") || line.starts_with("Features"))) continue;
        std::istringstream words(value);
        std::set<std::string> flags{std::istream_iterator<std::string>(words), {}};
        for (std::string_view flag : wanted)
            if (flags.contains(std::string(flag))) processor.isa.emplace_back(flag);
    }
    processor.cores = cores.size();
    return processor;
}

Machine this_machine() {
    Machine machine = {
        .processor = parse_cpuinfo(content_of("/proc/cpuinfo")), .system = "unknown", .kernel = "unknown"};
    machine.threads = size_t(usable_processors());
    if (machine.processor.cores == 0) machine.processor.cores = machine.threads;
    machine.memory_bytes = uint64_t(sysconf(_SC_PHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE));
    std::istringstream release(content_of("/etc/os-release"));
    for (std::string line; std::getline(release, line);)
        if (line.starts_with("PRETTY_NAME=")) machine.system = value_of(line, '=');
    utsname names;
    if (uname(&names) == 0) machine.kernel = fmt::format("{} {} {}", names.sysname, names.release, names.machine);
    return machine;
}

std::vector<Library> linked_libraries() {
    const dnnl_version_t* onednn = has_onednn() ? dnnl_version() : nullptr;
    std::vector<Library> libraries = {
        {"oneDNN", fmt::format("{}.{}.{}", DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH),
         onednn ? fmt::format("{}.{}.{}", onednn->major, onednn->minor, onednn->patch) : ""},
        {"libjpeg-turbo", TUNDRA_TURBOJPEG, file_of(reinterpret_cast<void*>(&tjInitDecompress))},
        {"libzip", LIBZIP_VERSION, zip_libzip_version()},
    };
#ifdef TUNDRA_HDF5
    libraries.push_back({"HDF5", fmt::format("{}.{}.{}", H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE),
                         ""});  // loaded when a file needs it
#endif
    for (const FormatLibrary& l : format_libraries())
        if (*l.version) libraries.push_back({l.library, l.version, ""});
    return libraries;
}

Build this_build() {
#if defined(__clang__)
    const char* compiler = "clang " __clang_version__;
#else
    const char* compiler = "g++ " __VERSION__;
#endif
    return {.version = TUNDRA_VERSION, .commit = TUNDRA_COMMIT, .compiler = compiler, .flags = TUNDRA_FLAGS};
}

uint64_t peak_memory_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:")) return std::stoull(std::string(value_of(line, ':'))) * 1024;
    return 0;
}

EnergyMeter::EnergyMeter(const std::filesystem::path& powercap) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(powercap, error)) {
        std::string name = entry.path().filename().string();
        // intel-rapl:0 is a package (on AMD as well); intel-rapl:0:1 is a part of it, which would be counted twice.
        if (!name.starts_with("intel-rapl:") || std::count(name.begin(), name.end(), ':') != 1) continue;
        auto now = number_in(entry.path() / "energy_uj"), range = number_in(entry.path() / "max_energy_range_uj");
        if (now && range) packages_[entry.path() / "energy_uj"] = {.last = *now, .range = *range};
    }
}

std::optional<double> EnergyMeter::joules() {
    for (auto& [counter, package] : packages_) {
        uint64_t now = number_in(counter).value_or(package.last);
        uint64_t used = now >= package.last ? now - package.last : now + (package.range - package.last);
        joules_ += double(used) * 1e-6;
        package.last = now;
    }
    return packages_.empty() ? std::nullopt : std::optional(joules_);
}
