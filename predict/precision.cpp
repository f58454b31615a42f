#include "predict/precision.h"

#include <algorithm>
#include <cmath>

namespace {
constexpr double kWorthwhile = 0.95;  // of float32's time
constexpr double kLongest = 2;        // seconds: no round begins behind them
constexpr int kRounds = 3;            // the first packs weights
constexpr DType kBoth[] = {DType::f32, DType::bf16};
}  // namespace

std::string to_text(const PrecisionChoice& choice) {
    const std::string_view name = precision_name(choice.type);
    return choice.why.empty() ? std::string(name) : fmt::format("{} (auto: {})", name, choice.why);
}

PrecisionChoice choose_precision(const PrecisionWish& wish, const Device& device,
                                 const std::function<double(DType)>& seconds) {
    if (wish.named != "auto" || device.kind() != "cpu") return {precision_named(wish.named, device, wish.automatic)};
    if (!wish.earlier.empty()) {
        const DType type = precision_named(wish.earlier, device, DType::f32);
        return {type, type == DType::f32 ? "" : "as the run began"};
    }
    if (!wish.checked) return {};
    if (!wish.alone.empty()) return {DType::f32, wish.alone};
    double best[2] = {INFINITY, INFINITY}, spent = 0;
    for (int round = 0; round < kRounds && spent < kLongest; ++round)
        for (size_t i = 0; i < 2; ++i) {
            const double time = seconds(kBoth[i]);
            best[i] = std::min(best[i], time), spent += time;
        }
    const bool faster = best[1] < kWorthwhile * best[0];
    return {kBoth[faster], fmt::format("bf16 takes {:.2f} of float32's time here", best[1] / best[0])};
}
