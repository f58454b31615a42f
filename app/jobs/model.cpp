#include "app/jobs/model.h"

#include <CLI/CLI.hpp>

#include <chrono>
#include <map>

#include "app/jobs/journal.h"
#include "base/json.h"
#include "predict/precision_check.h"

namespace {

constexpr size_t kTimedSide = 640;  // pixels, at most: a larger network would take seconds to time

double seconds_of(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string precision_of_journal(const std::filesystem::path& journal) {
    const auto header = parse_foreign(header_of_journal(journal));
    if (!header.is_object()) return "";
    const std::string said = text_of(header, "precision");
    return said.empty() ? "fp32" : said;
}

PrecisionChoice detector_precision(const MachineOptions& options, Device& device, const DetectorModel& model,
                                   const EarlierPrecision& earlier) {
    const size_t stride = model.network().stride,
                 side = std::max(stride, std::min(model.image_size, kTimedSide) / stride * stride);
    std::map<DType, std::unique_ptr<Detector>> timed;
    return choose_precision(
        {.named = options.precision,
         .automatic = kDetectorPrecision,
         .earlier = earlier.name,
         .checked = check_passed(model.int8_report.empty() ? model.bf16_check : model.int8_report, model.state),
         .file = model.file_name,
         .int8_report = model.int8_report,
         .alone = earlier.alone},
        device, [&](DType precision) {
            std::unique_ptr<Detector>& one = timed[precision];
            if (!one) one = std::make_unique<Detector>(device, model, DetectorOptions{.precision = precision});
            const std::vector<uint8_t> blank(side * side * 3, 128);
            return seconds_of([&] { one->run(blank, side, side); });
        });
}

ReadyModel open_model(const std::string& path, const MachineOptions& options, size_t images, const InputOptions& input,
                      const EarlierPrecision& earlier) {
    ReadyModel m{.file = read_model(path, {.mapped = true, .input = input}),
                 .fingerprint = {},
                 .device = options.open(),
                 .arena = {},
                 .classifier = {},
                 .precision = {},
                 .threads = options.thread_count(),
                 .loading = {}};
    m.arena = std::make_unique<Arena>(*m.device);
    const StateDict state = std::exchange(m.file.state, {});
    const auto classifier = [&](DType precision) {
        return std::make_unique<Classifier>(*m.device, *m.arena,
                                            ClassifierConfig{.model = m.file.model,
                                                             .batch = options.classifier_batch(images),
                                                             .size = m.file.input.fit.size,
                                                             .normalize = normalize_named(m.file.input.normalize),
                                                             .precision = precision});
    };
    const bool beside_on_cpu = earlier.fp32_on_cpu && m.device->kind() == "cpu";
    std::map<DType, std::unique_ptr<Classifier>> timed;
    m.precision = choose_precision(
        {.named = !beside_on_cpu               ? options.precision
                  : m.file.int8_report.empty() ? "fp32"
                                               : "auto",
         .automatic = m.device->default_precision(),
         .earlier = earlier.name,
         .checked = check_passed(m.file.int8_report.empty() ? m.file.bf16_check : m.file.int8_report, state),
         .file = path,
         .int8_report = m.file.int8_report,
         .alone = earlier.alone},
        *m.device, [&](DType precision) {
            std::unique_ptr<Classifier>& one = timed[precision];
            if (!one) one = classifier(precision), one->load(state, path);
            const std::vector<uint8_t> blank(one->config().batch * m.file.input.fit.bytes(), 128);
            return seconds_of([&] { one->run(blank); });
        });
    timed.clear();
    m.classifier = classifier(m.precision.type);
    m.loading =
        std::async(m.device->kind() == "cpu" ? std::launch::async | std::launch::deferred : std::launch::deferred,
                   m.classifier->prepare_load(state, path));
    check_numbers(m.file.model, state, path);
    m.fingerprint = fingerprint(state);
    return m;
}

void add_input_options(CLI::App& app, InputOptions& o) {
    const auto add = [&](const char* name, auto& value, const char* help, const char* type) {
        return app.add_option(name, value, std::string(help) + " [as the weight file says]")
            ->type_name(type)
            ->group("Model");
    };
    add("--image-size", o.image_size, "side of the network's input in pixels", "N")->check(CLI::Range(32, 4096));
    add("--fit", o.fit, "stretch to the square, or crop the middle", "NAME")->check(CLI::IsMember({"stretch", "crop"}));
    add("--resize", o.resize, "with --fit crop: the shorter side before the middle is cut out", "N")
        ->check(CLI::Range(32, 8192));
    add("--filter", o.filter, "interpolation when images are resized: antialias, linear, nearest", "NAME")
        ->check(CLI::IsMember({"antialias", "linear", "nearest"}));
    add("--normalize", o.normalize,
        "pixel normalization: imagenet, unit (x / 255), tf (x / 127.5 - 1), caffe (BGR minus mean), raw, or "
        "[bgr:]MEAN/DEVIATION",
        "NAME");
    add("--classes", o.classes, "names of the classes in the order of the outputs: a,b,c or a file of lines", "NAMES");
}
