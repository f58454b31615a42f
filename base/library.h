// A shared library that is opened at its first use, so that a program runs on machines without it.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

// It is not on this machine or too old: the text says which, and what to do.
struct MissingLibrary : std::runtime_error {
    using runtime_error::runtime_error;
};

// One of NVIDIA's, which may lie in many places: what the user named, LD_LIBRARY_PATH and the system's folders, where
// the build found it, and wheels from PyPI beside the program and in the active Python environment.
class NvidiaLibrary {
public:
    // `file` as "libcudnn.so.9", `what` as people call it. Errors: MissingLibrary.
    NvidiaLibrary(const char* file, std::string what, const std::vector<std::filesystem::path>& of_build);

    template <class Function>
    Function* find(const char* name) const {
        return reinterpret_cast<Function*>(address(name));
    }
    std::string file_of(const char* name) const;  // the file that has this function

private:
    void open(const std::filesystem::path& file);
    void* address(const char* name) const;  // MissingLibrary
    std::string what_, reason_;
    void* library_ = nullptr;  // for the life of the process
};
