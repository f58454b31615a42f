#include "train/fit_memory.h"
#include "base/text.h"

#include "data/cache.h"
#include "engine/meta_device.h"

namespace {

uint64_t memory_needed(TrainConfig config, uint64_t batch, Ranks& ranks, const Dataset& data, const TaskContext& c) {
    config.batch = batch;
    MetaDevice counting(c.device);
    Arena arena(counting);
    const std::unique_ptr<Task> task = make_task(config, ranks);
    task->build({counting, arena, c.precision, c.eager, c.steps_per_graph, c.join_gradients}, data,
                [](const std::string&) {});
    return counting.bytes();
}

}  // namespace

uint64_t free_memory(const Device& device) {
    const size_t known = device.free_bytes();
    return known == kUnknownBytes ? available_memory_bytes() : known;
}

uint64_t memory_before_build(const Device& device, Ranks& ranks) {
    const uint64_t free = free_memory(device);
    double looked = 1;
    ranks.sum({&looked, 1});  // nobody takes memory before all have looked
    return free;
}

void require_memory(const Device& device, const Ranks& ranks, uint64_t free) {
    const uint64_t needed = device.allocated() * ranks.on_machine;
    if (device.facts().host_memory && needed > free)
        fail(Fault::memory, "out of memory: {} are needed and {} are free", bytes_text(double(needed)),
             bytes_text(double(free)));
}

void fail_for_memory(const TrainConfig& config, Ranks& ranks, const Dataset& data, const TaskContext& context,
                     uint64_t free, const Error& error) {
    const size_t sharing = context.device.facts().host_memory ? ranks.on_machine : 1;
    const auto needed = [&](uint64_t batch) {
        return BatchMemory{batch, memory_needed(config, batch, ranks, data, context) * sharing};
    };
    const BatchMemory all = needed(config.batch);
    if (free / 20 * 19 >= all.bytes)  // the memory that ran out is another one, whose size is not known
        fail(Fault::memory, "{}; training needs {} in all", error.what(), bytes_text(double(all.bytes)));
    const size_t count = ranks.count, parts = count / ranks.process->count;
    uint64_t fitting = 0;
    if (parts > 1)  // of micro-batches, each of which needs the same
        fitting = free / 20 * 19 / (all.bytes / parts) * (config.batch / parts);
    else if (config.batch > 2 * count)
        fitting = largest_batch(free, needed(2 * count), all) / count * count;
    fail(Fault::memory, "training needs {} and {} are free; {}", bytes_text(double(all.bytes)),
         bytes_text(double(free)),
         fitting     ? fmt::format("--batch {} would fit", fitting)
         : parts > 1 ? "a smaller --micro-batch, --image-size or model would fit"
                     : "a smaller --image-size or model would fit");
}
