// Files to results: what decoding alone reaches, what the network alone reaches, and both together, in the same run.
//
//   pipeline [--model resnet50|yolov5s|yolo11s|none] [--files 40] [--width 2592 --height 1944] [--size 224] [--batch
//   16]
//            [--threads 2] [--loaders 2] [--passes 3] [--device cpu] [--json]
//
// resnet50: JPEG to batches to probabilities, as `tundra classify` does it. yolo*: JPEG to MegaDetector's JSON, as
// `tundra detect` does it, --size the long side. none: detection with a network that finds nothing: cost per image of
// everything else. Makes camera-trap images (tundra synth, at most 64 different ones, the rest are links to them) in
// a folder that it removes at its end. On a CPU decoding and network share the cores, so the ceiling of both together
// is 1 / (1/decode + 1/network).
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/detect/job.h"
#include "app/synth/synth.h"
#include "bench/peaks.h"
#include "bench/workload.h"
#include "data/loader.h"
#include "models/files/detector_file.h"
#include "predict/classifier.h"
#include "predict/in_turn.h"
#include "train/machine.h"

namespace {

namespace fs = std::filesystem;

struct Folder {
    fs::path path;
    explicit Folder(fs::path p) : path(std::move(p)) { fs::remove_all(path); }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

struct Options {
    std::string model = "resnet50", device = "cpu";
    size_t files = 40, size = 224, batch = 16, passes = 3;
    int width = 2592, height = 1944, threads = 2, loaders = 2;
    bool json = false;
};

struct Figures {  // images/s
    double decode = 0, network = 0, both = 0;
};

double median(size_t passes, const auto& run) {
    std::vector<double> rates;
    for (size_t i = 0; i < passes; ++i) rates.push_back(run());
    std::ranges::sort(rates);
    return rates[rates.size() / 2];
}

double rate(size_t count, const auto& run) {
    const double start = seconds_now();
    run();
    return double(count) / (seconds_now() - start);
}

// `files` images in folders of a thousand.
void make_images(const Options& o, const fs::path& folder) {
    const size_t different = std::min<size_t>(o.files, 64);
    synthesize({.out = folder / "made",
                .task = SynthTask::quality,
                .images = int(std::max<size_t>(different, 10)),
                .width = o.width,
                .height = o.height});
    std::vector<fs::path> made;
    for (const auto& entry : fs::recursive_directory_iterator(folder / "made"))
        if (entry.path().extension() == ".jpg") made.push_back(entry.path());
    std::ranges::sort(made);
    for (size_t i = 0; i < o.files; ++i) {
        const fs::path to = folder / "pictures" / fmt::format("{:05}", i / 1000) / fmt::format("{:07}.jpg", i);
        if (i % 1000 == 0) fs::create_directories(to.parent_path());
        fs::create_hard_link(made[i % different], to);
    }
}

Figures classification(const Options& o, const fs::path& folder, Device& device) {
    Dataset data;
    for (const auto& entry : fs::recursive_directory_iterator(folder / "pictures"))
        if (entry.is_regular_file()) data.samples.push_back({.name = entry.path()});
    std::vector<uint32_t> samples(data.samples.size());
    for (uint32_t i = 0; i < samples.size(); ++i) samples[i] = i;
    Arena arena(device);
    const Model model = make_model(o.model, 1000);
    Classifier classifier(
        device, arena,
        {.model = model, .batch = o.batch, .size = o.size, .normalize = {{0.01f, 0.01f, 0.01f}, {-1, -1, -1}}});
    classifier.load(initialize_state(model, 1), "bench");
    const std::vector<uint8_t> still = bench_images(o.batch, o.size, o.size);
    const auto pass = [&](bool with_network) {
        Loader loader(data, samples,
                      {.batch = o.batch,
                       .fit = {.size = o.size},
                       .epochs = 1,
                       .threads = o.loaders,
                       .memory = &device.host_memory()});
        if (with_network)
            return for_each_batch(
                loader, device, [&](const Batch& b) { return classifier.start(b.images); },
                [&](const Batch&, const auto& started) { return !classifier.finish(started).probabilities.empty(); });
        for (size_t i = 0; i < loader.steps(); ++i) loader.next();
    };
    const size_t steps = (o.files + o.batch - 1) / o.batch;
    pass(true);
    return {median(o.passes, [&] { return rate(o.files, [&] { pass(false); }); }),
            median(o.passes,
                   [&] {
                       return rate(steps * o.batch, [&] {
                           for (size_t i = 0; i < steps; ++i) classifier.run(still);
                       });
                   }),
            median(o.passes, [&] { return rate(o.files, [&] { pass(true); }); })};
}

Figures detection(const Options& o, const fs::path& folder, Device& device) {
    const bool stub = o.model == "none";
    DetectorModel model = random_detector(device, stub ? "yolov5n" : o.model);
    if (!model.others) {
        for (const auto& constant : model.network().constants) model.state.insert(constant);
        for (size_t level = 0; level < model.config.levels.size(); ++level)  // few boxes, as on real images
            std::ranges::fill(model.state[fmt::format("model.{}.m.{}.bias", model.config.detect_layer(), level)]
                                  .values.mutable_data(),
                              -3.0f);
    }
    const fs::path file = folder / "model.safetensors";
    write_detector(file, model);
    Detector detector(device, model, {.batch = o.batch, .threshold = 0.005f});
    size_t h = 0, w = 0;
    const auto pass = [&](bool with_network) {
        const fs::path out = folder / "out.json";
        fs::remove(out);
        DetectJob job;
        job.images = {folder / "pictures"};
        job.model = file;
        job.out = out;
        job.image_size = o.size;
        job.machine.batch = o.batch;
        job.machine.threads = size_t(o.loaders);
        job.network_device = &device;
        job.network = [&](std::span<const DetectorImage> images, size_t height,
                          size_t width) -> std::function<Boxes()> {
            h = height, w = width;
            if (!with_network) return [n = images.size()] { return Boxes(n); };
            return [&, started = detector.start(images, h, w)] { return detector.finish(started); };
        };
        const DetectOutcome outcome = detect(job);
        if (outcome.counts.done != o.files || outcome.counts.failed)
            fail(Fault::runtime, "{} of {} images are done", outcome.counts.done, o.files);
    };
    pass(!stub);
    const double decode = median(o.passes, [&] { return rate(o.files, [&] { pass(false); }); });
    if (stub) return {decode, 0, decode};
    const std::vector<uint8_t> still = bench_images(o.batch, h, w);
    const size_t steps = (o.files + o.batch - 1) / o.batch;
    return {decode,
            median(o.passes,
                   [&] {
                       return rate(steps * o.batch, [&] {
                           for (size_t i = 0; i < steps; ++i) detector.run(still, h, w);
                       });
                   }),
            median(o.passes, [&] { return rate(o.files, [&] { pass(true); }); })};
}

int run(const Options& o) {
    const Folder folder(fs::temp_directory_path() / fmt::format("tundra-pipeline-{}", ::getpid()));
    make_images(o, folder.path);
    const auto device = open_device(o.device, {.threads = o.threads});
    const Figures f =
        o.model.starts_with("resnet") ? classification(o, folder.path, *device) : detection(o, folder.path, *device);
    const double ceiling = f.network == 0            ? f.decode
                           : device->kind() == "cpu" ? 1 / (1 / f.decode + 1 / f.network)
                                                     : std::min(f.decode, f.network);
    if (o.json) {
        const nlohmann::ordered_json line = {{"bench", "pipeline"},
                                             {"model", o.model},
                                             {"files", o.files},
                                             {"width", o.width},
                                             {"height", o.height},
                                             {"size", o.size},
                                             {"batch", o.batch},
                                             {"threads", o.threads},
                                             {"loaders", o.loaders},
                                             {"device", device->description()},
                                             {"decode_images_per_second", f.decode},
                                             {"network_images_per_second", f.network},
                                             {"images_per_second", f.both},
                                             {"ceiling_images_per_second", ceiling},
                                             {"peak_resident_bytes", peak_memory_bytes()}};
        fmt::print("{}\n", line.dump());
        return 0;
    }
    fmt::print("{} JPEG files of {}x{}, {}, {} pixels, batch {}\n", o.files, o.width, o.height, o.model, o.size,
               o.batch);
    fmt::print("everything but the network {:8.1f} images/s\n", f.decode);
    if (f.network > 0)
        fmt::print(
            "network alone              {:8.1f} images/s\nboth                       {:8.1f} images/s, {:.0f} % of the "
            "ceiling of {:.1f}\n",
            f.network, f.both, 100 * f.both / ceiling, ceiling);
    fmt::print("resident at most {:.1f} MB\n", double(peak_memory_bytes()) / 1e6);
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    Options o;
    CLI::App app("Times decoding, network and both.");
    app.add_option("--model", o.model);
    app.add_option("--files", o.files)->check(CLI::PositiveNumber);
    app.add_option("--width", o.width);
    app.add_option("--height", o.height);
    app.add_option("--size", o.size);
    app.add_option("--batch", o.batch);
    app.add_option("--device", o.device);
    app.add_option("--threads", o.threads, "of the network");
    app.add_option("--loaders", o.loaders, "threads that decode");
    app.add_option("--passes", o.passes, "repetitions of each measurement; the median counts")
        ->check(CLI::PositiveNumber);
    app.add_flag("--json", o.json);
    CLI11_PARSE(app, argc, argv);
    return run(o);
} catch (const std::exception& error) {
    std::fprintf(stderr, "pipeline: %s\n", error.what());
    return 1;
}
