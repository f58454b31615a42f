// The two homes of decoded images: anonymous memory and a file with checksums.
#include "data/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/error.h"

namespace {

constexpr char kMagic[] = "tundra pictures 1\n";
constexpr size_t kHeaderBytes = 64, kSlotHeaderBytes = 24;

std::string fit_text(const Fit& fit) {
    constexpr const char* kFilters[] = {"antialias", "linear", "nearest"};
    constexpr const char* kModes[] = {"stretch", "crop", "letterbox"};
    return fmt::format("{}x{}_{}_{}_{}", fit.w(), fit.h(), kModes[int(fit.mode)], kFilters[int(fit.filter)],
                       fit.shorter);
}

std::string gigabytes(uint64_t bytes) { return fmt::format("{:.2f} GB", double(bytes) * 1e-9); }

uint64_t number_in(const char* path, uint64_t otherwise) {
    std::ifstream in(path);
    uint64_t value = 0;
    return in >> value ? value : otherwise;
}

uint64_t free_disk_bytes(std::filesystem::path folder) {
    struct statvfs status;
    std::error_code ignored;
    while (folder.has_relative_path() && !std::filesystem::exists(folder, ignored)) folder = folder.parent_path();
    return statvfs(folder.empty() ? "." : folder.c_str(), &status) == 0 ? uint64_t(status.f_bavail) * status.f_frsize
                                                                        : 0;
}

bool read_at(int file, uint8_t* to, size_t bytes, size_t at) {
    while (bytes > 0) {
        const ssize_t got = pread(file, to, bytes, off_t(at));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got, at += size_t(got), bytes -= size_t(got);
    }
    return true;
}

bool write_at(int file, const uint8_t* from, size_t bytes, size_t at) {
    while (bytes > 0) {
        const ssize_t got = pwrite(file, from, bytes, off_t(at));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return false;
        from += got, at += size_t(got), bytes -= size_t(got);
    }
    return true;
}

}  // namespace

uint64_t available_memory_bytes() {
    constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();
    uint64_t available = 0, kib = 0;
    std::ifstream info("/proc/meminfo");
    for (std::string name, unit; info >> name >> kib; std::getline(info, unit))
        if (name == "MemAvailable:") available = kib * 1024;
    const uint64_t limit = number_in("/sys/fs/cgroup/memory.max", kNoLimit);
    const uint64_t used = number_in("/sys/fs/cgroup/memory.current", 0);
    return limit == kNoLimit ? available : std::min(available, limit - std::min(limit, used));
}

Cache::Cache(const Dataset& data, const Fit& fit, CacheMode mode, const std::string& folder, size_t processes)
    : data_(data), fit_(fit), mode_(mode), pixels_bytes_(fit.bytes()) {
    const uint64_t needed = uint64_t(pixels_bytes_) * data.samples.size(), memory = available_memory_bytes();
    if (mode == CacheMode::automatic) {
        if (needed * processes <= memory / 2)
            mode_ = CacheMode::memory;
        else if (!folder.empty() && free_disk_bytes(folder) > needed + needed / 10)
            mode_ = CacheMode::disk;
        else
            mode_ = CacheMode::off;
    }
    const char* name = mode_ == CacheMode::memory ? "memory" : mode_ == CacheMode::disk ? "disk" : "off";
    choice_ = fmt::format("{}: decoded images take {}, {} of memory are available", name, gigabytes(needed),
                          gigabytes(memory));
    if (mode_ == CacheMode::memory) {
        memory_bytes_ = std::max<size_t>(1, size_t(needed));
        void* memory =
            mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            fail(Fault::memory, "no {} of memory for decoded images; use --cache disk or off", gigabytes(needed));
        memory_ = static_cast<uint8_t*>(memory);
        filled_ = std::vector<std::atomic<uint8_t>>(data.samples.size());
    } else if (mode_ == CacheMode::disk) {
        open_file(folder);
    }
}

Cache::~Cache() {
    if (memory_) munmap(memory_, memory_bytes_);
}

Cache::Descriptor::~Descriptor() {
    if (number >= 0) close(number);
}

size_t Cache::slot_at(uint32_t sample) const { return kHeaderBytes + sample * (kSlotHeaderBytes + pixels_bytes_); }

void Cache::open_file(const std::string& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    const std::string hash = data_.fingerprint.hash.substr(0, 16);
    path_ = (std::filesystem::path(folder) / fmt::format("pictures_{}_{}.cache", hash, fit_text(fit_))).string();
    file_.number = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file_.number < 0) fail(Fault::environment, "{}: cannot be opened: {}", path_, std::strerror(errno));

    uint8_t wanted[kHeaderBytes] = {}, found[kHeaderBytes] = {};
    const uint64_t slots = data_.samples.size(), slot_bytes = kSlotHeaderBytes + pixels_bytes_;
    std::memcpy(wanted, kMagic, sizeof kMagic - 1);
    std::memcpy(wanted + 32, &slots, 8);
    std::memcpy(wanted + 40, &slot_bytes, 8);
    flock(file_.number, LOCK_EX);  // closing releases it on every way out
    struct stat status = {};
    fstat(file_.number, &status);
    const bool sound = size_t(status.st_size) == slot_at(uint32_t(slots)) &&
                       read_at(file_.number, found, kHeaderBytes, 0) && std::memcmp(wanted, found, kHeaderBytes) == 0;
    if (!sound) {
        const uint64_t needed = slot_at(uint32_t(slots)), free = free_disk_bytes(folder);
        if (free < needed)
            fail(Fault::environment,
                 "{}: the cache of decoded images takes {}, the disk has {}; use --cache memory or off", path_,
                 gigabytes(needed), gigabytes(free));
        if (ftruncate(file_.number, 0) != 0 || ftruncate(file_.number, off_t(needed)) != 0 ||
            !write_at(file_.number, wanted, kHeaderBytes, 0))
            fail(Fault::environment, "{}: cannot be written: {}", path_, std::strerror(errno));
    }
    flock(file_.number, LOCK_UN);
}

bool Cache::key_of(uint32_t sample, Key& key) const {
    struct stat status;
    const Sample& it = data_.samples[sample];
    if (stat(data_.path(it).c_str(), &status) != 0) return false;
    const std::string text = fmt::format("{}{}{}{}{}.{:09}{}{}", it.name, '\0', status.st_size, '\0',
                                         status.st_mtim.tv_sec, status.st_mtim.tv_nsec, '\0', fit_text(fit_));
    const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
    key = {hash.high64, hash.low64};
    return true;
}

bool Cache::get(uint32_t sample, uint8_t* rgb) {
    if (mode_ == CacheMode::memory) {
        if (filled_[sample].load(std::memory_order_acquire) != 2) return false;
        std::memcpy(rgb, memory_ + size_t(sample) * pixels_bytes_, pixels_bytes_);
        return true;
    }
    if (mode_ != CacheMode::disk) return false;
    Key wanted, found;
    uint64_t sum;
    uint8_t header[kSlotHeaderBytes];
    if (!key_of(sample, wanted) || !read_at(file_.number, header, kSlotHeaderBytes, slot_at(sample))) return false;
    std::memcpy(&found, header, 16);
    std::memcpy(&sum, header + 16, 8);
    return found == wanted && read_at(file_.number, rgb, pixels_bytes_, slot_at(sample) + kSlotHeaderBytes) &&
           sum == XXH3_64bits(rgb, pixels_bytes_);
}

void Cache::put(uint32_t sample, const uint8_t* rgb) {
    if (mode_ == CacheMode::memory) {
        uint8_t empty = 0;
        if (!filled_[sample].compare_exchange_strong(empty, 1)) return;
        std::memcpy(memory_ + size_t(sample) * pixels_bytes_, rgb, pixels_bytes_);
        filled_[sample].store(2, std::memory_order_release);
    }
    Key key;
    if (mode_ != CacheMode::disk || !writing_ || !key_of(sample, key)) return;
    std::vector<uint8_t> slot(kSlotHeaderBytes + pixels_bytes_);
    const uint64_t sum = XXH3_64bits(rgb, pixels_bytes_);
    std::memcpy(slot.data(), &key, 16);
    std::memcpy(slot.data() + 16, &sum, 8);
    std::memcpy(slot.data() + kSlotHeaderBytes, rgb, pixels_bytes_);
    if (write_at(file_.number, slot.data(), slot.size(), slot_at(sample))) return;
    const std::lock_guard lock(mutex_);
    if (writing_.exchange(false)) problem_ = fmt::format("{}: no longer written: {}", path_, std::strerror(errno));
}

std::string Cache::problem() const {
    const std::lock_guard lock(mutex_);
    return problem_;
}
