#include "train/fit_memory.h"

#include "data/cache.h"
#include "engine/meta_device.h"

namespace {

uint64_t memory_needed(TrainConfig config, uint64_t batch, const Dataset& data, Device& device, DType precision,
                       bool eager) {
    config.batch = batch;
    MetaDevice counting(device);
    Arena arena(counting);
    const std::unique_ptr<Task> task = make_task(config);
    task->build({counting, arena, precision, eager}, data, [](const std::string&) {});
    return counting.bytes();
}

}  // namespace

void require_memory(const Device& device) {
    const uint64_t free = available_memory_bytes();
    if (device.facts().host_memory && device.allocated() > free)
        fail(Fault::memory, "out of memory: {} MB are needed and {} MB are free", device.allocated() >> 20, free >> 20);
}

// What an image of the batch needs is always the same. 5 % are left for fragments and what libraries load later.
void fail_for_memory(const TrainConfig& config, const Dataset& data, Device& device, DType precision, bool eager,
                     const Error& error) {
    const auto needed = [&](uint64_t batch) { return memory_needed(config, batch, data, device, precision, eager); };
    const size_t known = device.free_bytes();
    const uint64_t all = needed(config.batch), free = known == kUnknownBytes ? available_memory_bytes() : known,
                   room = free / 20 * 19;
    if (room >= all)
        fail(Fault::memory, "{}; training needs {} MB in all", error.what(),
             all >> 20);  // another limit: its room is not known
    std::string instead = "a smaller --image-size or model would fit";
    if (config.batch > 2)
        if (const uint64_t two = needed(2); two <= room)
            instead = fmt::format("--batch {} would fit",
                                  2 + (room - two) * (config.batch - 2) / std::max<uint64_t>(all - two, 1));
    fail(Fault::memory, "training needs {} MB and {} MB are free; {}", all >> 20, free >> 20, instead);
}
