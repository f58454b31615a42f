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

void fail_for_memory(const TrainConfig& config, const Dataset& data, Device& device, DType precision, bool eager,
                     const Error& error) {
    const auto needed = [&](uint64_t batch) {
        return BatchMemory{batch, memory_needed(config, batch, data, device, precision, eager)};
    };
    const size_t known = device.free_bytes();
    const uint64_t free = known == kUnknownBytes ? available_memory_bytes() : known;
    const BatchMemory all = needed(config.batch);
    if (free / 20 * 19 >= all.bytes)  // another kind of memory ran out, whose size is not known
        fail(Fault::memory, "{}; training needs {} MB in all", error.what(), all.bytes >> 20);
    const uint64_t fitting = config.batch > 2 ? largest_batch(free, needed(2), all) : 0;
    fail(Fault::memory, "training needs {} MB and {} MB are free; {}", all.bytes >> 20, free >> 20,
         fitting ? fmt::format("--batch {} would fit", fitting) : "a smaller --image-size or model would fit");
}
