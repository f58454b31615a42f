// Reads whole files, and writes files that are either complete or absent: after a crash, a full disk or a kill, the
// name holds the old content or the new one.
//
// Protocol: a temporary file in the same folder, written, fsync, rename over the name, fsync of the folder.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct Descriptor {  // of an open file or folder; below 0: none. Closed at the end
    int number;
    explicit Descriptor(int number) : number(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor();
};

struct FileBytes {
    std::shared_ptr<std::byte[]> memory;
    size_t size = 0;

    std::span<const std::byte> span() const { return {memory.get(), size}; }
    std::string_view text() const { return {reinterpret_cast<const char*>(memory.get()), size}; }
    static FileBytes copy(std::span<const std::byte> bytes);
};

// Reads instead of mapping, so that a failing disk gives an error and not a signal. Errors: Fault::usage for a name
// that cannot be opened, Fault::environment for a failing disk, Fault::damaged for a file above the limit.
FileBytes read_file(const std::filesystem::path& path, size_t limit_bytes = size_t(64) << 30);

// Locks an open file or folder until the descriptor is closed. Returns why the file system cannot lock ("" if it can):
// then work without one. Fault::usage, "{path}: {taken}", if another process has the lock for two seconds.
std::string lock_file(int descriptor, const std::filesystem::path& path, const char* taken);

// Before long work whose result goes to `path`: Fault::usage, with the name of the option, if that is a folder, a pipe
// or a device, lies in a folder that does not exist, or is one of the `inputs`; Fault::environment if no file can be
// created there.
void check_output(const std::string& option, const std::filesystem::path& path,
                  const std::vector<std::filesystem::path>& inputs = {});

// What the last system call said, and what helps against it.
std::string system_error_text();

// fsync of a file or folder; false with errno if it fails. A file system without fsync counts as success.
bool sync_descriptor(int descriptor);

// The system calls of one write; tests replace them to inject faults (short writes, ENOSPC, EIO). They set errno.
struct FileCalls {
    std::function<ssize_t(int, const void*, size_t)> write;
    std::function<int(int)> fsync;
    std::function<int(const char*, const char*)> rename;
    FileCalls();
};

class FileWriter {
public:
    FileWriter(int descriptor, const std::filesystem::path& name, const FileCalls& calls)
        : descriptor_(descriptor), name_(name), calls_(calls) {}
    void write(std::span<const std::byte> bytes);
    void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

private:
    int descriptor_;
    const std::filesystem::path& name_;
    const FileCalls& calls_;
};

// `fill` writes the content. On any error (Fault::environment, or an exception of `fill`) the temporary file is removed
// and the old content stays. Without `durable` both fsync are skipped: safe against a kill, not against a power cut.
void write_file_durably(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill,
                        bool durable = true, const FileCalls& calls = {});
