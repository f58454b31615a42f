// JPEG files to batches to predictions: what decoding alone reaches, what the network alone reaches, and both together.
//
//   pipeline [--files 200] [--width 2592 --height 1944] [--size 224] [--batch 16] [--threads 2] [--loaders 2]
//
// Makes camera-trap pictures (tundra synth) in a folder that it removes at its end. All three figures come
// from the same files in the same run; the last line says how much of the smaller ceiling the two together reach. On a
// CPU decoding and network share the cores, so the ceiling of both together is 1 / (1/decode + 1/network).
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <filesystem>

#include "bench/peaks.h"
#include "data/loader.h"
#include "data/synth.h"
#include "train/classifier.h"
#include "train/trainer.h"

namespace {

struct Folder {
    std::filesystem::path path;
    explicit Folder(std::filesystem::path p) : path(std::move(p)) { std::filesystem::remove_all(path); }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
};

}  // namespace

int main(int argc, char** argv) {
    size_t files = 200, size = 224, batch = 16, passes = 3;
    int width = 2592, height = 1944, threads = 2, loaders = 2;
    std::string model = "resnet50", device_name = "cpu";
    CLI::App app("Times decoding, network and both.");
    app.add_option("--files", files);
    app.add_option("--width", width);
    app.add_option("--height", height);
    app.add_option("--size", size);
    app.add_option("--batch", batch);
    app.add_option("--model", model);
    app.add_option("--device", device_name);
    app.add_option("--threads", threads, "of the network");
    app.add_option("--loaders", loaders, "threads that decode");
    app.add_option("--passes", passes, "repetitions of each measurement; the median counts");
    CLI11_PARSE(app, argc, argv);

    const Folder folder(std::filesystem::temp_directory_path() / fmt::format("tundra-pipeline-{}", ::getpid()));
    synthesize({.out = folder.path, .task = SynthTask::quality, .pictures = int(files), .width = width, .height = height});
    const Dataset data = open_dataset(folder.path.string());
    uint64_t file_bytes = 0;
    std::vector<uint32_t> samples;
    for (uint32_t i = 0; i < data.samples.size(); ++i) samples.push_back(i), file_bytes += data.samples[i].bytes;
    fmt::print("{} JPEG files of {}x{}, {:.2f} MB each\n", samples.size(), width, height, double(file_bytes) / 1e6 / double(samples.size()));

    const auto device = open_device(device_name, {.threads = threads});
    Arena arena(*device);
    const ResNetConfig config = resnet_config(model, 1000);
    Classifier classifier(*device, arena, {.model = config, .batch = batch, .size = size, .normalize = {{0.01f, 0.01f, 0.01f}, {-1, -1, -1}}});
    classifier.load(initialize_state(config, 1), "bench");
    const std::vector<uint8_t> still(batch * size * size * 3, 100);
    const auto pass = [&](bool with_network) {
        Loader loader(data, samples, {.batch = batch, .fit = {.size = size}, .threads = loaders});
        const double start = seconds_now();
        for (size_t i = 0; i < loader.steps(); ++i) {
            const Batch& b = loader.next();
            if (with_network) classifier.run(b.pictures);
        }
        return double(samples.size()) / (seconds_now() - start);
    };
    const auto network = [&] {
        const size_t steps = (samples.size() + batch - 1) / batch;
        const double start = seconds_now();
        for (size_t i = 0; i < steps; ++i) classifier.run(still);
        return double(samples.size()) / (seconds_now() - start);
    };
    const auto median = [&](const auto& run) {
        std::vector<double> rates;
        for (size_t i = 0; i < passes; ++i) rates.push_back(run());
        std::ranges::sort(rates);
        return rates[rates.size() / 2];
    };
    pass(true);
    const double decode = median([&] { return pass(false); }), alone = median(network), both = median([&] { return pass(true); });
    const double ceiling = device->kind() == "cpu" ? 1 / (1 / decode + 1 / alone) : std::min(decode, alone);
    fmt::print("decoding and fitting alone {:8.1f} images/s\nnetwork alone              {:8.1f} images/s\n"
               "both                       {:8.1f} images/s, {:.0f} % of the ceiling of {:.1f}\n",
               decode, alone, both, 100 * both / ceiling, ceiling);
}
