// The 2-D raster toolkit of `tundra synth`: repeatable random numbers, noise, soft-edged shapes, blending, blur.
// Pixels are linear light, x to the right, y down, and a pixel's centre lies at (x + 0.5, y + 0.5).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"

struct Vec2 {
    float x = 0, y = 0;
    Vec2 operator+(Vec2 o) const { return {x + o.x, y + o.y}; }
    Vec2 operator-(Vec2 o) const { return {x - o.x, y - o.y}; }
    Vec2 operator*(float s) const { return {x * s, y * s}; }
};
inline float dot(Vec2 a, Vec2 b) { return a.x * b.x + a.y * b.y; }
inline float length(Vec2 v) { return std::sqrt(dot(v, v)); }

struct Color {
    float r = 0, g = 0, b = 0;
    Color operator+(Color o) const { return {r + o.r, g + o.g, b + o.b}; }
    Color operator*(Color o) const { return {r * o.r, g * o.g, b * o.b}; }
    Color operator*(float s) const { return {r * s, g * s, b * s}; }
    float luma() const { return 0.3f * r + 0.59f * g + 0.11f * b; }
};

inline float mix(float a, float b, float t) { return a + (b - a) * t; }
inline Color mix(Color a, Color b, float t) { return a * (1 - t) + b * t; }
inline Vec2 mix(Vec2 a, Vec2 b, float t) { return a + (b - a) * t; }
inline float saturate(float v) { return std::clamp(v, 0.0f, 1.0f); }
inline float smooth_step(float lo, float hi, float v) {
    const float t = saturate((v - lo) / (hi - lo));
    return t * t * (3 - 2 * t);
}

// Random numbers by counting: draw n of a stream is a function of (key, n) alone, so threads cannot change it.
class Rng {
public:
    explicit Rng(uint64_t key) : key_(splitmix64(key)) {}
    uint64_t bits() { return splitmix64(key_ + count_++ * kSplitmixStep); }
    uint32_t seed() { return static_cast<uint32_t>(bits() >> 32); }
    float uniform() { return static_cast<float>(bits() >> 40) * 0x1p-24f; }  // [0, 1)
    float uniform(float low, float high) { return mix(low, high, uniform()); }
    int below(int count) { return static_cast<int>(bits() % static_cast<uint64_t>(count)); }
    bool chance(float probability) { return uniform() < probability; }
    float normal();  // mean 0, deviation 1, within +-3.5: a sum of uniforms, so that no library's tail decides
    size_t weighted(std::span<const float> weights);
    Rng split(uint64_t stream) const { return Rng(key_ ^ splitmix64(stream + 0x51ed270b)); }

private:
    uint64_t key_;
    uint64_t count_ = 0;
};

// Noise in [0, 1]: a hash of the lattice; its smooth interpolation (period 1); octaves of it, each half as large.
float lattice_noise(int x, int y, uint32_t seed);
float value_noise(float x, float y, uint32_t seed);
float fractal_noise(float x, float y, uint32_t seed, int octaves);

struct Raster {
    int width = 0, height = 0;
    std::vector<Color> pixels;
    Raster() = default;
    Raster(int width, int height) : width(width), height(height), pixels(size_t(width) * height) {}
    Color& at(int x, int y) { return pixels[size_t(y) * width + x]; }
    const Color& at(int x, int y) const { return pixels[size_t(y) * width + x]; }
    Color sample(float x, float y) const;  // bilinear, edges repeated
};

// Half-open rectangle of pixels.
struct Bounds {
    int left = 0, top = 0, right = 0, bottom = 0;
    bool empty() const { return left >= right || top >= bottom; }
    Bounds clipped(int width, int height) const {
        return {std::max(left, 0), std::max(top, 0), std::min(right, width), std::min(bottom, height)};
    }
};

// A limb: everything within a radius, from ra at a to rb at b, of the segment a-b. With a = b it is a disc.
struct Capsule {
    Vec2 a, b;
    float ra = 1, rb = 1;
};

// The share of a pixel that a shape covers, and the pixel's position on its round surface (0 centre, 1 rim).
struct Coverage {
    float alpha = 0;
    Vec2 normal;
};
Coverage cover(const Capsule& shape, Vec2 at);
Coverage cover(std::span<const Vec2> polygon, Vec2 at);
Bounds bounds_of(const Capsule& shape);
Bounds bounds_of(std::span<const Vec2> polygon);

// Calls visit(x, y, coverage) for the pixels inside width x height of which the shape covers something.
template <class Shape, class Visit>
void for_covered(const Shape& shape, int width, int height, Visit visit) {
    const Bounds box = bounds_of(shape).clipped(width, height);
    for (int y = box.top; y < box.bottom; ++y)
        for (int x = box.left; x < box.right; ++x) {
            const Coverage covered = cover(shape, {float(x) + 0.5f, float(y) + 0.5f});
            if (covered.alpha > 0) visit(x, y, covered);
        }
}

// Box blurs in both directions, repeated: close to a Gaussian.
void blur(Raster& image, float radius);
// A shake of the camera along a straight path of `length` pixels.
void motion_blur(Raster& image, float length, float angle);
// The image turned by `angle` about its middle and enlarged by `zoom` about `centre`.
Raster turned(const Raster& image, float angle, float zoom, Vec2 centre);
