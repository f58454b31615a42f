#include "train/run_facts.h"

#include <cmath>

#include "train/setup.h"

using nlohmann::json;

RunPlan plan_of(const TrainConfig& config, const Dataset& data, Task& task, const Device& device,
                const PrecisionChoice& precision, size_t steps_per_epoch, const Schedule& schedule) {
    const size_t images = data.samples.size(), parameters = task.trainer().parameters().scalar_count();
    size_t optimizer = 0;
    for (const Optimizer::Slot& slot : task.trainer().optimizer().slots()) optimizer += slot.memory->bytes();
    return {.classes = data.classes,
            .train_images = data.part(Part::train).size(),
            .validation_images = data.part(Part::validation).size(),
            .test_images = data.part(Part::test).size(),
            .parameters = parameters,
            .steps_per_epoch = steps_per_epoch,
            .total_steps = steps_per_epoch * config.epochs,
            .memory_bytes = device.allocated(),
            .cache_bytes = config.cache == "off" ? 0 : images * task.loader(false).fit.bytes(),
            .disk_bytes = (config.keep + 1) * (optimizer + 4 * parameters) + 4 * parameters,
            .device = device.description(),
            .precision = to_text(precision),
            .schedule = schedule.describe(),
            .notes = data.notes};
}

json session_facts(const TrainConfig& config, const Device& device, DType precision, Ranks& ranks) {
    json facts = {{"device", device.description()},
                  {"gpu", nullptr},
                  {"precision", precision_name(precision)},
                  {"threads", thread_count(config)}};
    if (const GpuFacts gpu = device.gpu(); gpu.count)
        facts["gpu"] = {{"name", gpu.name},
                        {"count", gpu.count},
                        {"memory_bytes", gpu.memory_bytes},
                        {"driver", gpu.driver},
                        {"libraries", gpu.libraries}};
    if (ranks.count == 1) return facts;
    if (ranks.gpu_sums) facts["sums"] = ranks.gpu_sums->version;
    const json here = {{"rank", ranks.rank},
                       {"machine", ranks.machine},
                       {"device", device.description()},
                       {"threads", thread_count(config)}};
    for (const std::string& text : ranks.gather(here.dump(-1, ' ', false, json::error_handler_t::replace)))
        facts["ranks"].push_back(json::parse(text));
    return facts;
}

json run_facts(const TrainConfig& config, const Dataset& data, uint64_t total_steps, json precision) {
    return {{"precision", std::move(precision)},
            {"seed", config.seed},
            {"task", config.task},
            {"model", config.model},
            {"total_steps", total_steps},
            {"classes", data.classes},
            {"data",
             {{"path", config.data},
              {"pictures", data.fingerprint.images},
              {"bytes", data.fingerprint.bytes},
              {"fingerprint", data.fingerprint.hash}}},
            {"config_hash", config_hash(config)},
            {"finished", false}};
}

bool record_steps_per_graph(RunRecord& record, const Device& device, const Trainer& trainer, size_t asked,
                            const Note& note) {
    if (device.facts().in_place) return true;
    if (trainer.comparing()) return false;
    const size_t steps = trainer.steps_per_graph();
    record.fact("steps_per_graph", steps);
    if (asked == 0 && steps > 1) note(fmt::format("{} steps per graph, which showed to be faster", steps));
    return true;
}

std::vector<std::optional<double>> epoch_row(const EpochReport& report, double learning_rate) {
    std::vector<std::optional<double>> row = {double(report.epoch)};
    for (const auto& [name, value] : report.metrics)
        row.push_back(std::isnan(value) ? std::nullopt : std::optional(value));
    row.insert(row.end(), {learning_rate, report.seconds});
    return row;
}

json epoch_line(uint64_t step, const EpochReport& report) {
    json line = {{"step", step}, {"epoch_done", report.epoch}, {"seconds", report.seconds}};
    for (const auto& [name, value] : report.metrics) line[name] = value;
    return line;
}

json step_line(uint64_t step, uint64_t epoch, const StepStats& stats, bool lost, const Ranks& ranks) {
    json line = {{"step", step},
                 {"epoch", epoch},
                 {"loss", stats.loss},
                 {"rate", stats.learning_rate},
                 {"momentum", stats.momentum},
                 {"pictures", stats.images},
                 {"seconds", stats.seconds},
                 {"images_per_second", double(stats.images) / stats.seconds},
                 {"skipped", lost}};
    if (ranks.count > 1 && !ranks.gpu_sums) line["waited"] = stats.waited;  // GPUs wait by themselves
    for (const auto& [name, value] : stats.parts) line[name] = value;
    return line;
}
