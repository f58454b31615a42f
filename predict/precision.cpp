#include "predict/precision.h"

#include <algorithm>
#include <vector>

#include "base/json.h"

namespace {
constexpr double kWorthwhile = 0.9;  // of float32's time, so that chance does not choose
constexpr double kLongest = 2;       // seconds: no round begins behind them
constexpr size_t kRounds = 6;        // the first packs weights and counts only where it is the last

PrecisionChoice int8_of(const PrecisionWish& wish, const Device& device) {
    if (wish.int8_report.empty())
        fail(
            Fault::usage,
            "--precision int8: {} is not quantized; `tundra quantize MODEL --images FOLDER` makes a file of it that is",
            wish.file);
    const std::string original = text_of(parse_foreign(wish.int8_report), "original");
    if (wish.named != "auto" && wish.named != "int8")
        fail(Fault::usage, "--precision {}: {} is quantized to int8; its original, {}, runs in {}", wish.named,
             wish.file, original, wish.named);
    if (device.kind() != "cpu")
        fail(Fault::usage,
             "--device {}: {} is quantized to int8, which only the device cpu runs; name --device cpu, or the "
             "original, {}",
             device.kind(), wish.file, original);
    if (!wish.checked)
        fail(Fault::damaged,
             "{}: its weights or ranges are not those that passed the check when it was quantized; quantize {} again",
             wish.file, original);
    return {DType::i8, wish.named == "auto" ? "the file is quantized" : ""};
}
}  // namespace

std::string to_text(const PrecisionChoice& choice) {
    const std::string_view name = precision_name(choice.type);
    return choice.why.empty() ? std::string(name) : fmt::format("{} (auto: {})", name, choice.why);
}

PrecisionChoice choose_precision(const PrecisionWish& wish, const Device& device,
                                 const std::function<double(DType)>& seconds) {
    if (!wish.int8_report.empty() || wish.named == "int8") return int8_of(wish, device);
    if (wish.named != "auto" || device.kind() != "cpu") return {precision_named(wish.named, device, wish.automatic)};
    if (wish.earlier == "int8") return {};  // of another model, whose results these cannot continue
    if (!wish.earlier.empty()) {
        const DType type = precision_named(wish.earlier, device, DType::f32);
        return {type, type == DType::f32 ? "" : "as the run began"};
    }
    if (!wish.checked) return {};
    if (!wish.alone.empty()) return {DType::f32, wish.alone};
    std::vector<double> ratios;
    for (double spent = 0; ratios.size() < kRounds && spent < kLongest;) {
        const double fp32 = seconds(DType::f32), bf16 = seconds(DType::bf16);
        ratios.push_back(bf16 / fp32), spent += fp32 + bf16;
    }
    if (ratios.size() > 1) ratios.erase(ratios.begin());
    std::ranges::nth_element(ratios, ratios.begin() + ptrdiff_t(ratios.size() / 2));
    const double ratio = ratios[ratios.size() / 2];
    return {ratio < kWorthwhile ? DType::bf16 : DType::f32,
            fmt::format("bf16 takes {:.2f} of float32's time here", ratio)};
}
