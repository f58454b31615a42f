// Batches of decoded images, made by worker threads ahead of the step that uses them.
//
// The content of a batch depends only on data, options, epoch and step, not on threads, cache or starting point.
#pragma once

#include <map>
#include <memory_resource>
#include <optional>

#include "data/augment.h"
#include "data/cache.h"
#include "data/mosaic.h"
#include "data/prefetcher.h"

struct BoxOptions {  // for images of a detector
    BoxAugment augment = {};
    size_t max_boxes = 100;  // rows per image
};

struct LoaderOptions {
    size_t batch = 32;
    Fit fit = {};
    size_t out_size = 0;  // side of the network's input; 0: fit.size
    AugmentRanges augment = {};
    std::optional<BoxOptions> boxes = {};  // if set, `augment` and `out_size` are ignored, and fit.mode is letterbox
    uint64_t seed = 0;
    bool shuffle = false;
    uint64_t epochs = 0;     // number after which reading ahead stops; 0: never
    bool drop_last = false;  // skip an incomplete last batch, unless it is the only one
    // This loader makes rows share, share + shares, ... of batches of batch * shares rows: other processes make the
    // rest. A share without images of its own repeats one of the batch, which does not count.
    size_t share = 0, shares = 1;
    int threads = 1;
    size_t ahead = 3;             // batches ready or in preparation, besides the two in use
    bool accept_damaged = false;  // use truncated and corrupt images as far as possible
    DecodeOptions limits = {};
    // Where the pixels of batches lie: in the host_memory() of a device, it fetches them by itself. Null: anywhere.
    std::pmr::memory_resource* memory = nullptr;
};

struct Batch {
    uint64_t epoch = 0;
    size_t step = 0;
    std::pmr::vector<uint8_t> images = {};  // (batch, h, w, 3)
    std::vector<float> transform = {};      // (batch, 6)  for kernels/image.h
    std::vector<float> color = {};          // (batch, 2)
    // (batch)  -1: the row does not count. Its image is bad, or the data ran out; its pixels repeat those of other
    // rows of the batch, so that they do not disturb its statistics.
    std::vector<int32_t> labels = {};
    std::vector<int64_t> samples = {};  // (batch)  number in the data set; -1 if the data ran out
    // (batch, max_boxes, 5)  class, center x, center y, width, height in pixels; class -1 in unused rows. An
    // image that repeats another has its boxes.
    std::vector<float> boxes = {};
};

struct FailedImage {
    std::string path, code, text;  // code: trouble_code()
    bool used;                     // as far as it decodes

    std::string note() const;  // one line for people
};

// Grey images without labels and boxes, for a step that only measures time.
Batch blank_batch(const LoaderOptions& options);

struct LoaderCounts {
    double waited_seconds = 0;    // in next(), for images
    double decoding_seconds = 0;  // of all workers together
    size_t decoded = 0, from_cache = 0;
};

class Loader {
public:
    // `samples`: numbers in `data`. `data` and `cache` (null: none) must outlive the loader. Starts at epoch 0, step 0.
    Loader(const Dataset& data, std::vector<uint32_t> samples, const LoaderOptions& options, Cache* cache = nullptr);
    Loader(const Loader&) = delete;

    size_t steps() const;  // per epoch

    // Continues at this position, for example after a restart.
    void start(uint64_t epoch, size_t step);

    // The next batch, across epochs up to `epochs`; valid until the next call but one, because a device may still read
    // its pixels when the next is asked for. Rethrows an exception of a worker, such
    // as ImagesLost: no batch is made of images whose drive is gone.
    const Batch& next();

    LoaderCounts counts() const;
    std::optional<FailedImage> bad_file(uint32_t sample) const;  // for a sample of a batch that next() returned
    std::vector<FailedImage> bad_files() const;                  // found so far, each once, by path

private:
    struct Slot {
        Batch batch;
        std::vector<uint8_t> good = {};  // whether the row has pixels of its image
        size_t missing = 0;              // rows that are not ready yet
        bool counts = true;              // false: a share without images
        uint64_t serial = 0;             // number of the batch since start()
    };
    struct Ticket {
        Slot* slot;
        size_t row;
        uint32_t sample;
        bool known_bad;
    };

    Ticket next_ticket();
    void prepare(Slot& slot);
    void make(const Ticket& ticket);
    bool make_row(const Ticket& ticket);
    bool compose_row(const Ticket& ticket);
    bool read_pixels(uint32_t sample, uint8_t* rgb);
    void finish(Slot& slot) const;
    void report(uint32_t sample, const Decoded& decoded);

    const Dataset& data_;
    const std::vector<uint32_t> samples_;
    const LoaderOptions options_;
    Cache* const cache_;
    const size_t image_bytes_;

    std::vector<Slot> slots_;
    uint64_t first_batch_ = 0;  // number since epoch 0 of the batch with serial 0
    uint64_t next_row_ = 0;     // since start(); rows are handed out in this order
    uint64_t released_ = 0;     // batches that were used up
    uint64_t in_use_ = 0;       // the latest, at most two
    uint64_t order_epoch_ = 0;
    std::vector<uint32_t> order_;
    std::map<uint32_t, FailedImage> bad_;
    LoaderCounts counts_;
    Prefetcher prefetcher_;  // last: its threads use all of the above
};
