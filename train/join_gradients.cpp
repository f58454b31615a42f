#include "train/join_gradients.h"

#include <cstdint>
#include <nlohmann/json.hpp>

namespace {

// Makes the task both ways and times its steps; `note` says what was seen. False without a word if the network has no
// such gradients.
bool faster_when_joined(const TrainConfig& config, Ranks& ranks, TaskContext context, const Dataset& data,
                        const Note& note) {
    constexpr double kSeconds = 0.5;
    double seconds[2] = {};
    for (const bool joined : {true, false}) try {
            context.join_gradients = joined;
            const std::unique_ptr<Task> task = make_task(config, ranks);
            task->build(context, data, [](const std::string&) {});
            if (joined && !task->trainer().joins_gradients()) return false;
            seconds[joined] = time_of_a_step(*task, ranks, kSeconds);
        } catch (const Error& e) {
            if (!joined || e.fault != Fault::runtime) throw;
            if (ranks.count > 1) fail(e.fault, "{}; add --join-gradients off", e.what());  // others would wait
            note(fmt::format("gradients are not joined: {}", e.what()));                   // cuDNN has no engine, say
            return false;
        }
    std::byte faster{seconds[true] < seconds[false]};
    ranks.broadcast({&faster, 1});
    const bool result = faster != std::byte(0);
    note(fmt::format("gradients are {}joined in convolutions: {:.2f} ms per step, else {:.2f}", result ? "" : "not ",
                     1e3 * seconds[result], 1e3 * seconds[!result]));
    return result;
}

}  // namespace

bool joins_gradients(const RunOptions& options, const nlohmann::json& record, const TrainConfig& config, Ranks& ranks,
                     const TaskContext& context, const Dataset& data, const Note& note) {
    const DeviceFacts& device = context.device.facts();
    const bool on = options.join_gradients == "on";
    if (on && config.task == "detect") fail(Fault::usage, "--join-gradients on: only ResNet has gradients to join");
    if (on && device.in_place) fail(Fault::usage, "--join-gradients on: the device is the CPU");
    if (on || options.join_gradients == "off" || device.in_place) return on;
    enum : uint8_t { unknown, no, yes };
    std::byte begun{unknown};  // only the first rank has the record
    if (record.is_object() && record.contains("joined_gradients"))
        begun = std::byte(record.at("joined_gradients") == true ? yes : no);
    ranks.broadcast({&begun, 1});
    if (begun != std::byte(unknown)) return begun == std::byte(yes);
    return device.overlaps && !options.plan_only && !options.deterministic &&
           faster_when_joined(config, ranks, context, data, note);
}
