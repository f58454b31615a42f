// Runs one opcode of virtual_gpu/ptx for all combinations of corner values of its operands, and compares with C++.
#pragma once

#include <cmath>
#include <limits>
#include <set>
#include <tuple>

#include "tests/ptx_fixture.h"

inline std::set<std::string> tested;  // opcodes

struct Half {
    uint16_t bits;
};
struct Brain {
    uint16_t bits;
};

template <class T>
std::string type_name() {
    if constexpr (std::is_same_v<T, bool>) return "pred";
    if constexpr (std::is_same_v<T, Half>) return "f16";
    if constexpr (std::is_same_v<T, Brain>) return "bf16";
    return (std::is_floating_point_v<T> ? "f" : std::is_signed_v<T> ? "s" : "u") + std::to_string(8 * sizeof(T));
}
template <class T>
std::string reg(int n) {
    return (std::is_same_v<T, bool> ? "%p" : sizeof(T) == 2 ? "%h" : sizeof(T) == 4 ? "%r" : "%rd") + std::to_string(n);
}
template <class T>
std::vector<T> corners() {
    std::vector<T> values;
    if constexpr (std::is_same_v<T, bool>) {
        values = {false, true};
    } else if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, Brain>) {
        for (unsigned bits = 0; bits < 65536; ++bits) values.push_back({uint16_t(bits)});
    } else if constexpr (std::is_floating_point_v<T>) {
        using Limits = std::numeric_limits<T>;
        for (const T x : {T(0),
                          Limits::denorm_min(),
                          T(3) * Limits::denorm_min(),
                          Limits::min() / 2,
                          Limits::min(),
                          T(1e-30),
                          T(1e-8),
                          T(6e-8),
                          T(0.1),
                          T(0.5),
                          T(1),
                          T(1) + Limits::epsilon(),
                          T(1.5),
                          T(2.5),
                          T(3),
                          T(127),
                          T(65519),
                          T(65520),
                          T(2147483520),
                          T(4294967296),
                          T(9.3e18),
                          T(1.9e19),
                          Limits::max() / 3,
                          Limits::max(),
                          Limits::infinity()})
            values.push_back(x), values.push_back(-x);
        values.push_back(Limits::quiet_NaN());
    } else {
        for (const int64_t x : {0, 1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 0x1234})
            values.push_back(T(x)), values.push_back(T(-x));
        for (const T x : {std::numeric_limits<T>::min(), std::numeric_limits<T>::max()})
            values.push_back(x), values.push_back(T(x ^ 1)), values.push_back(T(x / 3));
    }
    return values;
}
template <class T>
bool same(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
        if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
    return std::memcmp(&a, &b, sizeof a) == 0;
}
template <class T>
double shown(T a) {
    if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, Brain>)
        return a.bits;
    else
        return double(a);
}

// All combinations of corner values, in blocks of 80 threads: the last warp is half empty.
template <class R, class... A, class F>
void check(const std::string& opcode, const F& reference, double ulps = 0) {
    tested.insert(opcode);
    std::vector<std::tuple<A...>> cases = {std::tuple<A...>()};
    [&]<size_t... k>(std::index_sequence<k...>) {
        (([&] {
             std::vector<std::tuple<A...>> more;
             for (auto c : cases)
                 for (const auto& value : corners<A>()) {
                     std::get<k>(c) = value;
                     more.push_back(c);
                 }
             cases = std::move(more);
         }()),
         ...);
    }
    (std::index_sequence_for<A...>());
    const size_t blocks = (cases.size() + 79) / 80, count = blocks * 80;
    const size_t real = cases.size();
    cases.resize(count, cases[0]);

    std::string body =
        "mov.u32 %r16, %tid.x;\nmov.u32 %r17, %ctaid.x;\nmad.lo.s32 %r16, %r17, 80, %r16;\n"
        "mul.wide.u32 %rd16, %r16, 8;\n";
    std::string parameters = ".param .u64 out", list;
    int n = 0;
    const auto argument = [&]<class T>() {
        const std::string number = std::to_string(n), name = reg<T>(n);
        parameters += ", .param .u64 in" + number;
        body += "ld.param.u64 %rd17, [in" + number + "];\nadd.s64 %rd17, %rd17, %rd16;\n";
        if constexpr (std::is_same_v<T, bool>)
            body += "ld.global.u32 %r18, [%rd17];\nsetp.ne.u32 " + name + ", %r18, 0;\n";
        else
            body += "ld.global.b" + std::to_string(8 * sizeof(T)) + " " + name + ", [%rd17];\n";
        list += ", " + name;
        ++n;
    };
    (argument.template operator()<A>(), ...);
    const std::string out = reg<R>(10);
    body += opcode + " " + out + list + ";\nld.param.u64 %rd17, [out];\nadd.s64 %rd17, %rd17, %rd16;\n";
    if constexpr (std::is_same_v<R, bool>)
        body += "selp.u32 %r18, 1, 0, " + out + ";\nst.global.u32 [%rd17], %r18;\n";
    else
        body += "st.global.b" + std::to_string(8 * sizeof(R)) + " [%rd17], " + out + ";\n";

    std::vector<std::unique_ptr<DeviceArray<uint64_t>>> in;
    const DeviceArray<uint64_t> result(std::vector<uint64_t>(count, 0));
    std::vector<void*> pointers = {result.get()};
    [&]<size_t... k>(std::index_sequence<k...>) {
        (([&] {
             std::vector<uint64_t> bits(count, 0);
             for (size_t i = 0; i < count; ++i) std::memcpy(&bits[i], &std::get<k>(cases[i]), sizeof(A));
             pointers.push_back(in.emplace_back(std::make_unique<DeviceArray<uint64_t>>(bits))->get());
         }()),
         ...);
    }
    (std::index_sequence_for<A...>());
    ASSERT_NO_THROW(launch(kernel_text(body, parameters), {unsigned(blocks)}, {80}, pointers)) << opcode;
    const std::vector<uint64_t> got = result.host();
    for (size_t i = 0; i < real; ++i) {
        R value{};
        std::memcpy(&value, &got[i], sizeof value);
        const R want = std::apply(reference, cases[i]);
        if (same(value, want)) continue;
        if constexpr (std::is_same_v<R, float>)
            if (ulps > 0 && std::fabs(double(value) - double(want)) <= ulps * std::fabs(double(want)) * 0x1p-23)
                continue;
        std::string operands;
        std::apply([&](const auto&... a) { ((operands += " " + std::to_string(shown(a))), ...); }, cases[i]);
        FAIL() << opcode << operands << ": expected " << shown(want) << ", got " << shown(value);
    }
}

template <class Body>
void integers(const Body& body) {
    body.template operator()<uint16_t>(), body.template operator()<int16_t>(), body.template operator()<uint32_t>();
    body.template operator()<int32_t>(), body.template operator()<uint64_t>(), body.template operator()<int64_t>();
}
template <class Body>
void bits(const Body& body) {
    body.template operator()<uint16_t>("b16"), body.template operator()<uint32_t>("b32");
    body.template operator()<uint64_t>("b64");
}
template <class Body>
void floats(const Body& body) {
    body.template operator()<float>(), body.template operator()<double>();
}
