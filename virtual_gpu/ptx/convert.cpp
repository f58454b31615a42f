// cvt: between integers, floats and the 16-bit floats.
#include <cmath>
#include <limits>

#include "lanes.h"

namespace ptx {

float widened(Brain b) { return std::bit_cast<float>(uint32_t(b.bits) << 16); }

Brain brain_of(float f) {
    const auto u = std::bit_cast<uint32_t>(f);
    return {uint16_t(f != f ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16)};
}

float widened(Half h) {
    const uint32_t sign = uint32_t(h.bits & 0x8000) << 16, magnitude = h.bits & 0x7fff;
    const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;  // exact, subnormals too
    const uint32_t special = magnitude >= 0x7c00 ? 0x7f800000u | magnitude << 13 : std::bit_cast<uint32_t>(scaled);
    return std::bit_cast<float>(sign | special);
}

Half half_of(float f) {
    const auto u = std::bit_cast<uint32_t>(f);
    const uint32_t sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000) return {0x7fff};
    if (magnitude >= 0x477ff000) return {uint16_t(sign | 0x7c00)};  // 65520 and more round to infinity
    // To the nearest multiple of a unit by adding a number whose unit that is: at least 2^-24, that of a subnormal.
    const uint32_t exponent = std::max(magnitude >> 23, 113u);
    const float unit = std::bit_cast<float>((exponent + 13) << 23), value = std::bit_cast<float>(magnitude);
    const float rounded = (value + unit) - unit;
    return {uint16_t(sign | uint32_t(std::bit_cast<uint32_t>(rounded * 0x1p-112f) >> 13))};
}

namespace {

template <class R, class A>
R saturated(A x) {  // x is integral, infinite or NaN; NaN becomes 0
    constexpr R lowest = std::numeric_limits<R>::min(), highest = std::numeric_limits<R>::max();
    if (!(x == x)) return 0;
    if (x <= A(lowest)) return lowest;
    if (x >= A(highest)) return highest;
    return R(x);
}

template <class A>
void from_float(Forms& table, const std::string& from) {
    const auto roundings = [&]<class R>(const std::string& to) {
        const std::string types = to + "." + from;
        table["cvt.rni." + types] = elementwise<R(A)>([](A a) { return saturated<R>(std::nearbyint(a)); });
        table["cvt.rzi." + types] = elementwise<R(A)>([](A a) { return saturated<R>(std::trunc(a)); });
        table["cvt.rmi." + types] = elementwise<R(A)>([](A a) { return saturated<R>(std::floor(a)); });
        table["cvt.rpi." + types] = elementwise<R(A)>([](A a) { return saturated<R>(std::ceil(a)); });
    };
    each_integer(roundings);
    const std::string types = from + "." + from;
    table["cvt.rni." + types] = elementwise<A(A)>([](A a) { return std::nearbyint(a); });
    table["cvt.rzi." + types] = elementwise<A(A)>([](A a) { return std::trunc(a); });
    table["cvt.rmi." + types] = elementwise<A(A)>([](A a) { return std::floor(a); });
    table["cvt.rpi." + types] = elementwise<A(A)>([](A a) { return std::ceil(a); });
    table["cvt.sat." + types] = elementwise<A(A)>([](A a) { return a > 0 ? (a < 1 ? a : A(1)) : A(0); });  // NaN: 0
}

}  // namespace

void add_conversions(Forms& table) {
    each_integer([&]<class A>(const std::string& from) {
        each_integer([&]<class R>(const std::string& to) {
            if (to != from) table["cvt." + to + "." + from] = elementwise<R(A)>([](A a) { return R(a); });
        });
        table["cvt.rn.f32." + from] = elementwise<float(A)>([](A a) { return float(a); });
        table["cvt.rn.f64." + from] = elementwise<double(A)>([](A a) { return double(a); });
    });
    from_float<float>(table, "f32");
    from_float<double>(table, "f64");
    table["cvt.rn.f32.f64"] = elementwise<float(double)>([](double a) { return float(a); });
    table["cvt.f64.f32"] = elementwise<double(float)>([](float a) { return double(a); });
    table["cvt.f32.f16"] = elementwise<float(Half)>([](Half a) { return widened(a); });
    table["cvt.f32.bf16"] = elementwise<float(Brain)>([](Brain a) { return widened(a); });
    table["cvt.rn.f16.f32"] = elementwise<Half(float)>([](float a) { return half_of(a); });
    table["cvt.rn.bf16.f32"] = elementwise<Brain(float)>([](float a) { return brain_of(a); });
    using U = uint32_t;
    table["cvt.rn.f16x2.f32"] = elementwise<U(float, float)>(
        [](float high, float low) { return U(half_of(high).bits) << 16 | half_of(low).bits; });
    table["cvt.rn.bf16x2.f32"] = elementwise<U(float, float)>(
        [](float high, float low) { return U(brain_of(high).bits) << 16 | brain_of(low).bits; });
}

}  // namespace ptx
