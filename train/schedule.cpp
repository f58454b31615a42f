// The knots of each preset and the interpolation between them.
#include "train/schedule.h"

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace {

constexpr std::string_view kCurveNames[] = {"triangle", "torch", "smith", "fastai"};

void validate(const ScheduleOptions& options, size_t total) {
    auto need = [](bool condition, const char* what, double value) {
        if (!condition) fail(Fault::usage, "schedule: {}, not {}", what, value);
    };
    need(total > 0, "there must be at least one step", double(total));
    need(options.learning_rate > 0 && std::isfinite(options.learning_rate), "the peak learning rate must be above 0",
         options.learning_rate);
    need(options.div_factor >= 1 && std::isfinite(options.div_factor), "start_div must be at least 1",
         options.div_factor);
    need(options.final_div >= 1 && std::isfinite(options.final_div), "end_div must be at least 1", options.final_div);
    need(options.warmup_fraction >= 0 && options.warmup_fraction <= 1, "rise must lie in 0..1",
         options.warmup_fraction);
    bool two_way = options.curve == Curve::smith || (options.curve == Curve::torch && options.three_phase);
    need(!two_way || options.warmup_fraction <= 0.5, "rise must be at most 0.5 if the way down is as long",
         options.warmup_fraction);
    for (double momentum : {options.momentum_high, options.momentum_low, options.momentum})
        need(momentum >= 0 && momentum < 1, "momentum must lie in 0..1, below 1", momentum);
}

std::vector<Knot> make_knots(const ScheduleOptions& options, size_t total) {
    double start = options.learning_rate / options.div_factor, end = options.learning_rate / options.final_div,
           n = double(total);
    double high = options.cycle_momentum ? options.momentum_high : options.momentum;
    double low = options.cycle_momentum ? options.momentum_low : options.momentum;
    auto rising = [&](double first, double top) {
        return std::vector<Knot>{{first, start, high}, {top, options.learning_rate, low}};
    };
    std::vector<Knot> knots;
    switch (options.curve) {
        case Curve::triangle:
            knots = rising(-1, n / 2 - 1);
            knots.push_back({n - 1, end, high});
            break;
        case Curve::torch:
            knots = rising(0, options.warmup_fraction * n - 1);
            if (options.three_phase) knots.push_back({2 * options.warmup_fraction * n - 2, start, high});
            knots.push_back({n - 1, end, high});
            break;
        case Curve::fastai:
            knots = rising(0, options.warmup_fraction * n);
            knots.push_back({n, end, high});
            break;
        case Curve::smith: {
            double leg = std::floor(options.warmup_fraction * n);
            knots = rising(0, leg);
            knots.push_back({2 * leg, start, high});
            knots.push_back({n - 1, end, high});
            break;
        }
    }
    return knots;
}

}  // namespace

std::string_view to_string(Curve curve) { return kCurveNames[size_t(curve)]; }

Curve curve_named(std::string_view name) {
    for (size_t i = 0; i < std::size(kCurveNames); i++)
        if (kCurveNames[i] == name) return Curve(i);
    fail(Fault::usage, "schedule: '{}' is not one of triangle, torch, smith, fastai", name);
}

ScheduleOptions schedule_preset(std::string_view name, double learning_rate) {
    switch (curve_named(name)) {
        case Curve::triangle:
            return {.curve = Curve::triangle,
                    .learning_rate = learning_rate,
                    .div_factor = 1000,
                    .final_div = 1000,
                    .warmup_fraction = 0.5,
                    .cosine = false,
                    .cycle_momentum = false};
        case Curve::torch: return {.curve = Curve::torch, .learning_rate = learning_rate};
        case Curve::smith:
            return {.curve = Curve::smith,
                    .learning_rate = learning_rate,
                    .div_factor = 10,
                    .final_div = 1000,
                    .warmup_fraction = 0.45,
                    .cosine = false};
        case Curve::fastai:
            return {.curve = Curve::fastai, .learning_rate = learning_rate, .final_div = 1e5, .warmup_fraction = 0.25};
    }
    return {};
}

Schedule::Schedule(const ScheduleOptions& options, size_t total) : options_(options), total_(total) {
    validate(options, total);
    knots_ = make_knots(options, total);
}

ScheduleValue Schedule::at(size_t step) const {
    require(step < total_, "schedule: step {} of a run of {} steps", step, total_);
    double position = double(step);
    size_t right = 1;
    while (right + 1 < knots_.size() && position > knots_[right].position) right++;
    const Knot &from = knots_[right - 1], &to = knots_[right];
    double length = to.position - from.position;
    // In a run of a few steps a leg can have no length; then its end counts.
    double t = length > 0 ? (position - from.position) / length : 1;
    if (options_.curve == Curve::fastai || (options_.curve == Curve::torch && options_.cosine))
        t = (1 - std::cos(std::numbers::pi * t)) / 2;
    const double ramp = options_.ramp_share * double(total_);
    const double factor = position < ramp ? options_.ramp_from + (1 - options_.ramp_from) * position / ramp : 1;
    return {.learning_rate = factor * (from.learning_rate + (to.learning_rate - from.learning_rate) * t),
            .momentum = from.momentum + (to.momentum - from.momentum) * t};
}

// Only what steps of this run see: a peak before the first step, of a short run or without a rise, was never there, and
// a leg without length has no end of its own.
std::string Schedule::describe() const {
    std::string rates, momenta;
    double last_momentum = 0;
    const auto add = [&](double learning_rate, double momentum, const std::string& where) {
        rates += fmt::format("{}{:.4g}{}", rates.empty() ? "" : " -> ", learning_rate, where);
        if (momenta.empty() || momentum != last_momentum)
            momenta += fmt::format("{}{:.4g}", momenta.empty() ? "" : " -> ", momentum);
        last_momentum = momentum;
    };
    const bool rises = knots_[1].position > 0;
    const ScheduleValue first = at(0);
    add(rises ? knots_[0].learning_rate : first.learning_rate, rises ? knots_[0].momentum : first.momentum, "");
    double reached = 0;
    for (const Knot& knot : knots_) {
        if (knot.position <= reached) continue;
        add(knot.learning_rate, knot.momentum, fmt::format(" at {:.6g}", knot.position));
        reached = knot.position;
    }
    const double ramp = options_.ramp_share * double(total_);
    return fmt::format("{}, {} steps: learning rate {}{}; momentum {}", to_string(options_.curve), total_, rates,
                       ramp > 0 ? fmt::format(", times {:.4g} -> 1 at {:.6g}", options_.ramp_from, ramp) : "", momenta);
}
