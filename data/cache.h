// Keeps decoded images, so that nothing is decoded again after the first epoch.
//
// One slot with the pixels of a frame (data/fit.h) per sample of a data set. In memory, or in one sparse file that
// later runs find again:
//   header   "tundra images 1\n", then slots and bytes per slot as uint64, padded to 64 bytes
//   slot i   key (16 bytes), XXH3-64 of the pixels (8 bytes), pixels
// The key is XXH3-128 of the fit and of the file's name, size and modification time (ns): the file is not read again,
// because reading is most of the time that the cache saves. An edit that keeps both size and time goes unnoticed.
// The file's name comes from the data set's fingerprint and the fit.
//
// Crashes and other processes: a slot that is half written, empty or of another image has a wrong key or checksum and
// counts as missing; two processes write the same bytes to the same place. A full disk stops the writing, not the run.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/fit.h"

enum class CacheMode { off, memory, disk, automatic };

class Cache {
public:
    // automatic: memory if the slots take at most half of what is available, else disk if `folder` is given and has
    // space, else off. Throws Error (Fault::environment) if `disk` is requested and folder or space are missing.
    // `processes`: of this machine, which each keep all images.
    Cache(const Dataset& data, const Fit& fit, CacheMode mode, const std::string& folder, size_t processes = 1);
    ~Cache();
    Cache(const Cache&) = delete;

    // Thread-safe. rgb: (h, w, 3). get() returns whether the slot held the sample's pixels.
    bool get(uint32_t sample, uint8_t* rgb);
    void put(uint32_t sample, const uint8_t* rgb);

    CacheMode mode() const { return mode_; }               // never automatic
    const std::string& choice() const { return choice_; }  // the chosen mode and the reason, for people
    std::string problem() const;                           // why writing stopped; empty if it did not
    const std::string& file() const { return path_; }      // of CacheMode::disk

private:
    struct Key {
        uint64_t high, low;
        bool operator==(const Key&) const = default;
    };
    bool key_of(uint32_t sample, Key& key) const;
    void open_file(const std::string& folder);
    size_t slot_at(uint32_t sample) const;

    const Dataset& data_;
    Fit fit_;
    CacheMode mode_;
    size_t pixels_bytes_;
    std::string choice_, path_;
    uint8_t* memory_ = nullptr;
    size_t memory_bytes_ = 0;
    std::vector<std::atomic<uint8_t>> filled_;  // in memory: 1 while written, 2 when readable
    struct Descriptor {
        int number = -1;
        ~Descriptor();
    } file_;
    std::atomic<bool> writing_ = true;
    mutable std::mutex mutex_;
    std::string problem_;
};

// Memory that the process may still take: MemAvailable, or less where a control group limits it.
uint64_t available_memory_bytes();
