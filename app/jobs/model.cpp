#include "app/jobs/model.h"

#include <CLI/CLI.hpp>

ReadyModel open_model(const std::string& path, const MachineOptions& options, size_t images,
                      const InputOptions& input) {
    ReadyModel m{.file = read_model(path, {.mapped = true, .input = input}),
                 .fingerprint = {},
                 .device = options.open(),
                 .arena = {},
                 .classifier = {},
                 .threads = options.thread_count(),
                 .loading = {}};
    m.arena = std::make_unique<Arena>(*m.device);
    m.classifier = std::make_unique<Classifier>(*m.device, *m.arena,
                                                ClassifierConfig{.model = m.file.model,
                                                                 .batch = options.classifier_batch(images),
                                                                 .size = m.file.input.fit.size,
                                                                 .normalize = normalize_named(m.file.input.normalize),
                                                                 .precision = options.classifier_precision(*m.device)});
    const StateDict state = std::exchange(m.file.state, {});
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
