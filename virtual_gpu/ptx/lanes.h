// Registers as lanes, and functions of numbers as handlers over all lanes of a warp. g++ turns the loops into vectors.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

#include "forms.h"
#include "warp.h"

namespace ptx {

struct Predicate {};
struct Half {  // f16 in a register of 16 bits
    uint16_t bits;
};
struct Brain {  // bf16
    uint16_t bits;
};

template <class T>
struct Number {
    using type = T;  // what operations see
    static constexpr uint8_t bytes = sizeof(T);
};
template <>
struct Number<Predicate> {
    using type = bool;
    static constexpr uint8_t bytes = 1;
};
template <class T>
using Value = typename Number<T>::type;
template <class T>
using Lane = std::conditional_t<Number<T>::bytes == 8, uint64_t, uint32_t>;

template <class T>
inline Value<T> from_lane(Lane<T> lane) {
    if constexpr (std::is_same_v<T, Predicate>)
        return lane != 0;
    else if constexpr (sizeof(T) == sizeof lane)
        return std::bit_cast<T>(lane);
    else if constexpr (sizeof(T) == 2)
        return std::bit_cast<T>(uint16_t(lane));
    else
        return std::bit_cast<T>(uint8_t(lane));
}
template <class T>
inline Lane<T> to_lane(Value<T> value) {
    if constexpr (std::is_same_v<T, Predicate>)
        return value ? ~0u : 0u;
    else if constexpr (sizeof(T) == sizeof(Lane<T>))
        return std::bit_cast<Lane<T>>(value);
    else if constexpr (sizeof(T) == 2)
        return std::bit_cast<uint16_t>(value);
    else
        return std::bit_cast<uint8_t>(value);
}

template <class F, class R, class... A>
void over_lanes(const Warp& warp, Lane<R>* __restrict__ out, const Lane<A>*... in) {
    alignas(64) Lane<R> result[32];  // an operand may be the output
#pragma GCC ivdep
    for (unsigned l = 0; l < 32; ++l) result[l] = to_lane<R>(F{}(from_lane<A>(in[l])...));
    if (warp.mask == ~0u) {
        std::memcpy(out, result, sizeof result);
    } else {
#pragma GCC ivdep
        for (unsigned l = 0; l < 32; ++l) out[l] = warp.lanes[l] ? result[l] : out[l];
    }
}

template <class F, class R, class... A>
void elementwise_handler(Warp& warp, const Instruction& i) {
    [&]<size_t... k>(std::index_sequence<k...>) {
        over_lanes<F, R, A...>(warp, warp.at<Lane<R>>(i.out), warp.at<Lane<A>>(i.in[k])...);
    }
    (std::index_sequence_for<A...>());
}

// The form of a function without captures: elementwise<int(int, int)>([](int a, int b) { return a + b; }).
template <class Signature>
struct FormOf;
template <class R, class... A>
struct FormOf<R(A...)> {
    template <class F>
    static Form make() {
        return {.layout = Form::plain,
                .run = &elementwise_handler<F, R, A...>,
                .out = Number<R>::bytes,
                .in = {Number<A>::bytes...}};
    }
};
template <class Signature, class F>
Form elementwise(F) {
    return FormOf<Signature>::template make<F>();
}

// Calls body.operator()<T>("u32") for each type, under all names of its registers' types.
template <class Body>
void each_integer(const Body& body) {
    body.template operator()<uint16_t>("u16"), body.template operator()<int16_t>("s16");
    body.template operator()<uint32_t>("u32"), body.template operator()<int32_t>("s32");
    body.template operator()<uint64_t>("u64"), body.template operator()<int64_t>("s64");
}
template <class Body>
void each_bits(const Body& body) {
    body.template operator()<uint16_t>("b16"), body.template operator()<uint32_t>("b32");
    body.template operator()<uint64_t>("b64");
}
template <class Body>
void each_float(const Body& body) {
    body.template operator()<float>("f32"), body.template operator()<double>("f64");
}

// Half a number's worth of float and back; subnormals and infinities as IEEE 754 has them, NaN becomes 0x7fff.
float widened(Half);
float widened(Brain);
Half half_of(float);
Brain brain_of(float);

}  // namespace ptx
