// A detector on a device: images of one size in, boxes out; forward only, with one program per size that does
// everything from pixels to boxes. At most eight sizes are kept; they share weights and arena.
#pragma once

#include <list>
#include <memory>

#include "engine/program.h"
#include "kernels/image.h"
#include "models/files/detector_file.h"

struct Box {
    float x1, y1, x2, y2;  // pixels of the network's input
    float score;
    int category;  // index of the class
};

// The default precision of detection, on every device, because MegaDetector's published thresholds are for float32.
constexpr DType kDetectorPrecision = DType::f32;

struct DetectorOptions {
    size_t batch = 1;
    float threshold = 0.005f, iou_threshold = 0.45f;   // of confidence; of NMS
    size_t max_boxes = 300;                            // per image
    DType precision = kDetectorPrecision;              // i8: the model is quantized
    bool augmented = false;                            // see Pass
    std::function<void(const Step&)> after_step = {};  // ProgramOptions
};

// One pass over an image. Augmented inference takes three: original, mirrored at 0.83 and plain at 0.67 of its size,
// and selects from the boxes of all. Reduced images lie in the upper left of a frame whose sides are the next multiples
// of the stride, beside grey 0.447; the original leaves the largest objects to the reduced ones, and the smallest image
// leaves small objects to the others. Source: YOLOv5 models/yolo.py (augmented inference).
struct Pass {
    float scale = 1;
    bool mirrored = false;
    size_t inner_h = 0, inner_w = 0, out_h = 0, out_w = 0;  // of the image and of its frame
    size_t first_level = 0, last_level = 0;                 // the levels used are [first_level, last_level)
};
std::vector<Pass> detector_passes(size_t h, size_t w, const Model& network, bool augmented);

// One image for a detector.
struct DetectorImage {
    std::span<const uint8_t> bytes;  // (h, w, 3) as the network sees it, or where place.h > 0 its planes
    CameraPlace place = {};          // see CameraBatch in kernels/image.h; `offset` is not used
};

class Detector {
public:
    struct Started {
        std::shared_ptr<Program> program;
        size_t run;
        std::vector<size_t> rows;  // of the batch, by image
    };

    // `model.state` (folded) is copied to the device and not needed afterwards.
    // `arena`: shared with other programs; null: the detector makes one.
    Detector(Device& device, const DetectorModel& model, const DetectorOptions& options, Arena* arena = nullptr);

    // At most the batch of images; h and w, the network's input, are multiples of the largest stride. The network
    // always runs the whole batch, so that the results of an image do not depend on which others came with it. The next
    // batch may be started before this one is finished. Bytes in Device::host_memory() are not copied on the host: they
    // must stay as they are until the batch is finished. Images as planes: not on the device cpu.
    Started start(std::span<const DetectorImage> images, size_t h, size_t w);
    // The boxes of each image. Numbers that overflow in the network are an error (Fault::not_finite); with `overflown`,
    // the image has no boxes and its element there is true.
    std::vector<std::vector<Box>> finish(const Started&, std::vector<bool>* overflown = nullptr);
    // Both, of (count, h, w, 3) pixels.
    std::vector<std::vector<Box>> run(std::span<const uint8_t> images, size_t h, size_t w,
                                      std::vector<bool>* overflown = nullptr) {
        return finish(start(images_of(images, h, w), h, w), overflown);
    }
    static std::vector<DetectorImage> images_of(std::span<const uint8_t> pixels, size_t h, size_t w);

    // Other weights for the same network, folded; `where` names them in messages.
    void load(const StateDict& state, const std::string& where);

    size_t arena_bytes() const { return arena_.bytes(); }
    Program& program(size_t h, size_t w) { return *trace(h, w).program; }  // for benchmarks and tests
    const DetectorOptions& options() const { return options_; }
    Device& device() { return device_; }

private:
    struct Trace {
        size_t h, w;
        Value images, places;
        std::shared_ptr<Program> program;
    };
    Trace& trace(size_t h, size_t w);

    void make_room_for_planes(size_t bytes);

    Device& device_;
    Model network_;
    DetectorOptions options_;
    size_t channels_ = 3;  // of the network's input
    Arena own_arena_;
    Arena& arena_;
    std::unique_ptr<Parameters> parameters_;
    Buffer planes_;            // of the images of a batch, whatever the size of the network's input
    std::list<Trace> traces_;  // the latest used first
};
