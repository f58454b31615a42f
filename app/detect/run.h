// Many images through a detector: decoding and letterboxing on threads of their own, the network on the caller's,
// results into a journal. Buffer does not grow with the number of images but for their names and 24 bytes each.
#pragma once

#include <filesystem>
#include <functional>
#include <span>

#include "app/detect/detection.h"
#include "app/jobs/journal.h"
#include "app/jobs/names.h"
#include "data/exif.h"
#include "data/image.h"

// (count, h, w, 3) pixels -> boxes of each. Detector::run, or something else in tests.
using Network = std::function<std::vector<std::vector<Box>>(std::span<const uint8_t> images, size_t h, size_t w)>;

struct DetectOptions {
    std::filesystem::path base;  // names in `files` start here
    Names files;
    std::filesystem::path journal;
    std::string settings;  // JSON: a journal with other settings is refused
    size_t image_size = 1280, stride = 64;
    size_t tile = 0;            // side of the tiles that larger images are seen in, besides as a whole; 0: none
    double tile_overlap = 0.5;  // of neighbouring tiles
    float overlap = 0.45f;      // of boxes from different tiles: IoU
    size_t batch = 1, threads = 1;
    Network network;
    // Gets each image with its boxes before they count as done; may be empty, and then pixels are not kept.
    std::function<void(const ImageResult&, const Image&, const Exif&)> on_image = {};
};

struct DetectCounts {
    size_t done = 0, failed = 0, damaged = 0;  // of all; failed and damaged are among the done
    size_t resumed = 0;                        // of the done: found in the journal
};

class DetectRun {
public:
    explicit DetectRun(DetectOptions options);

    // `progress` is called after each image; false stops. True when every image is done. Failures of single
    // images are results.
    bool run(const std::function<bool(const DetectCounts&)>& progress = {});

    ImageResult result(size_t file) const;  // after it is done
    const DetectCounts& counts() const { return counts_; }
    const DetectOptions& options() const { return options_; }
    void remove_journal() { journal_->remove(); }

private:
    struct Work;
    struct NetworkInput;
    class Prefetcher;
    std::shared_ptr<Work> load(size_t file) const;
    NetworkInput view(const std::shared_ptr<Work>& work, size_t area) const;
    void detect(std::vector<NetworkInput> group);
    void finish(Work& work);
    void record(const Work& work);

    DetectOptions options_;
    std::vector<uint64_t> offset_;  // in the journal, by file; kNone before
    DetectCounts counts_;
    std::unique_ptr<Journal> journal_;
};
