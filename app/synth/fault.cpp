// Spoils the light that reaches the sensor; every effect scales with the image so that a small one shows the same.
#include "app/synth/fault.h"

#include <array>

namespace {

Color mean_of(const Raster& image) {
    Color sum;
    int count = 0;
    for (size_t i = 0; i < image.pixels.size(); i += 61, ++count) sum = sum + image.pixels[i];
    return sum * (1 / float(count));
}

// A smooth field over the image that lies above `threshold` on the wanted fraction of it.
struct Patches {
    uint32_t seed;
    Vec2 lean;
    float grain, threshold = 0;
    float at(float u, float v) const {
        return fractal_noise(u * grain, v * grain * 0.8f, seed, 4) + dot(lean, {u - 0.5f, v - 0.5f});
    }
    Patches(Rng& rng, float grain, float lean_by, float fraction) : seed(rng.seed()), grain(grain) {
        const float angle = rng.uniform(0, 6.2831853f);
        lean = Vec2{std::cos(angle), std::sin(angle)} * lean_by;
        std::array<float, 24 * 18> values;
        for (int i = 0; i < 24 * 18; ++i)
            values[size_t(i)] = at((float(i % 24) + 0.5f) / 24, (float(i / 24) + 0.5f) / 18);
        std::sort(values.begin(), values.end());
        threshold = values[size_t(saturate(1 - fraction) * (values.size() - 1))];
    }
};

// Snow on the glass: out of focus, lit from behind by the scene, or dazzling under the flash.
void cover_with_snow(Raster& image, Rng rng, float fraction, const Light& light) {
    const Patches patches(rng, rng.uniform(2.0f, 4.5f), rng.uniform(0.2f, 0.8f), fraction);
    const Color mean = mean_of(image);
    const float glow = light.infrared ? rng.uniform(0.5f, 3.0f) : rng.uniform(0.55f, 1.35f);
    const float grey = mean.luma();
    const Color snow = mix(Color{grey, grey, grey} * Color{0.97f, 1.0f, 1.05f}, mean, 0.3f) * glow;
    const float edge = rng.uniform(0.03f, 0.10f), lumps = rng.uniform(0.2f, 0.7f), opacity = rng.uniform(0.86f, 1.0f);
    const uint32_t seed = rng.seed();
    for (int y = 0; y < image.height; ++y)
        for (int x = 0; x < image.width; ++x) {
            const float u = float(x) / float(image.width), v = float(y) / float(image.height);
            const float field = patches.at(u, v);
            const float alpha = smooth_step(patches.threshold - edge, patches.threshold + edge, field);
            if (alpha <= 0) continue;
            const float lump =
                1 + lumps * (value_noise(u * 7, v * 6, seed) - 0.5f) + 0.6f * (field - patches.threshold);
            image.at(x, y) = mix(image.at(x, y), snow * lump, alpha * opacity);
        }
}

// Frost feathers: thin ridges along a warped field, over a view that the ice has blurred.
void cover_with_ice(Raster& image, Rng rng, float strength) {
    blur(image, float(image.width) * mix(0.018f, 0.035f, strength));
    const Color mean = mean_of(image);
    const uint32_t seed = rng.seed();
    const float thick = mix(0.45f, 0.85f, strength), scale = rng.uniform(4, 8), glow = rng.uniform(0.7f, 1.3f);
    for (int y = 0; y < image.height; ++y)
        for (int x = 0; x < image.width; ++x) {
            const float u = float(x) / float(image.width), v = float(y) / float(image.width);
            const float warp = value_noise(u * 3, v * 3, seed + 1) * 2.2f;
            const float field = fractal_noise(u * scale + warp, v * scale * 1.7f - warp, seed, 2);
            const float ridge = 1 - std::abs(2 * field - 1);
            const float alpha = saturate(thick * (0.45f + 0.75f * ridge * ridge));
            image.at(x, y) = mix(image.at(x, y), mean * (glow * (0.75f + 0.5f * ridge)), alpha);
        }
}

struct Drop {
    Vec2 at;
    float radius, squash;
};

// Each drop is a little lens: it shows the scene upside down and out of focus.
void put_drops(Raster& image, Rng rng, int count, float smallest, float largest) {
    Raster soft = image;
    blur(soft, 0.012f * float(image.width));
    const float width = float(image.width), height = float(image.height);
    for (int i = 0; i < count; ++i) {
        const Drop drop{{rng.uniform() * width, rng.uniform() * height},
                        rng.uniform(smallest, largest) * width,
                        rng.uniform(0.75f, 1)};
        const Bounds area = Bounds{int(drop.at.x - drop.radius) - 1, int(drop.at.y - drop.radius) - 1,
                                   int(drop.at.x + drop.radius) + 2, int(drop.at.y + drop.radius) + 2}
                                .clipped(image.width, image.height);
        const uint32_t seed = rng.seed();
        for (int y = area.top; y < area.bottom; ++y)
            for (int x = area.left; x < area.right; ++x) {
                const Vec2 off{(float(x) + 0.5f - drop.at.x) / drop.radius,
                               (float(y) + 0.5f - drop.at.y) / (drop.radius * drop.squash)};
                const float wobble = 0.25f * (value_noise(off.x * 1.3f + 4, off.y * 1.3f + 4, seed) - 0.5f);
                const float r = length(off) + wobble;
                const float inside = 1 - smooth_step(0.86f, 1.0f, r);
                if (inside <= 0) continue;
                const float bend = 1.6f + 1.2f * r * r;
                const Color seen =
                    soft.sample(drop.at.x - off.x * drop.radius * bend, drop.at.y - off.y * drop.radius * bend);
                const float rim = 1 - 0.45f * smooth_step(0.6f, 1.0f, r) +
                                  0.35f * smooth_step(0.25f, 0.0f, length(off - Vec2{-0.35f, -0.4f}));
                image.at(x, y) = mix(image.at(x, y), seen * rim, inside * 0.96f);
            }
    }
}

// Flakes between lens and scene: far ones are specks, near ones large and out of focus, all blown the same way.
void let_it_snow(Raster& image, Rng rng, float amount, const Light& light) {
    const float width = float(image.width), height = float(image.height);
    const float angle = rng.uniform(-1.1f, 1.1f), speed = rng.uniform(0.2f, 1.5f);
    const Color flake = light.infrared ? Color{1, 1, 1} : (light.sky + light.sun * 0.4f) * 0.95f;
    for (int i = 0; i < int(amount * 420); ++i) {
        const float depth = 0.35f / (0.04f + rng.uniform());
        const float radius = 0.0011f * depth * width, trail = radius * speed * 2.5f;
        const Vec2 at{rng.uniform(-0.02f, 1.02f) * width, rng.uniform(-0.02f, 1.02f) * height};
        const Vec2 to = at + Vec2{std::sin(angle), std::cos(angle)} * trail;
        const float alpha = saturate(1.3f / (0.6f + depth * 0.35f)),
                    shine = light.infrared ? light.flash * saturate(depth * 0.28f) : 1.0f;
        for_covered(Capsule{at, to, radius, radius}, image.width, image.height,
                    [&](int x, int y, const Coverage& covered) {
                        const float rim = 1 - saturate(dot(covered.normal, covered.normal));
                        const float soft = covered.alpha * mix(1.0f, rim * rim, saturate(radius - 0.5f));
                        image.at(x, y) = mix(image.at(x, y), flake * shine, soft * alpha);
                    });
    }
}

// The camera hangs askew, or lies on its face.
void tilt(Raster& image, Rng rng, float strength, float rise) {
    const float width = float(image.width), height = float(image.height);
    const float side = rng.chance(0.5f) ? 1.0f : -1.0f;
    if (rise != 0) {
        image = turned(image, side * rng.uniform(0.05f, 0.6f), 1.45f, {0.5f * width, 0.42f * height});
    } else if (rng.chance(0.25f)) {
        image = turned(image, side * rng.uniform(0, 0.5f), rng.uniform(2.3f, 2.8f),
                       {rng.uniform(0.35f, 0.65f) * width, 0.74f * height});
    } else {
        const float angle = side * mix(0.55f, 1.65f, strength);
        // Enlarged just so much that the corners stay inside.
        const float c = std::abs(std::cos(angle)), s = std::abs(std::sin(angle));
        const float zoom = std::max((width * c + height * s) / width, (width * s + height * c) / height);
        image = turned(image, angle, zoom, {0.5f * width, 0.5f * height});
    }
}

}  // namespace

const char* name_of(Spoil spoil) {
    constexpr std::array<const char*, kSpoils> names{"none", "snowed",  "iced",   "fog",
                                                     "dark", "blurred", "tilted", "drops"};
    return names[size_t(spoil)];
}

void spoil_moment(Moment& moment, const Blemish& blemish) {
    Rng rng = Rng(blemish.key).split(1);
    if (blemish.spoil == Spoil::fog) {
        moment.visibility = mix(3.2f, 0.9f, blemish.strength);
        moment.cloud = 1;
        if (rng.chance(0.4f)) moment.snowfall = rng.uniform(0.4f, 1.0f);
    }
    if (blemish.spoil == Spoil::dark) moment.flash = rng.chance(0.5f) ? 0.0f : mix(0.006f, 0.0f, blemish.strength);
    if (blemish.spoil == Spoil::tilted && rng.chance(0.3f)) moment.rise = rng.uniform(0.75f, 1.1f);
}

void spoil_image(Raster& image, const Blemish& blemish, const Moment& moment, const Light& light) {
    const Rng base(blemish.key);
    const float width = float(image.width), s = blemish.strength;
    if (moment.snowfall > 0) let_it_snow(image, Rng(moment.instant), moment.snowfall, light);
    Rng rng = base.split(3);
    switch (blemish.spoil) {
        case Spoil::snowed:
            blur(image, mix(0.003f, 0.012f, s) * width);
            cover_with_snow(image, rng, mix(0.55f, 1.0f, s), light);
            break;
        case Spoil::iced: cover_with_ice(image, rng, s); break;
        case Spoil::blurred:
            if (rng.chance(0.3f))
                motion_blur(image, mix(0.13f, 0.25f, s) * width, rng.uniform(0, 3.1415927f));
            else
                blur(image, mix(0.03f, 0.06f, s) * width);
            break;
        case Spoil::tilted: tilt(image, rng, s, moment.rise); break;
        case Spoil::drops: put_drops(image, rng, int(mix(12, 26, s)), 0.06f, 0.15f); break;
        default: break;
    }
    if (blemish.softness > 0) blur(image, blemish.softness * width);
    if (blemish.lens_drops > 0) put_drops(image, base.split(4), blemish.lens_drops, 0.015f, 0.05f);
    if (blemish.lens_snow > 0) cover_with_snow(image, base.split(5), blemish.lens_snow, light);
}
