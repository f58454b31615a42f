// Random numbers as a pure function of what they are for: no state, so no order and no thread can change them.
// Source: splitmix64, https://prng.di.unimi.it/splitmix64.c
#pragma once

#include <cstdint>

inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

// One stream of draws per (seed, a, b); streams are independent of each other.
class Draws {
public:
    Draws(uint64_t seed, uint64_t a, uint64_t b = 0) : state_(mix(mix(mix(seed + kStep) + a + kStep) + b + kStep)) {}

    uint64_t bits() { return mix(state_ += kStep); }
    uint64_t below(uint64_t n) { return uint64_t((unsigned __int128)(bits()) * n >> 64); }
    double uniform() { return double(bits() >> 11) * 0x1p-53; }  // [0, 1)
    double between(double low, double high) { return low + (high - low) * uniform(); }

private:
    static constexpr uint64_t kStep = 0x9e3779b97f4a7c15;
    uint64_t state_;
};
