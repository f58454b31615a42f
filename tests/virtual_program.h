// The whole program over stand-ins for the CUDA runtime and for NCCL (virtual_gpu/cuda_runtime), run by the shell in a
// folder of the test's own.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/files.h"
#include "tests/images.h"

struct Ran {
    int code;
    std::string said;  // both outputs
    double seconds;
};

class VirtualProgram : public testing::Test {
protected:
    static void SetUpTestSuite() { folder() = new TemporaryFolder; }
    static void TearDownTestSuite() { delete folder(); }
    static TemporaryFolder*& folder() {
        static TemporaryFolder* kept = nullptr;
        return kept;
    }
    static std::filesystem::path path(const std::string& name) { return folder()->path / name; }

    static void set_environment(const char* gpus, const char* nccl) {
        unsetenv("CUDNN_PATH");  // a real NCCL
        for (const char* name :
             {"VIRTUAL_GPU_ORDER", "VIRTUAL_GPU_DROPS", "VIRTUAL_NCCL_LOG", "VIRTUAL_NCCL_FAILS", "VIRTUAL_NCCL_ORDER"})
            unsetenv(name);
        setenv("OMP_NUM_THREADS", "1", 1);
        setenv("CUDA_PATH", nccl, 1);
        setenv("VIRTUAL_GPUS", gpus, 1);
    }
    static Ran run(const std::string& command) {
        const auto begin = std::chrono::steady_clock::now();
        FILE* const pipe =
            popen(("cd " + folder()->path.string() + " && " + command + " 2>&1 </dev/null").c_str(), "r");
        std::string said;
        for (char text[4096]; const size_t got = fread(text, 1, sizeof text, pipe);) said.append(text, got);
        const int status = pclose(pipe);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), said, seconds};
    }
};
