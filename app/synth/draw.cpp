// Noise, coverage of shapes and blurs of the raster toolkit.
#include "app/synth/draw.h"

namespace {

// Mean over a window of radius r that slides along `count` pixels `stride` apart; edges are repeated.
void box_line(Color* line, int count, int stride, int radius, std::vector<Color>& copy) {
    copy.resize(size_t(count));
    for (int i = 0; i < count; ++i) copy[size_t(i)] = line[size_t(i) * stride];
    const auto read = [&](int i) { return copy[size_t(std::clamp(i, 0, count - 1))]; };
    Color sum;
    for (int i = -radius; i <= radius; ++i) sum = sum + read(i);
    const float scale = 1.0f / float(2 * radius + 1);
    for (int i = 0; i < count; ++i) {
        line[size_t(i) * stride] = sum * scale;
        sum = sum + read(i + radius + 1) + read(i - radius) * -1.0f;
    }
}

}  // namespace

float Rng::normal() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += uniform();
    return (sum - 2) * 1.7320508f;
}

size_t Rng::weighted(std::span<const float> weights) {
    float total = 0;
    for (float weight : weights) total += weight;
    float left = uniform() * total;
    for (size_t i = 0; i + 1 < weights.size(); ++i) {
        if (left < weights[i]) return i;
        left -= weights[i];
    }
    return weights.size() - 1;
}

float lattice_noise(int x, int y, uint32_t seed) {
    uint32_t h = uint32_t(x) * 0x8da6b343u ^ uint32_t(y) * 0xd8163841u ^ seed;
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    h = (h ^ (h >> 12)) * 0x297a2d39u;
    return float((h ^ (h >> 15)) >> 8) * 0x1p-24f;
}

float value_noise(float x, float y, uint32_t seed) {
    const float fx = std::floor(x), fy = std::floor(y);
    const int ix = int(fx), iy = int(fy);
    float u = x - fx, v = y - fy;
    u = u * u * (3 - 2 * u);
    v = v * v * (3 - 2 * v);
    const float top = mix(lattice_noise(ix, iy, seed), lattice_noise(ix + 1, iy, seed), u);
    const float low = mix(lattice_noise(ix, iy + 1, seed), lattice_noise(ix + 1, iy + 1, seed), u);
    return mix(top, low, v);
}

float fractal_noise(float x, float y, uint32_t seed, int octaves) {
    float sum = 0, weight = 0.5f, total = 0;
    for (int i = 0; i < octaves; ++i) {
        sum += weight * value_noise(x, y, seed + uint32_t(i) * 977u);
        total += weight;
        weight *= 0.5f;
        x = x * 2.03f + 11.7f;
        y = y * 1.97f + 5.3f;
    }
    return sum / total;
}

Color Raster::sample(float x, float y) const {
    x = std::clamp(x - 0.5f, 0.0f, float(width - 1));
    y = std::clamp(y - 0.5f, 0.0f, float(height - 1));
    const int x0 = int(x), y0 = int(y), x1 = std::min(x0 + 1, width - 1), y1 = std::min(y0 + 1, height - 1);
    const float u = x - float(x0), v = y - float(y0);
    return mix(mix(at(x0, y0), at(x1, y0), u), mix(at(x0, y1), at(x1, y1), u), v);
}

Coverage cover(const Capsule& shape, Vec2 at) {
    const Vec2 axis = shape.b - shape.a, from = at - shape.a;
    const float along = dot(axis, axis);
    const float t = along > 0 ? saturate(dot(from, axis) / along) : 0.0f;
    const float radius = mix(shape.ra, shape.rb, t);
    const Vec2 away = from - axis * t;
    const float distance = length(away);
    if (distance > radius + 0.5f) return {};
    // A limb thinner than a pixel covers only its width of it.
    const float alpha = std::min(saturate(radius - distance + 0.5f), saturate(2 * radius));
    return {alpha, away * (1 / std::max(radius, 0.5f))};
}

Coverage cover(std::span<const Vec2> polygon, Vec2 at) {
    float nearest = 1e30f;
    bool inside = false;
    for (size_t i = 0, j = polygon.size() - 1; i < polygon.size(); j = i++) {
        const Vec2 a = polygon[i], b = polygon[j], edge = b - a, from = at - a;
        const Vec2 off = from - edge * saturate(dot(from, edge) / std::max(dot(edge, edge), 1e-12f));
        nearest = std::min(nearest, dot(off, off));
        if ((a.y > at.y) != (b.y > at.y) && at.x < (b.x - a.x) * (at.y - a.y) / (b.y - a.y) + a.x) inside = !inside;
    }
    const float distance = std::sqrt(nearest) * (inside ? -1.0f : 1.0f);
    return {saturate(0.5f - distance), {0, 0}};
}

Bounds bounds_of(const Capsule& shape) {
    const float ra = shape.ra + 1, rb = shape.rb + 1;
    return {int(std::floor(std::min(shape.a.x - ra, shape.b.x - rb))),
            int(std::floor(std::min(shape.a.y - ra, shape.b.y - rb))),
            int(std::ceil(std::max(shape.a.x + ra, shape.b.x + rb))),
            int(std::ceil(std::max(shape.a.y + ra, shape.b.y + rb)))};
}

Bounds bounds_of(std::span<const Vec2> polygon) {
    Vec2 low = polygon[0], high = polygon[0];
    for (Vec2 p : polygon) {
        low = {std::min(low.x, p.x), std::min(low.y, p.y)};
        high = {std::max(high.x, p.x), std::max(high.y, p.y)};
    }
    return {int(std::floor(low.x)) - 1, int(std::floor(low.y)) - 1, int(std::ceil(high.x)) + 1,
            int(std::ceil(high.y)) + 1};
}

// Each is a box blur over `radius` pixels; three of them in a row come close to a Gaussian.
static void blur_horizontal(Raster& image, float radius) {
    const int r = std::min(int(radius + 0.5f), image.width);
    std::vector<Color> copy;
    if (r > 0)
        for (int y = 0; y < image.height; ++y) box_line(&image.at(0, y), image.width, 1, r, copy);
}

static void blur_vertical(Raster& image, float radius) {
    const int r = std::min(int(radius + 0.5f), image.height);
    if (r <= 0) return;
    // Row by row with one running sum per column: walking down single columns would miss the cache at every pixel.
    const Raster copy = image;
    const int width = image.width, height = image.height;
    std::vector<Color> sums(static_cast<size_t>(width));
    const auto add = [&](int y, float sign) {
        const Color* row = &copy.at(0, std::clamp(y, 0, height - 1));
        for (int x = 0; x < width; ++x) sums[size_t(x)] = sums[size_t(x)] + row[x] * sign;
    };
    for (int y = -r; y <= r; ++y) add(y, 1);
    const float scale = 1.0f / float(2 * r + 1);
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) image.at(x, y) = sums[size_t(x)] * scale;
        add(y + r + 1, 1);
        add(y - r, -1);
    }
}

void blur(Raster& image, float radius) {
    for (int pass = 0; pass < 3; ++pass) {
        blur_horizontal(image, radius * 0.6f);
        blur_vertical(image, radius * 0.6f);
    }
}

void motion_blur(Raster& image, float length, float angle) {
    const Raster copy = image;
    const int taps = std::clamp(int(length / 2), 3, 24);
    const Vec2 step = Vec2{std::cos(angle), std::sin(angle)} * (length / float(taps));
    for (int y = 0; y < image.height; ++y)
        for (int x = 0; x < image.width; ++x) {
            Color sum;
            for (int tap = 0; tap < taps; ++tap) {
                const float t = float(tap) - 0.5f * float(taps - 1);
                const int sx = std::clamp(int(float(x) + 0.5f + step.x * t), 0, copy.width - 1);
                const int sy = std::clamp(int(float(y) + 0.5f + step.y * t), 0, copy.height - 1);
                sum = sum + copy.at(sx, sy);
            }
            image.at(x, y) = sum * (1.0f / float(taps));
        }
}

Raster turned(const Raster& image, float angle, float zoom, Vec2 centre) {
    Raster out(image.width, image.height);
    const float c = std::cos(angle) / zoom, s = std::sin(angle) / zoom;
    for (int y = 0; y < out.height; ++y)
        for (int x = 0; x < out.width; ++x) {
            const float u = float(x) + 0.5f - 0.5f * float(out.width), v = float(y) + 0.5f - 0.5f * float(out.height);
            out.at(x, y) = image.sample(centre.x + c * u - s * v, centre.y + s * u + c * v);
        }
    return out;
}
