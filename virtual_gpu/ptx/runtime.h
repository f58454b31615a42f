// Runs what `kernel<<<...>>>` launches from the PTX that nvcc left in the program. The linker leads the calls of nvcc's
// host code here (--wrap, see runtime.cpp); without a Session on the calling thread they go on to the CUDA runtime.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launch.h"

namespace ptx {

// Launches of this host thread are executed on the CPU while one of these lives. Errors come back through
// cudaGetLastError and cudaGetErrorString.
class Session {
public:
    using Work = std::function<void()>;
    using Queue = std::function<void(void* stream, Work)>;

    explicit Session(Queue queue = {});  // empty: each launch is finished when it returns
    ~Session();
    Session(const Session&) = delete;

private:
    friend struct Calls;
    Queue queue_;
    std::string error_;  // of the last launch
    Session* outer_;
};

// Every module in the program, decoded. Which PTX: the newest architecture embedded, or that of the environment
// variable PTX_ARCH (80, 100). Errors: there is none, or it cannot be decoded.
std::vector<const Module*> modules();
std::vector<const Module*> decoded_modules();  // those that were needed so far

// Decodes everything anew, from the PTX as `edit` changes it (empty: as it is): tests plant mistakes. No launch of
// before may be in a queue.
void reload(std::function<std::string(std::string)> edit);

}  // namespace ptx
