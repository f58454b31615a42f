// The batches of a loader through a network: where the device works by itself, it computes one batch while the host
// starts the next and looks at the results of the one before.
#pragma once

#include <optional>

#include "data/loader.h"
#include "engine/device.h"

// start(batch) begins a run, finish(batch, started) takes its results, in the order of the batches, and says whether to
// go on. The pixels of the loader should be in the device's host_memory().
template <class Start, class Finish>
void for_each_batch(Loader& loader, Device& device, const Start& start, const Finish& finish) {
    using Started = decltype(start(loader.next()));
    const Batch* before = nullptr;
    std::optional<Started> running;
    for (size_t step = 0; step < loader.steps(); ++step) {
        const Batch& batch = loader.next();
        const Started started = start(batch);
        if (running && !finish(*before, *running)) return;
        running = started, before = &batch;
        if (device.facts().overlaps) continue;
        if (!finish(batch, started)) return;
        running.reset();
    }
    if (running) finish(*before, *running);
}
