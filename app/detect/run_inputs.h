// What runs through a DetectRun, and the threads that make it: from an image's file to the inputs of the network.
#pragma once

#include <deque>
#include <memory_resource>
#include <optional>
#include <utility>
#include <vector>

#include "app/detect/run.h"
#include "data/prefetcher.h"

struct DetectRun::ImageJob {  // an image between its file and its result
    size_t file = 0;
    ImageResult result = {};
    std::vector<ImageRegion> regions = {};         // empty if the image could not be read
    std::vector<std::vector<PartBox>> found = {};  // by region
    size_t without_input = 0, without_boxes = 0;   // regions that still lack it
    Image image = {};                              // until all inputs are made, or longer where it is wanted
    std::optional<Planes> planes = {};             // instead of the image
    Exif exif = {};
    bool fresh = true;                        // the boxes are not in the journal
    std::vector<uint8_t> quality_input = {};  // empty: not wanted
};

struct DetectRun::NetworkInput {  // one region of an image as the network sees it
    std::shared_ptr<ImageJob> job = {};
    size_t region = 0;
    Letterbox letterbox = {};
    CameraPlace place = {};
    std::pmr::vector<uint8_t> bytes = {};  // (out_h, out_w, 3), or with a place the planes of the JPEG
};

// Inputs of the network, made by the threads of a prefetcher. One job reads a file and makes its first input; further
// regions of the image are separate jobs, which come before other files.
class DetectRun::InputQueue {
public:
    InputQueue(const DetectRun& run, std::vector<size_t> files);

    // The next input in the order in which they become ready; nothing after the last one.
    std::optional<NetworkInput> next();

private:
    Prefetcher::Job next_job();  // under the lock
    void make_first(const std::shared_ptr<ImageJob>& job);
    void make(const std::shared_ptr<ImageJob>& job, size_t region);
    void put(NetworkInput input);

    const DetectRun& run_;
    const std::vector<size_t> files_;
    size_t next_file_ = 0, making_ = 0;
    std::deque<std::pair<std::shared_ptr<ImageJob>, size_t>> regions_;
    std::deque<NetworkInput> queue_;
    Prefetcher prefetcher_;  // last: its threads use all of the above
};
