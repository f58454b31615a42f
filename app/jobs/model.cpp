#include "app/jobs/model.h"

ReadyModel open_model(const std::string& path, const MachineOptions& options, size_t images) {
    ReadyModel m{.file = read_model(path, true),
                 .fingerprint = {},
                 .device = options.open(),
                 .arena = {},
                 .classifier = {},
                 .threads = options.thread_count(),
                 .loading = {}};
    if (!m.file.lacks.empty())
        fail(Fault::usage, "{}: cannot predict: {}; `tundra train --init` can start from it", path, m.file.lacks);
    m.arena = std::make_unique<Arena>(*m.device);
    m.classifier = std::make_unique<Classifier>(*m.device, *m.arena,
                                                ClassifierConfig{.model = m.file.model,
                                                                 .batch = options.classifier_batch(images),
                                                                 .size = m.file.fit.size,
                                                                 .normalize = normalize_named(m.file.normalize),
                                                                 .precision = options.classifier_precision(*m.device)});
    const StateDict state = std::exchange(m.file.state, {});
    m.loading =
        std::async(m.device->kind() == "cpu" ? std::launch::async | std::launch::deferred : std::launch::deferred,
                   m.classifier->prepare_load(state, path));
    m.fingerprint = fingerprint(state);
    return m;
}
