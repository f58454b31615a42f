// Builds the permanent parts of a scene: ground, hills, tussocks, shrubs, stones, bait.
#include <array>

#include "app/synth/scene.h"

namespace {

// Albedo in summer.
constexpr Color kGrass{0.19f, 0.175f, 0.06f}, kMoss{0.085f, 0.12f, 0.04f}, kHeather{0.115f, 0.085f, 0.05f};
constexpr Color kLichen{0.36f, 0.37f, 0.30f}, kSoil{0.12f, 0.095f, 0.07f}, kRock{0.20f, 0.19f, 0.18f};
constexpr float kFarthest = 3000;

uint8_t to_byte(float v) { return uint8_t(saturate(v) * 255 + 0.5f); }
uint8_t blend(uint8_t from, float to, float t) { return uint8_t(mix(float(from), to, t) + 0.5f); }

}  // namespace

float Scene::distance_of(int depth) { return std::exp(float(depth) / 255 * std::log(kFarthest)); }
int Scene::depth_of(float distance) {
    return std::clamp(int(std::log(std::max(distance, 1.0f)) / std::log(kFarthest) * 255), 0, 255);
}

Scene::Scene(const SynthSite& site, int width, int height)
    : site_(site),
      width_(width),
      height_(height),
      margin_(std::max(2, width / 24)),
      stride_(width + 2 * margin_),
      rows_(height + 2 * margin_),
      focal_(site.focal * float(width)),
      horizon_(site.horizon * float(height) + float(margin_)),
      texels_(size_t(stride_) * rows_) {
    raise_hills();
    lay_ground();
    strew_things();
}

Vec2 Scene::project_to_map(float x, float z) const {
    const float right = focal_ * x / z, down = focal_ * site_.mount / z;
    const float c = std::cos(site_.roll), s = std::sin(site_.roll);
    return {0.5f * float(stride_) + c * right - s * down, horizon_ + s * right + c * down};
}

void Scene::raise_hills() {
    Rng rng = Rng(site_.key).split(1);
    const float slope = std::tan(site_.roll);
    struct Ridge {
        float distance, rise, length;
    };
    const std::array<Ridge, 3> ridges{{{2600, rng.uniform(0.05f, 0.20f), 0.45f},
                                       {1100, rng.uniform(0.02f, 0.11f), 0.35f},
                                       {350, rng.uniform(0.0f, 0.05f), 0.25f}}};
    for (const Ridge& ridge : ridges) {
        const uint32_t seed = rng.seed();
        for (int x = 0; x < stride_; ++x) {
            const float u = float(x) / float(width_);
            const float crest = fractal_noise(u / ridge.length, 0.5f, seed, 6);
            const float level = horizon_ + slope * (float(x) - 0.5f * float(stride_));
            const float top = level - float(height_) * ridge.rise * std::max(0.0f, crest * 1.5f - 0.25f);
            for (int y = std::max(0, int(top)); y < rows_; ++y) {
                const float v = float(y) / float(width_);
                const float rough = fractal_noise(u * 30, v * 55, seed + 5, 4);
                const float side = value_noise(u * 14 + v * 9, v * 6, seed + 9) - 0.5f;
                const Color albedo = mix(kHeather, mix(kMoss, kRock, rough), rough) * 0.9f;
                const float alpha = saturate(float(y) + 1 - top);
                Texel& t = texel(x, y);
                t = {to_byte(std::sqrt(albedo.r)),      to_byte(std::sqrt(albedo.g)),
                     to_byte(std::sqrt(albedo.b)),      to_byte(0.6f * (1 - rough)),
                     to_byte(0.12f + 0.75f * rough),    uint8_t(std::clamp(128 + side * 200, 0.0f, 255.0f)),
                     uint8_t(depth_of(ridge.distance)), std::max(t.ground, to_byte(alpha))};
            }
        }
    }
}

void Scene::lay_ground() {
    Rng rng = Rng(site_.key).split(2);
    const uint32_t seed = rng.seed();
    const float stony = rng.uniform(0, 0.6f), lush = rng.uniform(0.2f, 1), pale = rng.uniform(0, 0.7f);
    const float c = std::cos(site_.roll), s = std::sin(site_.roll);
    for (int y = 0; y < rows_; ++y)
        for (int x = 0; x < stride_; ++x) {
            const float u = float(x) - 0.5f * float(stride_), v = float(y) - horizon_;
            const float right = c * u + s * v, down = -s * u + c * v;
            const float bumps = 2.5f * (value_noise(right / float(width_) * 9, 3, seed) - 0.5f) * float(height_) / 240;
            if (down + bumps < 0.5f) continue;
            const float z = focal_ * site_.mount / std::max(down, 0.75f), across = right * z / focal_;
            // Detail finer than a pixel's footprint would only flicker, so it fades out.
            const float footprint = std::sqrt((z / focal_) * (z * z / (focal_ * site_.mount)));
            const auto grain = [&](float wave, uint32_t salt) {
                const float sharp = smooth_step(0.5f, 2.0f, wave / footprint);
                return sharp <= 0 ? 0.0f : sharp * (value_noise(across / wave, z / wave, seed + salt) - 0.5f);
            };
            const auto relief = [&](float dx) {
                float sum = 0;
                for (float wave : {1.1f, 0.42f, 0.16f, 0.06f}) {
                    const float sharp = smooth_step(0.5f, 2.0f, wave / footprint);
                    if (sharp > 0)
                        sum += sharp * wave *
                               value_noise(across / wave + dx / wave, z / wave, seed + uint32_t(wave * 1000));
                }
                return sum;
            };
            const float patch = fractal_noise(across / 3.5f, z / 3.5f, seed + 1, 3);
            const float damp = fractal_noise(across / 9, z / 9, seed + 2, 2);
            const float fine =
                grain(0.25f, 3) + 0.9f * grain(0.09f, 4) + 0.8f * grain(0.033f, 5) + 0.6f * grain(0.013f, 6);
            const float mottle = saturate(patch + 0.55f * fine);
            Color albedo = mix(kHeather, kMoss, smooth_step(0.35f, 0.6f, mottle));
            albedo = mix(albedo, kGrass, lush * smooth_step(0.45f, 0.62f, damp + 0.4f * fine));
            albedo = mix(albedo, kLichen, pale * smooth_step(0.58f, 0.72f, patch + 0.5f * grain(0.09f, 4)));
            const float bare = stony * smooth_step(0.56f, 0.7f, 1 - patch + 0.3f * fine);
            albedo = mix(albedo, mix(kSoil, kRock, saturate(0.5f + fine)), bare);
            albedo = albedo * (1 + 1.1f * fine);
            const float step = std::max(0.03f, footprint), slope = (relief(-step) - relief(step)) / (2 * step);
            const float height = saturate(0.5f + 0.9f * (patch - 0.5f) + 0.7f * fine);
            Texel& t = texel(x, y);
            t = {to_byte(std::sqrt(albedo.r)),   to_byte(std::sqrt(albedo.g)),
                 to_byte(std::sqrt(albedo.b)),   to_byte(1 - bare),
                 to_byte(0.1f + 0.62f * height), uint8_t(std::clamp(128 + slope * 75, 0.0f, 255.0f)),
                 uint8_t(depth_of(z)),           255};
        }
}

// Paints a shape into the map; `shading` says how much its surface turns away from the sun at its sides.
template <class Shape>
void Scene::stamp(const Shape& shape, float z, const Material& material, float shading) {
    const Color root{std::sqrt(material.albedo.r), std::sqrt(material.albedo.g), std::sqrt(material.albedo.b)};
    for_covered(shape, stride_, rows_, [&](int x, int y, const Coverage& covered) {
        Texel& t = texel(x, y);
        const float a = covered.alpha;
        const float dark = 1 - 0.3f * shading * saturate(covered.normal.y);
        t.r = blend(t.r, 255 * saturate(root.r * dark), a);
        t.g = blend(t.g, 255 * saturate(root.g * dark), a);
        t.b = blend(t.b, 255 * saturate(root.b * dark), a);
        t.plant = blend(t.plant, 255 * material.plant, a);
        t.hold = blend(t.hold, 255 * saturate(material.hold + 0.3f * shading * covered.normal.y), a);
        t.slope = blend(t.slope, 128 + 110 * shading * std::clamp(covered.normal.x, -1.0f, 1.0f), a);
        t.ground = blend(t.ground, 255, a);
        if (a > 0.5f) t.depth = uint8_t(depth_of(z));
    });
}

void Scene::grow_tussock(Vec2 foot, float z, Rng rng) {
    const float scale = pixels_per_metre(z), tall = rng.uniform(0.10f, 0.32f), wide = rng.uniform(0.06f, 0.2f);
    const Color straw{0.34f, 0.29f, 0.14f};
    const float dry = rng.uniform(0.1f, 0.9f);
    const int blades = std::clamp(int(scale * wide * 0.8f), 4, 44);
    stamp(
        Capsule{foot - Vec2{wide * 0.5f * scale, 0}, foot + Vec2{wide * 0.5f * scale, 0}, 0.03f * scale, 0.03f * scale},
        z, {kMoss * 0.6f, 0.8f, 0.3f}, 0.3f);
    for (int i = 0; i < blades; ++i) {
        const Vec2 root = foot + Vec2{rng.uniform(-wide, wide) * scale * 0.7f, rng.uniform(-0.01f, 0.02f) * scale};
        const float lean = rng.normal() * 0.30f, high = tall * rng.uniform(0.5f, 1);
        const Vec2 middle = root + Vec2{lean * high * 0.4f, -high * 0.65f} * scale;
        const Vec2 tip = middle + Vec2{lean * high * 0.9f, -high * 0.35f * rng.uniform(0.2f, 1)} * scale;
        const Material blade{mix(kGrass, straw, dry) * rng.uniform(0.4f, 1.1f), 0.6f - 0.4f * dry, 1};
        const float thick = 0.0035f * scale;
        stamp(Capsule{root, middle, thick, thick * 0.8f}, z, blade, 0.3f);
        stamp(Capsule{middle, tip, thick * 0.8f, thick * 0.3f}, z, blade, 0.3f);
    }
}

void Scene::grow_shrub(Vec2 foot, float z, Rng rng) {
    const float scale = pixels_per_metre(z), tall = rng.uniform(0.15f, 0.45f), wide = rng.uniform(0.2f, 0.6f);
    const int twigs = std::clamp(int(scale * wide * 0.4f), 3, 14);
    for (int i = 0; i < twigs; ++i) {
        const Vec2 tip = foot + Vec2{rng.uniform(-wide, wide) * 0.5f, -tall * rng.uniform(0.5f, 1)} * scale;
        stamp(Capsule{foot, tip, 0.008f * scale, 0.004f * scale}, z, {kSoil * 0.6f, 0.1f, 1}, 0.4f);
        const int leaves = std::clamp(int(scale * 0.09f), 2, 16);
        for (int leaf = 0; leaf < leaves; ++leaf) {
            const Vec2 at = mix(foot, tip, rng.uniform(0.35f, 1)) + Vec2{rng.normal(), rng.normal()} * (0.03f * scale);
            const float size = rng.uniform(0.005f, 0.012f) * scale;
            stamp(Capsule{at, at, size, size}, z, {Color{0.10f, 0.13f, 0.045f} * rng.uniform(0.6f, 1.4f), 1, 0.92f},
                  0.6f);
        }
    }
}

// A few overlapping lumps, the low and far ones first, with lichen on top.
void Scene::set_stone(Vec2 foot, float z, Rng rng) {
    const float scale = pixels_per_metre(z),
                size = rng.uniform(0.04f, 0.17f) * (rng.chance(0.12f) ? 2.2f : 1.0f) * scale;
    const Color albedo = mix(kRock, kSoil, rng.uniform(0, 0.5f)) * rng.uniform(0.45f, 1.0f);
    const float hold = rng.uniform(0.55f, 0.95f);
    const int lumps = 4 + rng.below(4);
    for (int i = 0; i < lumps; ++i) {
        const float up = float(i) / float(lumps), half = size * rng.uniform(0.25f, 0.7f) * (1 - 0.5f * up);
        const Vec2 middle = foot + Vec2{rng.uniform(-0.6f, 0.6f) * size * (1 - up), -0.55f * up * size - 0.1f * size};
        const Vec2 tilt{half, rng.uniform(-0.25f, 0.25f) * half};
        stamp(Capsule{middle - tilt, middle + tilt, half * rng.uniform(0.5f, 0.8f), half * rng.uniform(0.35f, 0.7f)}, z,
              {mix(albedo, kLichen, 0.25f * up) * rng.uniform(0.75f, 1.15f), 0, hold}, 1);
    }
}

// The remains of a reindeer, laid out to draw scavengers: a dark hide, some red, a few ribs.
void Scene::put_bait(Vec2 foot, float z, Rng rng) {
    const float scale = pixels_per_metre(z);
    const auto at = [&](float x, float y) { return foot + Vec2{x, -y} * scale; };
    stamp(Capsule{at(-0.25f, 0.07f), at(0.40f, 0.05f), 0.12f * scale, 0.08f * scale}, z,
          {{0.09f, 0.065f, 0.045f}, 0, 0.85f}, 0.9f);
    stamp(Capsule{at(0.05f, 0.10f), at(0.25f, 0.07f), 0.08f * scale, 0.06f * scale}, z,
          {{0.17f, 0.05f, 0.04f}, 0, 0.95f}, 0.7f);
    for (int i = 0; i < 4; ++i) {
        const Vec2 root = at(0.04f + 0.065f * float(i), 0.06f),
                   tip = root + Vec2{0.03f, -rng.uniform(0.08f, 0.13f)} * scale;
        stamp(Capsule{root, tip, 0.007f * scale, 0.005f * scale}, z, {{0.42f, 0.38f, 0.31f}, 0, 1}, 0.5f);
    }
}

void Scene::strew_things() {
    Rng rng = Rng(site_.key).split(3);
    const float grassy = rng.uniform(0.45f, 1.2f), shrubby = rng.chance(0.5f) ? rng.uniform(0.1f, 1) : 0.0f;
    const float stony = rng.uniform(0.1f, 1);
    struct Thing {
        float x, z;
        void (Scene::*draw)(Vec2, float, Rng);
        Rng rng;
    };
    std::vector<Thing> things;
    const float near = 0.9f * nearest();
    const auto strew = [&](float count, float farthest, void (Scene::*draw)(Vec2, float, Rng)) {
        for (int i = 0; i < int(count); ++i) {
            // Uniform in the logarithm of the distance: near things are few on the ground but fill the image.
            const float z = near * std::pow(farthest / near, rng.uniform());
            const float x = rng.uniform(-0.6f, 0.6f) * z / site_.focal;
            things.push_back({x, z, draw, rng.split(uint64_t(i) + 1000)});
            rng.bits();
        }
    };
    strew(260 * grassy, 45, &Scene::grow_tussock);
    strew(70 * shrubby, 40, &Scene::grow_shrub);
    strew(70 * stony, 60, &Scene::set_stone);
    if (site_.bait) things.push_back({rng.uniform(-0.8f, 0.5f), rng.uniform(3.5f, 6), &Scene::put_bait, rng.split(7)});
    std::stable_sort(things.begin(), things.end(), [](const Thing& a, const Thing& b) { return a.z > b.z; });
    for (const Thing& thing : things) (this->*thing.draw)(project_to_map(thing.x, thing.z), thing.z, thing.rng);
}
