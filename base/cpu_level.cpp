#include "base/cpu_level.h"

#include <cstdlib>
#include <string_view>

#include "base/error.h"

// What the stubs of cmake/levels.cmake read. A loop that runs before the constructor below is the plain one.
extern "C" {
constinit int tundra_cpu_level = 0;
}

namespace {

constexpr std::string_view kNames[] = {"plain", "avx2", "avx512"};

// __builtin_cpu_supports asks the operating system too: whether it saves the wide registers.
CpuLevel highest() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuLevel::plain;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return CpuLevel::avx512;
    return CpuLevel::avx2;
#else
    return CpuLevel::plain;
#endif
}

const char* wanted() {  // null if not set, or empty
    const char* const name = std::getenv("TUNDRA_CPU_LEVEL");
    return name && *name ? name : nullptr;
}

// Before all other constructors, any of which may come to a loop.
[[gnu::constructor(101)]] void choose() {
    tundra_cpu_level = int(highest());
    const char* const name = wanted();
    for (int level = 0; name && level < tundra_cpu_level; ++level)
        if (name == kNames[level]) tundra_cpu_level = level;
}

}  // namespace

CpuLevel cpu_level() { return CpuLevel(tundra_cpu_level); }

const char* cpu_level_name() {
#if defined(__x86_64__)
    constexpr const char* names[] = {"x86-64", "AVX2", "AVX-512"};
#else
    constexpr const char* names[] = {"plain"};
#endif
    return names[tundra_cpu_level];
}

bool cpu_level_is_lowered() { return cpu_level() != highest(); }

void check_cpu_level_wanted() {
    const char* const name = wanted();
    if (!name || name == kNames[tundra_cpu_level]) return;
    for (const std::string_view known : kNames)
        if (name == known)
            fail(Fault::usage, "TUNDRA_CPU_LEVEL={}: this processor has {} at most", name, kNames[tundra_cpu_level]);
    fail(Fault::usage, "TUNDRA_CPU_LEVEL={}: must be plain, avx2 or avx512", name);
}
