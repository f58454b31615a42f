// Random numbers as pure functions of keys: without shared state, neither order nor threads can change them.
// Source: splitmix64, https://prng.di.unimi.it/splitmix64.c
#pragma once

#include <cstdint>

constexpr uint64_t kSplitmixStep = 0x9e3779b97f4a7c15;

// The output function: a bijection that scatters neighbouring inputs.
inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

// The generator's next output from state z.
inline uint64_t splitmix64(uint64_t z) { return mix(z + kSplitmixStep); }

// One stream of draws per (seed, a, b); streams are independent of each other.
class Draws {
public:
    Draws(uint64_t seed, uint64_t a, uint64_t b = 0) : state_(splitmix64(splitmix64(splitmix64(seed) + a) + b)) {}

    uint64_t bits() { return mix(state_ += kSplitmixStep); }
    uint64_t below(uint64_t n) { return uint64_t((unsigned __int128)(bits()) * n >> 64); }
    double uniform() { return double(bits() >> 11) * 0x1p-53; }  // [0, 1)
    double between(double low, double high) { return low + (high - low) * uniform(); }

private:
    uint64_t state_;
};
