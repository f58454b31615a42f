// Integers and bits: what PTX's manual says about zero divisors, shifts beyond the width, and wrapping.
#include <algorithm>
#include <limits>

#include "lanes.h"

namespace ptx {
namespace {

template <class T>
struct Twice;
template <>
struct Twice<uint16_t> {
    using type = uint32_t;
};
template <>
struct Twice<int16_t> {
    using type = int32_t;
};
template <>
struct Twice<uint32_t> {
    using type = uint64_t;
};
template <>
struct Twice<int32_t> {
    using type = int64_t;
};
template <>
struct Twice<uint64_t> {
    __extension__ using type = unsigned __int128;
};
template <>
struct Twice<int64_t> {
    __extension__ using type = __int128;
};

template <class T>
T quotient(T a, T b) {  // by zero: all ones, as the hardware's subroutine gives
    if (b == 0) return T(-1);
    if constexpr (std::is_signed_v<T>)
        if (b == -1) return T(0 - a);
    return T(a / b);
}
template <class T>
T remainder(T a, T b) {
    if (b == 0) return a;
    if constexpr (std::is_signed_v<T>)
        if (b == -1) return 0;
    return T(a % b);
}

uint64_t joined(uint32_t low, uint32_t high) { return uint64_t(high) << 32 | low; }

uint32_t permuted(uint32_t a, uint32_t b, uint32_t selectors) {
    const uint64_t bytes = uint64_t(b) << 32 | a;
    uint32_t result = 0;
    for (unsigned k = 0; k < 4; ++k) {
        const uint32_t selector = selectors >> (4 * k);
        uint32_t byte = uint32_t(bytes >> (8 * (selector & 7))) & 0xff;
        if (selector & 8) byte = byte & 0x80 ? 0xff : 0;  // its sign, eight times
        result |= byte << (8 * k);
    }
    return result;
}

uint32_t bit_field(uint32_t value, uint32_t position, uint32_t length) {
    position &= 0xff, length &= 0xff;
    if (position > 31 || length == 0) return 0;
    value >>= position;
    return length > 31 ? value : value & ((1u << length) - 1);
}

}  // namespace

void add_arithmetic(Forms& table) {
    each_integer([&]<class T>(const std::string& t) {
        table["add." + t] = elementwise<T(T, T)>([](T a, T b) { return T(a + b); });
        table["sub." + t] = elementwise<T(T, T)>([](T a, T b) { return T(a - b); });
        table["mul.lo." + t] = elementwise<T(T, T)>([](T a, T b) { return T(uint64_t(a) * uint64_t(b)); });
        table["mad.lo." + t] =
            elementwise<T(T, T, T)>([](T a, T b, T c) { return T(uint64_t(a) * uint64_t(b) + uint64_t(c)); });
        table["mul.hi." + t] = elementwise<T(T, T)>([](T a, T b) {
            using Wide = typename Twice<T>::type;
            return T((Wide(a) * Wide(b)) >> (8 * sizeof(T)));
        });
        if constexpr (sizeof(T) < 8) {
            using Wide = typename Twice<T>::type;
            table["mul.wide." + t] = elementwise<Wide(T, T)>([](T a, T b) { return Wide(Wide(a) * Wide(b)); });
            table["mad.wide." + t] =
                elementwise<Wide(T, T, Wide)>([](T a, T b, Wide c) { return Wide(Wide(a) * Wide(b) + c); });
        }
        table["div." + t] = elementwise<T(T, T)>([](T a, T b) { return quotient(a, b); });
        table["rem." + t] = elementwise<T(T, T)>([](T a, T b) { return remainder(a, b); });
        table["min." + t] = elementwise<T(T, T)>([](T a, T b) { return std::min(a, b); });
        table["max." + t] = elementwise<T(T, T)>([](T a, T b) { return std::max(a, b); });
        if constexpr (std::is_signed_v<T>) {
            table["neg." + t] = elementwise<T(T)>([](T a) { return T(0 - a); });
            table["abs." + t] = elementwise<T(T)>([](T a) { return T(a < 0 ? 0 - a : a); });
        }
        table["shr." + t] = elementwise<T(T, uint32_t)>([](T a, uint32_t n) {
            constexpr uint32_t width = 8 * sizeof(T);
            if constexpr (std::is_signed_v<T>) return T(a >> std::min(n, width - 1));
            return n < width ? T(a >> n) : T(0);
        });
        table["selp." + t] = elementwise<T(T, T, Predicate)>([](T a, T b, bool p) { return p ? a : b; });
    });
    each_bits([&]<class T>(const std::string& t) {
        table["and." + t] = elementwise<T(T, T)>([](T a, T b) { return T(a & b); });
        table["or." + t] = elementwise<T(T, T)>([](T a, T b) { return T(a | b); });
        table["xor." + t] = elementwise<T(T, T)>([](T a, T b) { return T(a ^ b); });
        table["not." + t] = elementwise<T(T)>([](T a) { return T(~a); });
        table["shl." + t] =
            elementwise<T(T, uint32_t)>([](T a, uint32_t n) { return n < 8 * sizeof(T) ? T(a << n) : T(0); });
        table["shr." + t] = table["shr.u" + t.substr(1)];
        table["selp." + t] = table["selp.u" + t.substr(1)];
    });
    using P = Predicate;
    table["and.pred"] = elementwise<P(P, P)>([](bool a, bool b) { return bool(a & b); });
    table["or.pred"] = elementwise<P(P, P)>([](bool a, bool b) { return bool(a | b); });
    table["xor.pred"] = elementwise<P(P, P)>([](bool a, bool b) { return a != b; });
    table["not.pred"] = elementwise<P(P)>([](bool a) { return !a; });
    table["mov.pred"] = elementwise<P(P)>([](bool a) { return a; });
    table["selp.f32"] = table["selp.u32"];
    table["selp.f64"] = table["selp.u64"];
    table["cvta.to.global.u64"] = elementwise<uint64_t(uint64_t)>([](uint64_t a) { return a; });
    table["bfe.u32"] = elementwise<uint32_t(uint32_t, uint32_t, uint32_t)>(
        [](uint32_t a, uint32_t b, uint32_t c) { return bit_field(a, b, c); });
    table["prmt.b32"] = elementwise<uint32_t(uint32_t, uint32_t, uint32_t)>(
        [](uint32_t a, uint32_t b, uint32_t c) { return permuted(a, b, c); });
    using Funnel = uint32_t(uint32_t, uint32_t, uint32_t);
    const auto wrapped = [](uint32_t n) { return n & 31; };
    const auto clamped = [](uint32_t n) { return n < 32 ? n : 32; };
    const auto each_mode = [&]<class Bits>(const std::string& mode, Bits) {
        table["shf.l" + mode] = elementwise<Funnel>(
            [](uint32_t a, uint32_t b, uint32_t n) { return uint32_t(joined(a, b) << Bits{}(n) >> 32); });
        table["shf.r" + mode] =
            elementwise<Funnel>([](uint32_t a, uint32_t b, uint32_t n) { return uint32_t(joined(a, b) >> Bits{}(n)); });
    };
    each_mode(".wrap.b32", wrapped), each_mode(".clamp.b32", clamped);
}

}  // namespace ptx
