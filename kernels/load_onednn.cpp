// Opens oneDNN when it is first needed.
#include <dlfcn.h>

#include "base/cpu_level.h"
#include "kernels/conv/cpu.h"
#include "kernels/onednn.h"

namespace {

struct Opened {
    void* library = nullptr;  // for the life of the process
    std::string missing = {};
};

const Opened& opened() {
    static const Opened result = []() -> Opened {
#if defined(__x86_64__)
        if (cpu_level() == CpuLevel::plain) return {.missing = "it is not used without AVX2"};
#endif
        Opened one{.library = dlopen(TUNDRA_ONEDNN, RTLD_NOW | RTLD_LOCAL)};
        if (!one.library) return {.missing = dlerror()};
        // A lowered level holds for oneDNN too: machines of different age are to compute the same.
        using Limit = dnnl_status_t(dnnl_cpu_isa_t);
        auto* const limit = reinterpret_cast<Limit*>(dlsym(one.library, "dnnl_set_max_cpu_isa"));
        if (limit && cpu_level() == CpuLevel::avx2 && cpu_level_is_lowered()) limit(dnnl_cpu_isa_avx2);
        return one;
    }();
    return result;
}

}  // namespace

const std::string& onednn_missing() { return opened().missing; }
bool has_onednn() { return opened().library; }

void* onednn_symbol(const char* name) {
    if (void* const found = has_onednn() ? dlsym(opened().library, name) : nullptr) return found;
    throw std::runtime_error(has_onednn() ? std::string("oneDNN (" TUNDRA_ONEDNN ") has no ") + name
                                          : "oneDNN: " + onednn_missing());
}
