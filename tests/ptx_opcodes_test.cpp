// Every opcode form of virtual_gpu/ptx against C++, with NaN, infinities, subnormals and shifts beyond the width. 2 s;
// needs neither nvcc nor a GPU: the PTX is written here.
#include <cfenv>
#include <cmath>
#include <limits>

#include "kernels/types.h"
#include "tests/ptx_check.h"
#include "virtual_gpu/ptx/forms.h"

namespace {

__extension__ using Wide = __int128;
__extension__ using UnsignedWide = unsigned __int128;

}  // namespace

TEST(PtxOpcodes, Integers) {
    integers([]<class T>() {
        using W = std::conditional_t<std::is_signed_v<T>, Wide, UnsignedWide>;
        const std::string t = "." + type_name<T>();
        constexpr unsigned width = 8 * sizeof(T);
        check<T, T, T>("add" + t, [](T a, T b) { return T(W(a) + W(b)); });
        check<T, T, T>("sub" + t, [](T a, T b) { return T(W(a) - W(b)); });
        check<T, T, T>("mul.lo" + t, [](T a, T b) { return T(UnsignedWide(a) * UnsignedWide(b)); });
        check<T, T, T>("mul.hi" + t, [](T a, T b) {
            if constexpr (sizeof(T) == 8 && !std::is_signed_v<T>) return T((UnsignedWide(a) * b) >> 64);
            return T((Wide(a) * Wide(b)) >> width);
        });
        check<T, T, T, T>("mad.lo" + t,
                          [](T a, T b, T c) { return T(UnsignedWide(a) * UnsignedWide(b) + UnsignedWide(c)); });
        check<T, T, T>("min" + t, [](T a, T b) { return a < b ? a : b; });
        check<T, T, T>("max" + t, [](T a, T b) { return a < b ? b : a; });
        check<T, T, T>("div" + t, [](T a, T b) { return b == 0 ? T(-1) : T(W(a) / W(b)); });
        check<T, T, T>("rem" + t, [](T a, T b) { return b == 0 ? a : T(W(a) % W(b)); });
        check<T, T, uint32_t>("shr" + t, [](T a, uint32_t n) {
            return n >= width ? T(std::is_signed_v<T> && a < 0 ? -1 : 0) : T(W(a) >> n);
        });
        check<T, T, T, bool>("selp" + t, [](T a, T b, bool p) { return p ? a : b; });
        check<T, T>("mov" + t, [](T a) { return a; });
        if constexpr (std::is_signed_v<T>) {
            check<T, T>("neg" + t, [](T a) { return T(-W(a)); });
            check<T, T>("abs" + t, [](T a) { return T(a < 0 ? -W(a) : W(a)); });
        }
        if constexpr (sizeof(T) < 8) {
            using U = std::conditional_t<sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>,
                                         std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;
            check<U, T, T>("mul.wide" + t, [](T a, T b) { return U(W(a) * W(b)); });
            check<U, T, T, U>("mad.wide" + t, [](T a, T b, U c) { return U(W(a) * W(b) + W(c)); });
        }
    });
    bits([]<class T>(const std::string& t) {
        constexpr unsigned width = 8 * sizeof(T);
        check<T, T, T>("and." + t, [](T a, T b) { return T(a & b); });
        check<T, T, T>("or." + t, [](T a, T b) { return T(a | b); });
        check<T, T, T>("xor." + t, [](T a, T b) { return T(a ^ b); });
        check<T, T>("not." + t, [](T a) { return T(~a); });
        check<T, T>("mov." + t, [](T a) { return a; });
        check<T, T, uint32_t>("shl." + t, [](T a, uint32_t n) { return n >= width ? T(0) : T(UnsignedWide(a) << n); });
        check<T, T, uint32_t>("shr." + t, [](T a, uint32_t n) { return n >= width ? T(0) : T(a >> n); });
        check<T, T, T, bool>("selp." + t, [](T a, T b, bool p) { return p ? a : b; });
    });
    check<bool, bool, bool>("and.pred", [](bool a, bool b) { return a && b; });
    check<bool, bool, bool>("or.pred", [](bool a, bool b) { return a || b; });
    check<bool, bool, bool>("xor.pred", [](bool a, bool b) { return a != b; });
    check<bool, bool>("not.pred", [](bool a) { return !a; });
    check<bool, bool>("mov.pred", [](bool a) { return a; });
    check<uint64_t, uint64_t>("cvta.to.global.u64", [](uint64_t a) { return a; });
    check<uint32_t, uint32_t, uint32_t, uint32_t>("bfe.u32", [](uint32_t a, uint32_t from, uint32_t count) {
        uint32_t result = 0;
        for (unsigned k = 0; k < (count & 255) && k < 32; ++k)
            if ((from & 255) + k < 32) result |= (a >> ((from & 255) + k) & 1) << k;
        return result;
    });
    check<uint32_t, uint32_t, uint32_t, uint32_t>("prmt.b32", [](uint32_t a, uint32_t b, uint32_t selectors) {
        uint8_t bytes[8], out[4];
        std::memcpy(bytes, &a, 4), std::memcpy(bytes + 4, &b, 4);
        for (int k = 0; k < 4; ++k) {
            const uint32_t s = selectors >> (4 * k) & 15;
            out[k] = s < 8 ? bytes[s] : uint8_t(int8_t(bytes[s - 8]) >> 7);
        }
        uint32_t result;
        std::memcpy(&result, out, 4);
        return result;
    });
    for (const bool wrap : {true, false}) {
        const std::string mode = wrap ? ".wrap.b32" : ".clamp.b32";
        const auto bits = [=](uint32_t n) { return wrap ? n % 32 : std::min(n, 32u); };
        check<uint32_t, uint32_t, uint32_t, uint32_t>("shf.l" + mode, [=](uint32_t a, uint32_t b, uint32_t c) {
            const uint32_t n = bits(c);
            return n == 0 ? b : n == 32 ? a : b << n | a >> (32 - n);
        });
        check<uint32_t, uint32_t, uint32_t, uint32_t>("shf.r" + mode, [=](uint32_t a, uint32_t b, uint32_t c) {
            const uint32_t n = bits(c);
            return n == 0 ? a : n == 32 ? b : a >> n | b << (32 - n);
        });
    }
}

TEST(PtxOpcodes, Comparisons) {
    const auto ordered = []<class T>() {
        const std::string t = "." + type_name<T>();
        check<bool, T, T>("setp.eq" + t, [](T a, T b) { return a == b; });
        check<bool, T, T>("setp.lt" + t, [](T a, T b) { return a < b; });
        check<bool, T, T>("setp.le" + t, [](T a, T b) { return a <= b; });
        check<bool, T, T>("setp.gt" + t, [](T a, T b) { return a > b; });
        check<bool, T, T>("setp.ge" + t, [](T a, T b) { return a >= b; });
        const auto nan = [](T a, T b) { return a != a || b != b; };
        check<bool, T, T>("setp.ne" + t, [=](T a, T b) { return a != b && !nan(a, b); });
        if constexpr (std::is_floating_point_v<T>) {
            check<bool, T, T>("setp.equ" + t, [=](T a, T b) { return nan(a, b) || a == b; });
            check<bool, T, T>("setp.neu" + t, [=](T a, T b) { return nan(a, b) || a != b; });
            check<bool, T, T>("setp.ltu" + t, [=](T a, T b) { return nan(a, b) || a < b; });
            check<bool, T, T>("setp.leu" + t, [=](T a, T b) { return nan(a, b) || a <= b; });
            check<bool, T, T>("setp.gtu" + t, [=](T a, T b) { return nan(a, b) || a > b; });
            check<bool, T, T>("setp.geu" + t, [=](T a, T b) { return nan(a, b) || a >= b; });
            check<bool, T, T>("setp.nan" + t, [=](T a, T b) { return nan(a, b); });
            check<bool, T, T>("setp.num" + t, [=](T a, T b) { return !nan(a, b); });
        }
    };
    integers(ordered);
    floats(ordered);
    bits([]<class T>(const std::string& t) {
        check<bool, T, T>("setp.eq." + t, [](T a, T b) { return a == b; });
        check<bool, T, T>("setp.ne." + t, [](T a, T b) { return a != b; });
    });
}

TEST(PtxOpcodes, Floats) {
    floats([]<class T>() {
        const std::string t = type_name<T>();
        for (const std::string r : {".", ".rn."}) {
            check<T, T, T>("add" + r + t, [](T a, T b) { return a + b; });
            check<T, T, T>("sub" + r + t, [](T a, T b) { return a - b; });
            check<T, T, T>("mul" + r + t, [](T a, T b) { return a * b; });
        }
        check<T, T, T, T>("fma.rn." + t, [](T a, T b, T c) { return std::fma(a, b, c); });
        check<T, T, T>("div.rn." + t, [](T a, T b) { return a / b; });
        check<T, T>("rcp.rn." + t, [](T a) { return 1 / a; });
        check<T, T>("sqrt.rn." + t, [](T a) { return std::sqrt(a); });
        check<T, T>("neg." + t, [](T a) { return -a; });
        check<T, T>("abs." + t, [](T a) { return std::fabs(a); });
        check<T, T>("mov." + t, [](T a) { return a; });
        check<T, T, T, bool>("selp." + t, [](T a, T b, bool p) { return p ? a : b; });
        check<T, T, T>("copysign." + t, [](T sign, T b) { return std::signbit(sign) ? -std::fabs(b) : std::fabs(b); });
        // A NaN loses against a number, and -0 is less than +0.
        check<T, T, T>("min." + t, [](T a, T b) {
            return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? a : b) : a < b ? a : b;
        });
        check<T, T, T>("max." + t, [](T a, T b) {
            return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? b : a) : a < b ? b : a;
        });
    });
}

// Against the CPU in the other rounding mode.
TEST(PtxOpcodes, DirectedRounding) {
    for (const auto& [name, mode] : {std::pair{"rz", FE_TOWARDZERO}, {"rm", FE_DOWNWARD}, {"rp", FE_UPWARD}}) {
        const auto rounded = [mode = mode](const auto& f) {
            return [=](float a, float b, float c) {
                volatile float x = a, y = b, z = c;
                std::fesetround(mode);
                volatile float result = f(x, y, z);
                std::fesetround(FE_TONEAREST);
                return float(result);
            };
        };
        const auto sum = rounded([](float a, float b, float) { return a + b; });
        check<float, float, float>("add." + std::string(name) + ".f32", [=](float a, float b) { return sum(a, b, 0); });
        check<float, float, float, float>("fma." + std::string(name) + ".f32",
                                          rounded([](float a, float b, float c) { return std::fma(a, b, c); }));
    }
}

TEST(PtxOpcodes, Approximations) {
    const auto flush = [](float x) {
        return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.f, x) : x;
    };
    for (const int off : {0, 2}) {
        ptx::config().off_by = off;
        const double ulps = off + 1;
        using F = float;
        check<F, F>(
            "ex2.approx.f32", [](F a) { return F(std::exp2(double(a))); }, ulps);
        check<F, F>(
            "ex2.approx.ftz.f32", [=](F a) { return flush(F(std::exp2(double(a)))); }, ulps);
        check<F, F>(
            "lg2.approx.f32", [](F a) { return F(std::log2(double(a))); }, ulps);
        check<F, F>(
            "rcp.approx.f32", [](F a) { return F(1 / double(a)); }, ulps);
        check<F, F>(
            "rcp.approx.ftz.f32", [=](F a) { return flush(F(1 / double(flush(a)))); }, ulps);
        check<F, F>(
            "sqrt.approx.f32", [](F a) { return F(std::sqrt(double(a))); }, ulps);
        check<F, F>(
            "rsqrt.approx.f32", [](F a) { return F(1 / std::sqrt(double(a))); }, ulps);
        check<F, F, F>(
            "div.approx.f32", [](F a, F b) { return F(double(a) / double(b)); }, ulps);
    }
    ptx::config().off_by = 0;
}

TEST(PtxOpcodes, Conversions) {
    integers([]<class A>() {
        const std::string from = "." + type_name<A>();
        integers([&]<class R>() {
            if (!std::is_same_v<R, A>) check<R, A>("cvt." + type_name<R>() + from, [](A a) { return R(a); });
        });
        check<float, A>("cvt.rn.f32" + from, [](A a) { return float(a); });
        check<double, A>("cvt.rn.f64" + from, [](A a) { return double(a); });
    });
    floats([]<class A>() {
        const std::string from = "." + type_name<A>();
        const auto each_rounding = [&]<class R>(const auto& convert) {
            const std::string types = type_name<R>() + from;
            check<R, A>("cvt.rni." + types, [=](A a) { return convert(std::nearbyint((long double)(a))); });
            check<R, A>("cvt.rzi." + types, [=](A a) { return convert(std::trunc((long double)(a))); });
            check<R, A>("cvt.rmi." + types, [=](A a) { return convert(std::floor((long double)(a))); });
            check<R, A>("cvt.rpi." + types, [=](A a) { return convert(std::ceil((long double)(a))); });
        };
        integers([&]<class R>() {
            each_rounding.template operator()<R>([](long double x) {
                using Limits = std::numeric_limits<R>;
                return x != x ? R(0) : x < Limits::min() ? Limits::min() : x > Limits::max() ? Limits::max() : R(x);
            });
        });
        each_rounding.template operator()<A>([](long double x) { return A(x); });
        check<A, A>("cvt.sat" + from + from,
                    [](A a) { return a != a ? A(0) : std::fmin(A(1), std::fmax(A(0), a)) + 0; });
    });
    check<float, double>("cvt.rn.f32.f64", [](double a) { return float(a); });
    check<double, float>("cvt.f64.f32", [](float a) { return double(a); });
    check<float, Half>("cvt.f32.f16", [](Half a) {
        fp16 h;
        h.bits = a.bits;
        return float(h);
    });
    check<float, Brain>("cvt.f32.bf16", [](Brain a) {
        bf16 b;
        b.bits = a.bits;
        return float(b);
    });
    check<Half, float>("cvt.rn.f16.f32", [](float a) { return Half{fp16(a).bits}; });
    check<Brain, float>("cvt.rn.bf16.f32", [](float a) { return Brain{bf16(a).bits}; });
    check<uint32_t, float, float>(
        "cvt.rn.f16x2.f32", [](float high, float low) { return uint32_t(fp16(high).bits) << 16 | fp16(low).bits; });
    check<uint32_t, float, float>(
        "cvt.rn.bf16x2.f32", [](float high, float low) { return uint32_t(bf16(high).bits) << 16 | bf16(low).bits; });
}

// Every 16-bit float whose neighbour's middle decides.
TEST(PtxOpcodes, RoundingToSixteenBits) {
    std::vector<float> values;
    for (uint32_t h = 0; h < 0x7c00; ++h) {
        fp16 a, b;
        a.bits = uint16_t(h), b.bits = uint16_t(h + 1);
        const float middle = (float(a) + float(b)) / 2;
        for (const float x : {middle, std::nextafter(middle, 0.f), std::nextafter(middle, 1e9f)})
            if (std::isfinite(x)) values.push_back(x), values.push_back(-x);
    }
    while (values.size() % 32) values.push_back(1);
    const DeviceArray<float> in(values);
    const DeviceArray<uint32_t> out(std::vector<uint32_t>(values.size()));
    launch(kernel_text("mov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %tid.x;\nmad.lo.s32 %r1, %r1, 32, %r2;\n"
                       "mul.wide.u32 %rd1, %r1, 4;\nld.param.u64 %rd2, [out];\nld.param.u64 %rd3, [in];\n"
                       "add.s64 %rd2, %rd2, %rd1;\nadd.s64 %rd3, %rd3, %rd1;\nld.global.f32 %r3, [%rd3];\n"
                       "cvt.rn.f16x2.f32 %r4, %r3, %r3;\nst.global.u32 [%rd2], %r4;\n",
                       ".param .u64 out, .param .u64 in"),
           {unsigned(values.size() / 32)}, {32}, {out.get(), in.get()});
    const auto got = out.host();
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(got[i], fp16(values[i]).bits * 0x10001u) << values[i];
}

// Loads, stores and what lanes do together: tests/ptx_execution_test.cpp.
TEST(PtxOpcodesEnd, NoneIsUntested) {
    for (const auto& [opcode, form] : ptx::forms()) {
        const bool of_decoder = opcode.starts_with("pack.") || opcode.starts_with("unpack.");
        if (form.layout == ptx::Form::vector_move || (form.layout == ptx::Form::plain && !of_decoder)) {
            EXPECT_TRUE(tested.contains(opcode)) << opcode;
        }
    }
}
