#include "app/jobs/model.h"

#include <CLI/CLI.hpp>

#include <algorithm>

#include "base/processors.h"

ReadyModel open_model(const std::string& path, const MachineOptions& options, size_t images) {
    ReadyModel m{.file = read_model(path, true),
                 .fingerprint = {},
                 .device = open_device(options.device, {.threads = int(options.threads)}),
                 .arena = {},
                 .classifier = {},
                 .threads = options.threads ? int(options.threads) : usable_processors(),
                 .loading = {}};
    m.arena = std::make_unique<Arena>(*m.device);
    m.classifier = std::make_unique<Classifier>(
        *m.device, *m.arena,
        ClassifierConfig{.model = m.file.model,
                         .batch = std::clamp<size_t>(images, 1, std::max<size_t>(1, options.batch)),
                         .size = m.file.fit.size,
                         .normalize = normalize_named(m.file.normalize),
                         .precision = m.device->default_precision()});
    const StateDict state = std::exchange(m.file.state, {});
    m.loading = std::async(m.device->kind() == "cpu" ? std::launch::async : std::launch::deferred,
                           m.classifier->prepare_load(state, path));
    m.fingerprint = fingerprint(state);
    return m;
}

void add_machine_options(CLI::App& app, MachineOptions& options) {
    app.add_option("--device", options.device, "cpu, cuda, simt, or auto: cuda where there is a usable GPU")
        ->type_name("NAME")
        ->check(CLI::IsMember({"auto", "cpu", "cuda", "simt"}))
        ->capture_default_str();
    app.add_option("--threads", options.threads, "0: all processors")
        ->type_name("N")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str();
    app.add_option("--batch", options.batch, "images at a time")
        ->type_name("N")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str();
}
