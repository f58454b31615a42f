// Shared by all tasks: the columns of metrics.csv, the time of a step.
#include "train/task.h"

#include <chrono>
#include <cmath>

std::vector<std::string> TaskNames::columns() const {
    std::vector<std::string> names = {"epoch"};
    for (const std::string& name : train) names.push_back("train_" + name);
    for (const std::string& name : evaluation) names.push_back("validation_" + name);
    names.insert(names.end(), {"rate", "seconds"});
    return names;
}

Evaluated check_of_bf16(Task& task, Ranks& ranks, const StateDict& result, Cache* cache,
                        const std::function<bool()>& keep_going) {
    try {
        return task.check_bf16(result, cache, keep_going);
    } catch (const Error& e) {
        if (ranks.count > 1) throw;
        return {.complete = true, .note = fmt::format("bf16 was not checked: {}", e.what())};
    }
}

// The best time counts: the first step is slower, because it sets things up.
double time_of_a_step(Task& task, Ranks& ranks, double seconds) {
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point start) {
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    const Batch grey = blank_batch(task.loader(true));
    double best = INFINITY;
    const Clock::time_point begin = Clock::now();
    std::byte again{};
    size_t steps = 0;
    do {
        const Clock::time_point start = Clock::now();
        task.trainer().step(grey, 0, 0, 1);
        task.trainer().stats();
        best = std::min(best, since(start));
        again = std::byte(++steps < 2 || since(begin) < seconds);
        ranks.broadcast({&again, 1});  // every rank makes as many steps
    } while (again == std::byte(1));
    return best;
}

Evaluated Task::checked(PrecisionCheck check, std::string weights) {
    check.weights = std::move(weights);
    bf16_check_ = to_text(check);
    std::string note =
        fmt::format("bf16 {} its check on {} validation images", check.passed() ? "passes" : "fails", check.images);
    for (const CheckRow& row : check.rows)
        note += fmt::format("; {} {:.4f}, in float32 {:.4f}", row.what, row.other, row.fp32);
    return {.complete = true, .note = note};
}

std::vector<uint32_t> Task::share_of(const std::vector<uint32_t>& samples) const {
    std::vector<uint32_t> share;
    for (size_t i = ranks_.rank; i < samples.size(); i += ranks_.count) share.push_back(samples[i]);
    return share;
}

std::unique_ptr<Task> make_task(const TrainConfig& config, Ranks& ranks) {
    return config.task == "detect" ? make_detect_task(config, ranks) : make_classify_task(config, ranks);
}
