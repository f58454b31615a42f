#include "runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "coverage.h"
#include "fat_binary.h"

namespace ptx {
namespace {

struct Binary {  // what one object file registered
    const void* fat = nullptr;
    std::unique_ptr<Module> module;
};
struct Function {
    Binary* binary = nullptr;
    std::string name;
    const Kernel* kernel = nullptr;
    size_t most_dynamic_shared = 0;  // where it was asked for
};
struct Registry {
    std::mutex mutex;
    std::map<void**, Binary> binaries;  // by the CUDA runtime's handle
    std::map<const void*, Function> functions;
    std::function<std::string(std::string)> edit;
};
Registry& registry() {
    static auto& all = *new Registry;  // objects register themselves before main() and leave after it
    return all;
}
thread_local Session* session = nullptr;
thread_local std::string text_of_error;

const Module& module_of(Binary& binary) {
    if (binary.module) return *binary.module;
    const std::vector<Embedded> embedded = embedded_ptx(binary.fat);
    const char* const wanted = std::getenv("PTX_ARCH");
    const Embedded* best = nullptr;
    for (const Embedded& e : embedded)
        if (wanted ? e.architecture == std::atoi(wanted) : !best || e.architecture > best->architecture) best = &e;
    if (!best)
        throw Error(wanted ? "this program has no PTX for compute_" + std::string(wanted)
                           : "this program has machine code only, no PTX");
    const auto& edit = registry().edit;
    binary.module = parse(edit ? edit(text_of(*best)) : text_of(*best));
    write_coverage_at_exit();
    return *binary.module;
}

constexpr size_t kShared = 48 << 10;  // what a launch may have without asking for more

}  // namespace

// What the calls below do in a session.
struct Calls {
    static int launch(const void* function, Dim grid, Dim block, void** arguments, size_t shared, void* stream) {
        try {
            Launch launch{.grid = grid, .block = block, .dynamic_shared = shared};
            {
                const std::lock_guard lock(registry().mutex);
                Function& f = registry().functions.at(function);
                if (!f.kernel) {
                    const auto& kernels = module_of(*f.binary).kernels;
                    const auto found =
                        std::find_if(kernels.begin(), kernels.end(), [&](const auto& k) { return k->name == f.name; });
                    if (found == kernels.end()) throw Error("no PTX for " + readable(f.name));
                    f.kernel = found->get();
                }
                if (f.kernel->shared_bytes + shared > std::max(kShared, f.kernel->shared_bytes + f.most_dynamic_shared))
                    throw Error(readable(f.name) + ": more than 48 KB of shared memory, not asked for");
                launch.kernel = f.kernel;
            }
            launch.parameters.resize(launch.kernel->parameter_bytes);
            for (size_t n = 0; n < launch.kernel->parameters.size(); ++n)
                std::memcpy(launch.parameters.data() + launch.kernel->parameters[n].offset, arguments[n],
                            launch.kernel->parameters[n].bytes);
            if (session->queue_)
                session->queue_(stream, [launch = std::move(launch)] { run(launch); });
            else
                run(launch);
            return 0;
        } catch (const std::exception& error) {
            session->error_ = error.what();
            return kFailed;
        }
    }
    static int last_error() {
        if (session->error_.empty()) return 0;
        text_of_error = std::exchange(session->error_, {});
        return kFailed;
    }
    static constexpr int kFailed = 719;  // cudaErrorLaunchFailure
};

Session::Session(Queue queue) : queue_(std::move(queue)), outer_(std::exchange(session, this)) {}
Session::~Session() { session = outer_; }

std::vector<const Module*> modules() {
    const std::lock_guard lock(registry().mutex);
    std::vector<const Module*> all;
    for (auto& [handle, binary] : registry().binaries) all.push_back(&module_of(binary));
    return all;
}

std::vector<const Module*> decoded_modules() {
    const std::lock_guard lock(registry().mutex);
    std::vector<const Module*> all;
    for (auto& [handle, binary] : registry().binaries)
        if (binary.module) all.push_back(binary.module.get());
    return all;
}

void reload(std::function<std::string(std::string)> edit) {
    const std::lock_guard lock(registry().mutex);
    registry().edit = std::move(edit);
    for (auto& [handle, binary] : registry().binaries) binary.module.reset();
    for (auto& [host, function] : registry().functions) function.kernel = nullptr;
}

}  // namespace ptx

// The calls, for the linker: --wrap=NAME makes of a call to NAME one to __wrap_NAME, and of __real_NAME the original.
// Signatures: crt/host_runtime.h and cuda_runtime_api.h, with their types as this ABI passes them.
using ptx::Dim;
extern "C" {
void** __real___cudaRegisterFatBinary(void*);
void __real___cudaRegisterFunction(void**, const char*, char*, const char*, int, void*, void*, void*, void*, int*);
int __real_cudaLaunchKernel(const void*, Dim, Dim, void**, size_t, void*);
int __real_cudaGetLastError();
const char* __real_cudaGetErrorString(int);
int __real_cudaFuncGetName(const char**, const void*);
int __real_cudaFuncSetAttribute(const void*, int, int);

void** __wrap___cudaRegisterFatBinary(void* wrapper) {
    struct Wrapper {
        int magic, version;
        const void* data;
        void* rest;
    };
    void** const handle = __real___cudaRegisterFatBinary(wrapper);
    const std::lock_guard lock(ptx::registry().mutex);
    ptx::registry().binaries[handle].fat = static_cast<Wrapper*>(wrapper)->data;
    return handle;
}
void __wrap___cudaRegisterFunction(void** handle, const char* host, char* device, const char* name, int limit, void* a,
                                   void* b, void* c, void* d, int* size) {
    {
        const std::lock_guard lock(ptx::registry().mutex);
        ptx::registry().functions[host] = {&ptx::registry().binaries[handle], name};
    }
    __real___cudaRegisterFunction(handle, host, device, name, limit, a, b, c, d, size);
}
int __wrap_cudaLaunchKernel(const void* function, Dim grid, Dim block, void** arguments, size_t shared, void* stream) {
    if (ptx::session) return ptx::Calls::launch(function, grid, block, arguments, shared, stream);
    return __real_cudaLaunchKernel(function, grid, block, arguments, shared, stream);
}
// nvcc 13's stubs ask once for a handle and keep it. The function's own address serves both ways.
int __wrap___cudaGetKernel(const void** kernel, const void* function) {
    *kernel = function;
    return 0;
}
int __wrap___cudaLaunchKernel(const void* kernel, Dim grid, Dim block, void** arguments, size_t shared, void* stream) {
    return __wrap_cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}
int __wrap_cudaGetLastError() { return ptx::session ? ptx::Calls::last_error() : __real_cudaGetLastError(); }
const char* __wrap_cudaGetErrorString(int error) {
    if (ptx::session && error == ptx::Calls::kFailed) return ptx::text_of_error.c_str();
    return __real_cudaGetErrorString(error);
}
int __wrap_cudaFuncGetName(const char** name, const void* function) {
    if (!ptx::session) return __real_cudaFuncGetName(name, function);
    const std::lock_guard lock(ptx::registry().mutex);
    *name = ptx::registry().functions.at(function).name.c_str();
    return 0;
}
int __wrap_cudaFuncSetAttribute(const void* function, int attribute, int value) {
    if (!ptx::session) return __real_cudaFuncSetAttribute(function, attribute, value);
    constexpr int kMaxDynamicSharedMemorySize = 8;
    const std::lock_guard lock(ptx::registry().mutex);
    if (attribute == kMaxDynamicSharedMemorySize)
        ptx::registry().functions.at(function).most_dynamic_shared = size_t(value);
    return 0;
}
}
