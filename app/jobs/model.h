// A trained classifier, loaded and ready on a device, for eval and classify.
#pragma once

#include <future>

#include "app/jobs/machine.h"
#include "predict/classifier.h"
#include "predict/detector.h"
#include "predict/model_file.h"
#include "predict/precision.h"

struct ReadyModel {
    ModelFile file;           // without its weights, which the device has
    std::string fingerprint;  // of those weights
    std::unique_ptr<Device> device;
    std::unique_ptr<Arena> arena;
    std::unique_ptr<Classifier> classifier;
    PrecisionChoice precision;
    int threads;                // for decoding
    std::future<void> loading;  // uploads the weights while the caller looks for images

    Classifier& ready() {
        if (loading.valid()) loading.get();
        return *classifier;
    }
};

// The precision of inference is chosen in the same way in every command, so that eval measures what classify and detect
// compute: predict/precision.h. Where `auto` means a type, a classifier takes the device's default, in which it was
// trained there, and a detector float32, because MegaDetector's published thresholds and numbers are float32.
struct EarlierPrecision {
    std::string name = {};   // PrecisionWish::earlier
    std::string alone = {};  // PrecisionWish::alone
    bool fp32_on_cpu = false;
};

// `images`: how many will come; the batch is never larger.
ReadyModel open_model(const std::string& path, const MachineOptions& options, size_t images, const InputOptions& input,
                      const EarlierPrecision& earlier = {});

PrecisionChoice detector_precision(const MachineOptions& options, Device& device, const DetectorModel& model,
                                   const EarlierPrecision& earlier = {});

// "fp32", "bf16" or "fp16", as the header of an interrupted run's journal has it; "" if there is no journal.
std::string precision_of_journal(const std::filesystem::path& journal);

// --image-size, --fit, --resize, --filter, --normalize and --classes, in the group "Model".
void add_input_options(CLI::App& app, InputOptions& options);
