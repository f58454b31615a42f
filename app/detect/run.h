// Many images through a detector and, in the same pass, through a quality model and a species model: decoding and
// letterboxing on worker threads, the networks on the caller's thread, results into a journal. Memory grows with the
// number of images only by their names and about 40 bytes each.
//
// The journal has up to three records for an image, one of each stage, so that a kill loses no boxes of images whose
// crops still wait for their batch.
#pragma once

#include <array>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>

#include "app/detect/detection.h"
#include "app/detect/stages.h"
#include "app/jobs/helpers.h"
#include "app/jobs/journal.h"
#include "app/jobs/names.h"
#include "data/drive.h"
#include "data/exif.h"
#include "data/image.h"

// Starts on images whose network's input is (h, w), and returns what waits for the boxes of each: Detector::start and
// finish, or a stand-in in tests. The bytes of the images stay until then.
using Boxes = std::vector<std::vector<Box>>;
using Network = std::function<std::function<Boxes()>(std::span<const DetectorImage> images, size_t h, size_t w)>;

struct DetectOptions {
    std::filesystem::path base;  // names in `files` start here
    Names files;
    std::filesystem::path journal;
    std::string settings;  // JSON: a journal with other settings is refused
    size_t image_size = 1280, stride = 64;
    size_t tile = 0;             // side of the tiles in which larger images are seen, besides as a whole; 0: none
    double tile_overlap = 0.5;   // of neighbouring tiles
    bool whole_padding = false;  // DetectorModel::whole_padding
    float iou = 0.45f;           // boxes from different tiles whose IoU exceeds this are one
    size_t batch = 1, threads = 1;
    Network network;
    Device* device = nullptr;  // of the network; null: it works on this thread, on pixels
    // Instead of the network: what an earlier file says, classes of boxes included; nothing if it lacks the image.
    std::function<ImageResult(const std::string& file)> given = {};
    std::function<void(ImageResult&)> given_classes = {};  // instead of `species`
    ClassStage quality = {}, species = {};
    double species_threshold = 0.2;  // of the boxes that are classified
    int species_category = 0;        // only boxes of this category; 0: all
    // What the records of detection, quality and species depend on, where a journal outlives its models: records with
    // another key do not count. All empty: the journal's settings say it.
    std::array<std::string, 3> keys = {};
    bool cameras = false;                // record serial number and sequence
    bool check_files = false;            // records of a file of another size do not count: its name was used again
    bool retry_failures = false;         // looks again at images that could not be read
    const HandedWork* handed = nullptr;  // of a helper, instead of `journal`
    // Gets each image with its boxes before it counts as done; if empty, pixels are dropped early.
    std::function<void(const ImageResult&, const Image&, const Exif&)> on_image = {};
};

struct DetectCounts {
    size_t done = 0, failed = 0, damaged = 0;  // of all; failed and damaged are among the done
    size_t resumed = 0;                        // of the done: found in the journal
};

class DetectRun {
public:
    explicit DetectRun(DetectOptions options);

    // `progress` is called after each image; false stops the run. Returns true when every image is done. An image that
    // cannot be read is a result, not an error; throws ImagesLost if many cannot be read any more (data/drive.h).
    // Helpers get a part of the images.
    bool run(const std::function<bool(const DetectCounts&)>& progress = {}, Helpers* helpers = nullptr);

    ImageResult result(size_t file) const;  // after it is done
    const DetectCounts& counts() const { return counts_; }
    const std::set<size_t>& changed() const { return changed_; }  // files whose earlier results are of other images
    const DetectOptions& options() const { return options_; }
    const RecordJournal& journal() const { return *journal_; }
    void remove_journal() { journal_->remove(); }

private:
    enum Stage : size_t { kBoxes, kQuality, kSpecies, kStages };
    struct ImageJob;
    struct NetworkInput;
    struct Running;
    class InputQueue;
    size_t record_number(const RecordJournal::Json& record);
    uint32_t bytes_now(size_t file);
    void resumed(const RecordJournal::Json& record);
    bool runs(Stage stage) const;
    bool missing(Stage stage, size_t file) const;
    bool complete(size_t file) const;
    bool settled(size_t file) const;
    bool has_crop(const Detection& d) const;
    void count_if_complete(size_t file);
    std::vector<size_t> hand_over(const std::vector<size_t>& files, Helpers& helpers) const;
    void take_record(const std::string& line);
    void add_record(Stage stage, size_t file, RecordJournal::Json record);
    std::shared_ptr<ImageJob> load(size_t file) const;
    NetworkInput network_input(const std::shared_ptr<ImageJob>& job, size_t region) const;
    bool device_letterboxes() const;
    void detect(std::vector<NetworkInput> group);
    void take_boxes();
    void finish(ImageJob& job);
    void classify(ImageJob& job);
    void record(const ImageJob& job);

    DetectOptions options_;
    DetectCounts counts_;
    std::vector<char> failed_, damaged_;   // by file; not bits, because workers read them
    mutable std::vector<uint32_t> bytes_;  // of the files, as far as known; where they are recorded
    std::set<size_t> changed_;
    std::unique_ptr<RecordJournal> journal_;
    DriveWatch drive_;
    std::deque<std::shared_ptr<Running>> running_;  // groups whose boxes are not taken yet
    ClassQueue quality_, species_;
};
