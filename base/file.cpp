#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <future>
#include <thread>
#include <utility>

#include "base/aligned_memory.h"
#include "base/error.h"

namespace {

// write(2) and read(2) move at most 2 GiB at once.
constexpr size_t kMaxTransfer = size_t(1) << 30;

// From this size on two threads read: a file in the page cache is only copied, which two do faster.
constexpr size_t kReadByTwo = size_t(16) << 20;

std::shared_ptr<std::byte[]> memory_for(size_t bytes) {
    return {static_cast<std::byte*>(aligned_memory(bytes).release()), FreeAligned()};
}

void sync_folder(const std::filesystem::path& folder, const FileCalls& calls) {
    const Descriptor opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (opened.number < 0)
        fail(Fault::environment, "{}: cannot open the folder: {}", folder.string(), system_error_text());
    if (calls.fsync(opened.number) != 0)
        fail(Fault::environment, "{}: cannot sync the folder: {}", folder.string(), system_error_text());
}

}  // namespace

Descriptor::~Descriptor() {
    if (number >= 0) close(number);
}

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
    if (fstat(file.number, &info) != 0) fail(Fault::environment, "{}: {}", path.string(), system_error_text());
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
            if (count < 0) fail(Fault::environment, "{}: cannot read: {}", path.string(), system_error_text());
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

std::string lock_file(int descriptor, const std::filesystem::path& path, const char* taken) {
    using namespace std::chrono_literals;
    using Clock = std::chrono::steady_clock;
    // A process that was killed keeps its lock until the system has taken its memory back.
    const Clock::time_point last_try = Clock::now() + 2s;
    for (;;) {
        if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) return "";
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK || Clock::now() > last_try) break;
        std::this_thread::sleep_for(20ms);
    }
    if (errno == EWOULDBLOCK) fail(Fault::usage, "{}: {}", path.string(), taken);
    return fmt::format("{}: this file system cannot lock ({}); take care that no other run writes here", path.string(),
                       std::strerror(errno));
}

std::string system_error_text() {
    const int code = errno;
    std::string text = std::strerror(code);
    if (code == ENOSPC || code == EDQUOT) text += "; free some space and run again";
    if (code == EFBIG) text += "; the file system or a limit (ulimit -f) allows no larger file";
    if (code == EIO) text += "; the disk or its connection fails";
    if (code == EACCES || code == EPERM || code == EROFS) text += "; choose a folder that you may write to";
    return text;
}

bool sync_descriptor(int descriptor) {
    // Some network file systems cannot sync a folder; they order a rename by themselves.
    return fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS;
}

FileCalls::FileCalls()
    : write(::write), fsync([](int file) { return sync_descriptor(file) ? 0 : -1; }), rename(::rename) {}

void FileWriter::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t count = calls_.write(descriptor_, bytes.data(), std::min(bytes.size(), kMaxTransfer));
        if (count < 0 && errno == EINTR) continue;
        if (count == 0) errno = EIO;
        if (count <= 0) fail(Fault::environment, "{}: cannot write: {}", name_.string(), system_error_text());
        bytes = bytes.subspan(size_t(count));
    }
}

namespace {

// A name beside `path` that no other thread or process uses.
std::string temporary_name(const std::filesystem::path& path) {
    static std::atomic<unsigned> serial{0};
    const std::string end = fmt::format(".{}-{}.tmp", getpid(), serial++);
    const bool fits = path.filename().string().size() + end.size() <= 255;
    return fits ? path.string() + end : (path.parent_path() / ("tundra" + end)).string();
}

}  // namespace

void check_output(const std::string& option, const std::filesystem::path& path,
                  const std::vector<std::filesystem::path>& inputs) {
    namespace fs = std::filesystem;
    const auto refuse = [&](const std::string& what) { fail(Fault::usage, "{} {}: {}", option, path.string(), what); };
    std::error_code ignored;
    if (path.empty() || path == "-") refuse("must name a file; results do not go to standard output");
    if (fs::is_directory(path, ignored) || !path.has_filename()) refuse("is a folder; name a file in it");
    // A file renamed over a link in /dev would take the place of the device.
    if ((fs::exists(path, ignored) && !fs::is_regular_file(path, ignored)) ||
        (path.string().starts_with("/dev/") && !path.string().starts_with("/dev/shm/")))
        refuse("is not a regular file");
    const fs::path folder = path.has_parent_path() ? path.parent_path() : ".";
    if (!fs::is_directory(folder, ignored))
        refuse("the folder " + folder.string() + " does not exist; create it first");
    for (const fs::path& input : inputs)
        if (!input.empty() && fs::equivalent(path, input, ignored)) refuse("is also an input; name another file");
    if (path.filename().string().size() + std::string_view(".journal").size() > 255) refuse("the name is too long");
    const std::string temporary = temporary_name(path);
    if (const Descriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)); file.number < 0)
        fail(Fault::environment, "{} {}: cannot be created: {}", option, path.string(), system_error_text());
    unlink(temporary.c_str());
}

void write_file_durably(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill, bool durable,
                        const FileCalls& calls) {
    std::string temporary;
    Descriptor file(-1);
    do {  // in a container a process that was killed may have had the same number
        temporary = temporary_name(path);
        // O_EXCL: does not follow a link of that name.
        file.number = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (file.number < 0 && errno == EEXIST);
    if (file.number < 0) fail(Fault::environment, "{}: cannot create: {}", temporary, system_error_text());
    try {
        FileWriter writer(file.number, path, calls);
        fill(writer);
        if (durable && calls.fsync(file.number) != 0)
            fail(Fault::environment, "{}: cannot sync: {}", path.string(), system_error_text());
        if (close(std::exchange(file.number, -1)) != 0)  // where network file systems report a full disk
            fail(Fault::environment, "{}: cannot write: {}", path.string(), system_error_text());
        if (calls.rename(temporary.c_str(), path.c_str()) != 0)
            fail(Fault::environment, "{}: cannot rename into place: {}", path.string(), system_error_text());
    } catch (...) {
        unlink(temporary.c_str());
        throw;
    }
    if (durable) sync_folder(path.has_parent_path() ? path.parent_path() : ".", calls);
}
