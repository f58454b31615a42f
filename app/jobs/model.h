// A trained classifier, loaded and ready on a device, for eval and classify.
#pragma once

#include <future>

#include "app/jobs/machine.h"
#include "predict/classifier.h"
#include "predict/model_file.h"

struct ReadyModel {
    ModelFile file;           // without its weights, which the device has
    std::string fingerprint;  // of those weights
    std::unique_ptr<Device> device;
    std::unique_ptr<Arena> arena;
    std::unique_ptr<Classifier> classifier;
    int threads;                // for decoding
    std::future<void> loading;  // uploads the weights while the caller looks for images

    Classifier& ready() {
        if (loading.valid()) loading.get();
        return *classifier;
    }
};

// `images`: how many will come; the batch is never larger.
ReadyModel open_model(const std::string& path, const MachineOptions& options, size_t images, const InputOptions& input);

// --image-size, --fit, --resize, --filter, --normalize and --classes, in the group "Model".
void add_input_options(CLI::App& app, InputOptions& options);
