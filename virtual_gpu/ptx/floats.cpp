// Floating point: IEEE 754 operations are those of the CPU; directed roundings and the approximate instructions are
// here.
#include <cmath>
#include <limits>

#include "lanes.h"
#include "launch.h"

namespace ptx {
namespace {

// The exact sum `high + low` (low less than half a unit of high) rounded in one direction; `opposite`: a zero sum is of
// numbers of opposite signs.
enum class Toward { zero, down, up };
template <Toward toward>
float directed(double high, double low, bool opposite) {
    const auto nearest = float(high);
    if (high == 0) return toward == Toward::down && opposite ? -0.0f : nearest;
    const double error = (high - double(nearest)) + low;  // of the nearest, by its sign
    const bool above = std::isinf(nearest) ? nearest > 0 : error < 0,
               below = std::isinf(nearest) ? nearest < 0 : error > 0;
    if (std::isinf(high)) return nearest;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    if (toward == Toward::down ? above : toward == Toward::zero && above && nearest > 0)
        return std::nextafter(nearest, -infinity);
    if (toward == Toward::up ? below : toward == Toward::zero && below && nearest < 0)
        return std::nextafter(nearest, infinity);
    return nearest;
}
template <Toward toward>
float directed_sum(double a, double b) {  // of numbers with at most 48 bits each
    const double sum = a + b;
    if (!std::isfinite(sum)) return float(sum);
    const double part = sum - a, low = (a - (sum - part)) + (b - part);  // Knuth's exact error
    return directed<toward>(sum, low, std::signbit(a) != std::signbit(b));
}

// The hardware's result may lie up to config().off_by units in the last place away; which way depends on the operand.
float approximate(float exact, float operand) {
    const int most = config().off_by;
    if (most == 0 || !std::isfinite(exact) || std::fabs(exact) < 0x1p-120f) return exact;
    const uint32_t hash = std::bit_cast<uint32_t>(operand) * 2654435761u >> 16;
    const int off = int(hash % unsigned(2 * most + 1)) - most;
    const float moved = std::bit_cast<float>(std::bit_cast<uint32_t>(exact) + uint32_t(off));
    return std::isfinite(moved) ? moved : exact;
}
float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

template <class T>
T smaller(T a, T b) {
    if (std::isnan(a)) return std::isnan(b) ? std::numeric_limits<T>::quiet_NaN() : b;
    if (std::isnan(b) || a < b) return a;
    return b < a || std::signbit(b) ? b : a;  // -0 is below +0
}
template <class T>
T larger(T a, T b) {
    if (std::isnan(a)) return std::isnan(b) ? std::numeric_limits<T>::quiet_NaN() : b;
    if (std::isnan(b) || a > b) return a;
    return b > a || !std::signbit(b) ? b : a;
}

}  // namespace

void add_floats(Forms& table) {
    each_float([&]<class T>(const std::string& t) {
        // add, sub and mul may be fused by ptxas unless they say .rn; here they are not.
        for (const std::string rounding : {".", ".rn."}) {
            table["add" + rounding + t] = elementwise<T(T, T)>([](T a, T b) { return a + b; });
            table["sub" + rounding + t] = elementwise<T(T, T)>([](T a, T b) { return a - b; });
            table["mul" + rounding + t] = elementwise<T(T, T)>([](T a, T b) { return a * b; });
        }
        table["fma.rn." + t] = elementwise<T(T, T, T)>([](T a, T b, T c) { return std::fma(a, b, c); });
        table["div.rn." + t] = elementwise<T(T, T)>([](T a, T b) { return a / b; });
        table["rcp.rn." + t] = elementwise<T(T)>([](T a) { return 1 / a; });
        table["sqrt.rn." + t] = elementwise<T(T)>([](T a) { return std::sqrt(a); });
        table["neg." + t] = elementwise<T(T)>([](T a) { return -a; });
        table["abs." + t] = elementwise<T(T)>([](T a) { return std::fabs(a); });
        table["min." + t] = elementwise<T(T, T)>([](T a, T b) { return smaller(a, b); });
        table["max." + t] = elementwise<T(T, T)>([](T a, T b) { return larger(a, b); });
        table["copysign." + t] = elementwise<T(T, T)>([](T sign, T b) { return std::copysign(b, sign); });
    });
    using F = float;
    table["add.rz.f32"] = elementwise<F(F, F)>([](F a, F b) { return directed_sum<Toward::zero>(a, b); });
    table["add.rm.f32"] = elementwise<F(F, F)>([](F a, F b) { return directed_sum<Toward::down>(a, b); });
    table["add.rp.f32"] = elementwise<F(F, F)>([](F a, F b) { return directed_sum<Toward::up>(a, b); });
    table["fma.rz.f32"] =
        elementwise<F(F, F, F)>([](F a, F b, F c) { return directed_sum<Toward::zero>(double(a) * b, c); });
    table["fma.rm.f32"] =
        elementwise<F(F, F, F)>([](F a, F b, F c) { return directed_sum<Toward::down>(double(a) * b, c); });
    table["fma.rp.f32"] =
        elementwise<F(F, F, F)>([](F a, F b, F c) { return directed_sum<Toward::up>(double(a) * b, c); });
    table["ex2.approx.ftz.f32"] = elementwise<F(F)>([](F a) { return approximate(flushed(std::exp2(flushed(a))), a); });
    table["ex2.approx.f32"] = elementwise<F(F)>([](F a) { return approximate(std::exp2(a), a); });
    table["lg2.approx.f32"] = elementwise<F(F)>([](F a) { return approximate(std::log2(a), a); });
    table["rcp.approx.f32"] = elementwise<F(F)>([](F a) { return approximate(1 / a, a); });
    table["rcp.approx.ftz.f32"] = elementwise<F(F)>([](F a) { return approximate(flushed(1 / flushed(a)), a); });
    table["sqrt.approx.f32"] = elementwise<F(F)>([](F a) { return approximate(std::sqrt(a), a); });
    table["rsqrt.approx.f32"] = elementwise<F(F)>([](F a) { return approximate(F(1 / std::sqrt(double(a))), a); });
    // For divisors from 2^126 on the manual allows 0; nothing here comes near.
    table["div.approx.f32"] = elementwise<F(F, F)>([](F a, F b) { return approximate(a / b, a + b); });
}

}  // namespace ptx
