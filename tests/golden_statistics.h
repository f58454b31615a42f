// The pseudorandom numbers of tests/golden/README.md, and the statistics of tensors that follow from them.
#pragma once

#include <cmath>

#include "engine/graph.h"
#include "tests/golden.h"

inline uint64_t golden_key(const std::string& text) {  // FNV-1a
    uint64_t key = 0xcbf29ce484222325u;
    for (unsigned char c : text) key = (key ^ c) * 0x100000001b3u;
    return key;
}
inline uint64_t golden_bits(uint64_t key, size_t i) {  // splitmix64
    uint64_t z = key + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

inline std::vector<float> nhwc_to_nchw(const std::vector<float>& x, const Shape& s) {  // s: (n, h, w, c)
    if (s.size() != 4) return x;
    std::vector<float> y(x.size());
    for (size_t n = 0; n < s[0]; ++n)
        for (size_t p = 0; p < s[1] * s[2]; ++p)
            for (size_t c = 0; c < s[3]; ++c) y[(n * s[3] + c) * s[1] * s[2] + p] = x[(n * s[1] * s[2] + p) * s[3] + c];
    return y;
}

// Compares numbers in the file's order to what the file says of them, relative to their Euclidean norm. `name` is that
// of the statistics, "tap/layer1": the signs of signed_sum follow from it.
inline void expect_statistics(const std::string& name, const std::vector<float>& got, const nlohmann::json& want,
                              double l2_tolerance, double element_tolerance) {
    ASSERT_EQ(got.size(), want.at("n").get<size_t>()) << name;
    const uint64_t key = golden_key("0/sign/" + name);
    double squares = 0, signed_sum = 0;
    for (size_t i = 0; i < got.size(); ++i) {
        squares += double(got[i]) * got[i];
        signed_sum += golden_bits(key, i) >> 63 ? -double(got[i]) : double(got[i]);
    }
    const double l2 = want.at("l2");
    EXPECT_NEAR(std::sqrt(squares), l2, l2_tolerance * l2) << name << " l2";
    EXPECT_NEAR(signed_sum, want.at("signed_sum").get<double>(), element_tolerance * l2) << name << " signed_sum";
    for (const auto& [index, value] : want.at("at").items())
        EXPECT_NEAR(got[std::stoul(index)], value.get<double>(), element_tolerance * l2) << name << "[" << index << "]";
}
