// `tundra synth`: procedural time-lapse camera-trap images as JPEG files, for training, tests and demonstrations.
//
// quality   OUT/{train,validation,test}/{bad,good}/*.jpg    spoiled images and good ones that look alike
// species   OUT/{train,validation,test}/{empty,fox,...}/*.jpg
// detect    OUT/images/*.jpg, OUT/annotations.json and annotations_{train,validation,test}.json in COCO's format
//           (https://cocodataset.org/#format-data); categories 1 animal, 2 person, 3 vehicle as MegaDetector's
// survey    a season of several sites: app/synth/survey.h
//
// Except for survey, 70 % of the images are for training, 10 % for validation, 20 % for the test. A burst is never
// divided. Half of the test images come from cameras that the other two parts never saw. Every byte follows from the
// options alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

enum class SynthTask { quality, detect, species, survey };

struct SynthOptions {
    std::filesystem::path out;
    SynthTask task = SynthTask::quality;
    int images = 2400;
    int width = 640, height = 480;
    uint64_t seed = 1;
    int cameras = 16;  // at least 2: one is kept for the test
    int threads = 0;   // 0: all processors
    int jpeg_quality = 88;
};

struct SynthSummary {
    int images = 0, boxes = 0, cameras = 0;
};

// `progress` is called with finished and all images, from one thread at a time. Errors: Fault::usage for invalid
// options, Fault::environment for files that cannot be written.
SynthSummary synthesize(const SynthOptions& options, const std::function<void(int done, int total)>& progress = {});
