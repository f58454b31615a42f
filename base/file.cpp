#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <future>
#include <utility>

#include "base/aligned_memory.h"
#include "base/error.h"

namespace {

// write(2) and read(2) move at most 2 GiB at once.
constexpr size_t kMaxTransfer = size_t(1) << 30;

struct Descriptor {
    int number;
    explicit Descriptor(int number) : number(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number >= 0) close(number);
    }
};

// From this size on two threads read: a file in the page cache is only copied, which two do faster.
constexpr size_t kReadByTwo = size_t(16) << 20;

std::shared_ptr<std::byte[]> memory_for(size_t bytes) {
    return {static_cast<std::byte*>(aligned_memory(bytes).release()), FreeAligned()};
}

// The error of the last system call, and what helps against it.
std::string reason() {
    const int code = errno;
    std::string text = std::strerror(code);
    if (code == ENOSPC || code == EDQUOT) text += "; free some space and run again";
    if (code == EIO) text += "; the disk or its connection fails";
    if (code == EACCES || code == EPERM || code == EROFS) text += "; choose a folder that you may write to";
    return text;
}

void sync_folder(const std::filesystem::path& folder, const FileCalls& calls) {
    const Descriptor opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (opened.number < 0) fail(Fault::environment, "{}: cannot open the folder: {}", folder.string(), reason());
    // Some network file systems cannot sync a folder; they order a rename by themselves.
    if (calls.fsync(opened.number) != 0 && errno != EINVAL && errno != ENOTSUP)
        fail(Fault::environment, "{}: cannot sync the folder: {}", folder.string(), reason());
}

}  // namespace

FileBytes FileBytes::copy(std::span<const std::byte> bytes) {
    FileBytes result{.memory = memory_for(bytes.size()), .size = bytes.size()};
    std::copy(bytes.begin(), bytes.end(), result.memory.get());
    return result;
}

FileBytes read_file(const std::filesystem::path& path, size_t limit_bytes) {
    // O_NONBLOCK: a named pipe must not hang the program before it is refused.
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.number < 0) fail(Fault::usage, "{}: cannot open: {}", path.string(), std::strerror(errno));
    struct stat info;
    if (fstat(file.number, &info) != 0) fail(Fault::environment, "{}: {}", path.string(), reason());
    if (S_ISDIR(info.st_mode)) fail(Fault::usage, "{}: is a folder, not a file", path.string());
    if (!S_ISREG(info.st_mode)) fail(Fault::usage, "{}: is not a regular file", path.string());
    const size_t size = size_t(info.st_size);
    if (size > limit_bytes)
        fail(Fault::damaged, "{}: {} bytes are more than the limit of {}", path.string(), size, limit_bytes);
    FileBytes bytes{.memory = memory_for(size), .size = size};
    const auto read = [&](size_t done, size_t end) {
        while (done < end) {
            const ssize_t count =
                pread(file.number, bytes.memory.get() + done, std::min(end - done, kMaxTransfer), off_t(done));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) fail(Fault::environment, "{}: cannot read: {}", path.string(), reason());
            if (count == 0) fail(Fault::damaged, "{}: became shorter while it was being read", path.string());
            done += size_t(count);
        }
    };
    const size_t middle = size < kReadByTwo ? size : size / 2;
    // Deferred, too, where the system gives no thread: a stop that reads its checkpoint back must not fail for that.
    constexpr auto kAnyWay = std::launch::async | std::launch::deferred;
    auto rest = std::async(middle < size ? kAnyWay : std::launch::deferred, read, middle, size);
    read(0, middle);
    rest.get();
    return bytes;
}

FileCalls::FileCalls() : write(::write), fsync(::fsync), rename(::rename) {}

void FileWriter::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t count = calls_.write(descriptor_, bytes.data(), std::min(bytes.size(), kMaxTransfer));
        if (count < 0 && errno == EINTR) continue;
        if (count == 0) errno = EIO;
        if (count <= 0) fail(Fault::environment, "{}: cannot write: {}", name_.string(), reason());
        bytes = bytes.subspan(size_t(count));
    }
}

void write_file_durably(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill, bool durable,
                        const FileCalls& calls) {
    static std::atomic<unsigned> serial{0};
    std::string temporary;
    Descriptor file(-1);
    do {  // in a container a process that was killed may have had the same number
        temporary = fmt::format("{}.{}-{}.tmp", path.string(), getpid(), serial++);
        // O_EXCL: does not follow a link of that name.
        file.number = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (file.number < 0 && errno == EEXIST);
    if (file.number < 0) fail(Fault::environment, "{}: cannot create: {}", temporary, reason());
    try {
        FileWriter writer(file.number, path, calls);
        fill(writer);
        if (durable && calls.fsync(file.number) != 0)
            fail(Fault::environment, "{}: cannot sync: {}", path.string(), reason());
        if (close(std::exchange(file.number, -1)) != 0)  // where network file systems report a full disk
            fail(Fault::environment, "{}: cannot write: {}", path.string(), reason());
        if (calls.rename(temporary.c_str(), path.c_str()) != 0)
            fail(Fault::environment, "{}: cannot rename into place: {}", path.string(), reason());
    } catch (...) {
        unlink(temporary.c_str());
        throw;
    }
    if (durable) sync_folder(path.has_parent_path() ? path.parent_path() : ".", calls);
}
