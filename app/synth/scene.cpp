// Light of the hour and the drawing of a scene; the ground and the objects on it are built in ground.cpp.
#include "app/synth/scene.h"

#include <array>

namespace {

constexpr float kPi = 3.14159265f;

float square(float v) { return v * v; }

// Height of the sun in degrees at 70 degrees north, where the images are taken. Spherical astronomy with a circular
// orbit: good to a degree, which is all an image shows.
float sun_height(int day, float hour) {
    const float declination = -23.44f * kPi / 180 * std::cos(2 * kPi * (float(day) + 10) / 365);
    const float latitude = 70 * kPi / 180, angle = (hour - 12) * kPi / 12;
    const float s =
        std::sin(latitude) * std::sin(declination) + std::cos(latitude) * std::cos(declination) * std::cos(angle);
    return std::asin(std::clamp(s, -1.0f, 1.0f)) * 180 / kPi;
}

}  // namespace

SynthSite make_site(int number, uint64_t seed) {
    Rng rng = Rng(seed).split(0x517e0000u + uint64_t(number));
    struct Kind {
        const char *make, *model;
    };
    constexpr std::array<Kind, 4> kinds{
        {{"FJELLCAM", "Rype 2"}, {"FJELLCAM", "Jerv 5K"}, {"NORDLYS OPTIKK", "NX-40"}, {"POLARTRAP", "Scout HD"}}};
    const Kind kind = kinds[size_t(rng.below(int(kinds.size())))];
    SynthSite site{.number = number, .key = rng.bits(), .make = kind.make, .model = kind.model, .serial = ""};
    site.serial = "TS" + std::to_string(100000 + rng.below(900000));
    site.horizon = rng.uniform(0.24f, 0.48f);
    site.focal = rng.uniform(0.8f, 1.15f);
    site.mount = rng.uniform(0.6f, 1.3f);
    site.roll = rng.uniform(-0.06f, 0.06f);
    site.flash_reach = rng.uniform(5, 9);
    site.bait = rng.chance(0.4f);
    return site;
}

bool is_night(const Moment& moment) { return sun_height(moment.day, moment.hour) < -5; }

Light light_of(const Moment& moment, const SynthSite& site) {
    Light light;
    light.reach = site.flash_reach;
    light.visibility = moment.visibility;
    const float height = sun_height(moment.day, moment.hour);
    if (is_night(moment)) {
        light.infrared = true;
        light.flash = moment.flash;
        light.sky = Color{0.004f, 0.004f, 0.004f} * smooth_step(-25, -5, height);
        // Drops and flakes in the air throw the flash back.
        light.air = light.sky + Color{1, 1, 1} * (0.3f * moment.flash * (1 - std::exp(-5 / moment.visibility)));
        return light;
    }
    const float day = smooth_step(-6, 12, height), low = 1 - smooth_step(0, 14, height);
    const Color noon{1.0f, 0.93f, 0.84f}, dawn{1.0f, 0.56f, 0.28f};
    light.sun = mix(noon, dawn, low) * (smooth_step(-2, 10, height) * 1.5f * square(1 - 0.92f * moment.cloud));
    const Color clear{0.42f, 0.56f, 0.78f}, grey{0.66f, 0.69f, 0.72f}, blue_hour{0.30f, 0.42f, 0.72f};
    light.sky = mix(mix(blue_hour, clear, day), grey, moment.cloud * mix(0.5f, 1.0f, day)) * mix(0.05f, 0.75f, day);
    const float side = std::cos((moment.hour - 12) * kPi / 12 + 0.5f * kPi);
    light.toward_sun = {-side * 0.9f, std::max(0.15f, std::sin(std::max(height, 3.0f) * kPi / 180) + 0.3f)};
    light.air = mix(light.sky * 1.15f, light.sun * 0.5f + light.sky, 0.3f);
    return light;
}

float Light::flash_at(float distance) const { return flash * 1.6f / (1 + 3 * square(distance / reach)); }

Color Light::reflected(Color albedo, Vec2 normal, float distance) const {
    if (infrared) {
        const float value = albedo.luma() * (flash_at(distance) * (0.75f + 0.25f * normal.y) + sky.r);
        return {value, value, value};
    }
    const float facing = std::max(0.0f, 0.35f + 0.65f * dot(normal, toward_sun));
    return albedo * (sun * facing + sky * (0.72f + 0.28f * normal.y));
}

Color Light::through_air(Color color, float distance) const {
    return mix(air, color, std::exp(-distance / visibility));
}

Vec2 Scene::project(float x, float z, const Moment& moment) const {
    const Vec2 at = project_to_map(x, z);
    return {at.x - float(margin_) - moment.shift.x * float(width_),
            at.y - float(margin_) - moment.shift.y * float(width_) + moment.rise * float(height_)};
}

float Scene::nearest() const { return focal_ * site_.mount / (float(height_ + margin_) - horizon_); }

Color Scene::sky_at(float x, float above, const Moment& moment, const Light& light) const {
    if (light.infrared) return light.through_air(light.sky, 1000);
    const float t = saturate(above);
    const Color zenith = light.sky * Color{0.78f, 0.92f, 1.15f}, rim = mix(light.air, light.sky * 1.3f, 0.5f);
    Color sky = mix(rim, zenith, std::sqrt(t)) * 1.05f;
    // Clouds on a flat ceiling: the nearer to the horizon, the more they crowd.
    const float depth = 1 / (t + 0.12f);
    const uint32_t seed = uint32_t(moment.weather);
    const float field = fractal_noise((x - 0.5f) * depth * 1.1f + float(seed % 97), depth * 1.7f, seed, 4);
    const float cover = smooth_step(0.78f - 0.62f * moment.cloud, 1.0f - 0.45f * moment.cloud, field);
    const float thickness = smooth_step(0.35f, 0.85f, field);
    const Color cloud =
        mix(light.sun * 0.45f + light.sky * 1.2f, light.sky * 0.72f, thickness * (0.35f + 0.5f * moment.cloud));
    sky = mix(sky, cloud, cover * 0.92f);
    return light.through_air(sky, 900 / (t + 0.1f));
}

Raster Scene::draw(const Moment& moment) const {
    const Light light = light_of(moment, site_);
    Raster image(width_, height_);
    struct Step {
        float keep, flash;
    };
    std::array<Step, 256> steps;
    for (int i = 0; i < 256; ++i) {
        const float distance = distance_of(i);
        steps[size_t(i)] = {std::exp(-distance / light.visibility), light.flash_at(distance)};
    }
    std::array<float, 256> squares;
    for (int i = 0; i < 256; ++i) squares[size_t(i)] = square(float(i) / 255);
    const Color leaf =
        mix(mix(Color{1, 1, 1}, Color{1.75f, 0.88f, 0.5f}, moment.autumn), Color{1.15f, 0.92f, 0.78f}, moment.wilt);
    const float snow = moment.snow * 255;
    const int shift_x = int(std::lround(moment.shift.x * float(width_)));
    const int shift_y = int(std::lround(moment.shift.y * float(width_) - moment.rise * float(height_)));
    for (int y = 0; y < height_; ++y) {
        const int map_y = y + margin_ + shift_y;
        for (int x = 0; x < width_; ++x) {
            const int map_x = std::clamp(x + margin_ + shift_x, 0, stride_ - 1);
            const bool over = map_y < 0;
            const Texel& t = texels_[size_t(std::clamp(map_y, 0, rows_ - 1)) * stride_ + map_x];
            const float ground = over ? 0.0f : float(t.ground) / 255;
            Color lit;
            if (ground > 0) {
                Color albedo{squares[t.r], squares[t.g], squares[t.b]};
                const float plant = float(t.plant) / 255;
                albedo = albedo * mix(Color{1, 1, 1}, leaf, plant);
                if (light.infrared) {
                    const float grey = mix(albedo.luma(), 0.34f, 0.5f * plant);
                    albedo = {grey, grey, grey};
                }
                const float slope = (float(t.slope) - 128) / 128;
                const float white = smooth_step(float(t.hold) - 14, float(t.hold) + 14, snow);
                albedo = mix(albedo, Color{0.80f, 0.82f, 0.85f} * (1 + 0.16f * slope), white);
                const Vec2 normal{slope * mix(1.0f, 0.75f, white), 1 - std::abs(slope) * mix(0.6f, 0.35f, white)};
                const Step& step = steps[t.depth];
                if (light.infrared) {
                    const float value =
                        albedo.r * (step.flash * (0.75f + 0.25f * normal.y - 0.1f * slope) + light.sky.r);
                    lit = {value, value, value};
                } else {
                    const float facing = std::max(0.0f, 0.35f + 0.65f * dot(normal, light.toward_sun));
                    lit = albedo * (light.sun * facing + light.sky * (0.72f + 0.28f * normal.y));
                }
                lit = mix(light.air, lit, step.keep);
            }
            if (ground < 1) {
                const float above = (horizon_ - float(map_y)) / float(height_);
                lit = mix(sky_at(float(map_x) / float(width_), above, moment, light), lit, ground);
            }
            image.at(x, y) = lit;
        }
    }
    return image;
}
