// A trained classifier, loaded and ready on a device: what eval and classify start from.
#pragma once

#include <future>

#include "predict/classifier.h"
#include "predict/model_file.h"

#include "engine/device.h"

struct MachineOptions {
    std::string device = "auto";
    size_t threads = 0, batch = 16;
};

struct ReadyModel {
    ModelFile file;           // but for its state, which the device has
    std::string fingerprint;  // of that state
    std::unique_ptr<Device> device;
    std::unique_ptr<Arena> arena;
    std::unique_ptr<Classifier> classifier;
    int threads;                // for decoding
    std::future<void> loading;  // of the weights, while the caller finds images

    Classifier& ready() {
        if (loading.valid()) loading.get();
        return *classifier;
    }
};

// `images`: how many will come; a batch is never larger.
ReadyModel open_model(const std::string& path, const MachineOptions& options, size_t images);

namespace CLI {
class App;
}
void add_machine_options(CLI::App& app, MachineOptions& options);  // --device, --threads, --batch
