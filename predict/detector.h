// A detector ready on a device: images of one size in, boxes out; forward only, everything from pixels to boxes in
// one program per size. At most eight sizes are kept; they share weights and arena.
#pragma once

#include <list>

#include "engine/program.h"
#include "models/files/yolov5_file.h"

struct Box {
    float x1, y1, x2, y2;  // pixels of the network's input
    float score;
    int category;  // index of the class
};

// What detection computes in unless --precision says otherwise: the published thresholds of MegaDetector belong to
// float32, on every device.
constexpr DType kDetectorPrecision = DType::f32;

struct DetectorOptions {
    size_t batch = 1;
    float threshold = 0.005f, overlap = 0.45f;
    size_t most = 300;
    DType precision = kDetectorPrecision;
    bool augmented = false;  // see Pass
};

// One look at an image. Augmented inference takes three: as it is, mirrored at 0.83, at 0.67 of its size, and selects
// from the boxes of all. Reduced images lie in the upper left of a frame whose sides are the next multiples of the
// stride, beside grey 0.447; the whole image leaves the largest objects to the reduced ones and the smallest one
// small objects to the others. Source: YOLOv5 models/yolo.py (augmented inference).
struct Pass {
    float scale = 1;
    bool mirrored = false;
    size_t inner_h = 0, inner_w = 0, out_h = 0, out_w = 0;  // of the image and of its frame
    size_t first_level = 0, last_level = 0;  // the levels that count; last_level is the first that does not
};
std::vector<Pass> detector_passes(size_t h, size_t w, const YoloConfig& config, bool augmented);

class Detector {
public:
    // `model.state` (folded) is copied to the device and not needed afterwards.
    // `arena`: one to share with other programs; else it has its own.
    Detector(Device& device, const YoloModel& model, const DetectorOptions& options, Arena* arena = nullptr);

    // images: (count, h, w, 3), count at most the batch, sides multiples of the largest stride. The network always
    // runs the whole batch, so that the numbers of an image do not depend on how many others came with it. Numbers
    // that overflow within the network are an error, or with `overflown` an image without boxes, whose place in it is
    // true.
    std::vector<std::vector<Box>> run(std::span<const uint8_t> images, size_t h, size_t w,
                                      std::vector<bool>* overflown = nullptr);

    // Other weights for the same network, folded; `where` names them in messages.
    void load(const StateDict& state, const std::string& where);

    size_t arena_bytes() const { return arena_.bytes(); }
    Program& program(size_t h, size_t w) { return *trace(h, w).program; }  // for benches and tests that look inside
    const DetectorOptions& options() const { return options_; }

private:
    struct Trace {
        size_t h, w;
        Value images;
        SelectedBoxes boxes;
        std::unique_ptr<Program> program;
    };
    Trace& trace(size_t h, size_t w);

    YoloConfig config_;
    DetectorOptions options_;
    size_t channels_ = 3;  // of the network's input
    Arena own_arena_;
    Arena& arena_;
    std::unique_ptr<Parameters> parameters_;
    std::list<Trace> traces_;  // the latest used first
    std::vector<uint8_t> padded_;
};
