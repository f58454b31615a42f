#include "base/library.h"

#include <dlfcn.h>

#include <cstdlib>

namespace {

namespace fs = std::filesystem;

// NVIDIA's wheels from PyPI leave a folder nvidia/PART/lib for each part.
void add_wheels(std::vector<fs::path>& folders, const fs::path& packages) {
    std::error_code error;
    for (const fs::directory_entry& part : fs::directory_iterator(packages / "nvidia", error))
        folders.push_back(part.path() / "lib");
}

// Only absolute folders: the current one holds strangers' files.
std::vector<fs::path> named_folders() {
    std::vector<fs::path> folders;
    for (const char* name : {"CUDNN_PATH", "CUDA_PATH", "CUDA_HOME"})
        if (const char* value = std::getenv(name); value && *value == '/')
            for (const char* part : {"lib", "lib64"}) folders.push_back(fs::path(value) / part);
    return folders;
}

std::vector<fs::path> wheels() {
    std::vector<fs::path> folders;
    std::error_code error;
    const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
    if (!program.empty()) add_wheels(folders, program), add_wheels(folders, program.parent_path());
    if (const char* value = std::getenv("VIRTUAL_ENV"); value && *value == '/')
        for (const fs::directory_entry& python : fs::directory_iterator(fs::path(value) / "lib", error))
            add_wheels(folders, python.path() / "site-packages");
    return folders;
}

}  // namespace

NvidiaLibrary::NvidiaLibrary(const char* file, std::string what, const std::vector<fs::path>& of_build)
    : what_(std::move(what)) {
    for (const fs::path& folder : named_folders()) open(folder / file);
    open(file);  // LD_LIBRARY_PATH, the system's folders
    for (const fs::path& folder : of_build) open(folder / file);
    for (const fs::path& folder : wheels()) open(folder / file);
    if (!library_)
        throw MissingLibrary(what_ + " (" + file + ") cannot be opened: " + reason_ +
                             "; install it, or name its folder with CUDNN_PATH, CUDA_PATH or LD_LIBRARY_PATH");
}

void NvidiaLibrary::open(const fs::path& file) {
    std::error_code error;
    if (library_ || (file.is_absolute() && !fs::exists(file, error))) return;
    library_ = dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (!library_ && (reason_.empty() || file.is_absolute())) reason_ = dlerror();
}

void* NvidiaLibrary::address(const char* name) const {
    if (void* const found = dlsym(library_, name)) return found;
    throw MissingLibrary(what_ + " has no " + name + ": it is too old");
}

std::string NvidiaLibrary::file_of(const char* name) const {
    Dl_info info{};
    return dladdr(address(name), &info) ? info.dli_fname : "";
}
