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

void require_memory(const Device& device) {
    const uint64_t free = available_memory_bytes();
    if (device.facts().host_memory && device.allocated() > free)
        fail(Fault::memory, "out of memory: {} are needed and {} are free", bytes_text(double(device.allocated())),
             bytes_text(double(free)));
}

void fail_for_memory(const TrainConfig& config, Ranks& ranks, const Dataset& data, const TaskContext& context,
                     const Error& error) {
    const auto needed = [&](uint64_t batch) {
        return BatchMemory{batch, memory_needed(config, batch, ranks, data, context)};
    };
    const size_t known = context.device.free_bytes();
    const uint64_t free = known == kUnknownBytes ? available_memory_bytes() : known;
    const BatchMemory all = needed(config.batch);
    if (free / 20 * 19 >= all.bytes)  // the memory that ran out is another one, whose size is not known
        fail(Fault::memory, "{}; training needs {} in all", error.what(), bytes_text(double(all.bytes)));
    const uint64_t fitting = config.batch > 2 * ranks.count ? largest_batch(free, needed(2 * ranks.count), all) : 0;
    fail(Fault::memory, "training needs {} and {} are free; {}", bytes_text(double(all.bytes)),
         bytes_text(double(free)),
         fitting ? fmt::format("--batch {} would fit", fitting) : "a smaller --image-size or model would fit");
}
