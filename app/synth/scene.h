// The place in front of one synthetic camera: tundra, hills and sky, under the season, weather and hour of a moment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/synth/draw.h"

// A camera and how it stands. Lengths in metres, angles in radians, the rest in fractions of the image.
struct SynthSite {
    int number = 0;
    uint64_t key = 0;  // everything random about the place follows from it
    std::string make, model, serial;
    float horizon = 0.35f;  // of the height, from the top
    float focal = 0.95f;    // of the width
    float mount = 0.9f;     // height of the lens above the ground
    float roll = 0;
    float flash_reach = 7;  // at this distance the infrared flash has a quarter of its strength
    bool bait = false;
};
SynthSite make_site(int number, uint64_t seed);

// The time and weather of an image.
struct Moment {
    int day = 172;  // of the year, 0 = 1 January
    float hour = 12;
    float snow = 0;           // 0 bare ground .. 1 everything but the tallest stalks covered
    float autumn = 0;         // 0 green .. 1 red
    float wilt = 0;           // 0 in leaf .. 1 bare twigs and straw
    float cloud = 0.5f;       // 0 clear .. 1 overcast
    float visibility = 3e4f;  // metres until 1/e of the contrast is left
    float snowfall = 0;       // 0 none .. 1 thick
    float flash = 1;          // strength of the infrared flash; 0 when it failed
    uint64_t weather = 0;     // clouds, shared by the images of one burst
    uint64_t instant = 0;     // flakes in the air, different in each
    Vec2 shift = {};          // how far wind and frost moved the camera, fraction of the width
    float rise = 0;           // by how much the camera looks up, fraction of the height
};

// Night images are monochrome with an infrared flash.
bool is_night(const Moment& moment);

// The light on objects and the air between them and the lens.
struct Light {
    Color sun, sky;   // direct and diffuse light
    Vec2 toward_sun;  // in the image's plane, y up
    Color air;        // colour of haze
    bool infrared = false;
    float flash = 0, reach = 7, visibility = 3e4f;

    // The light that the camera receives from a surface `distance` metres away that faces `normal` (image plane, y up).
    Color reflected(Color albedo, Vec2 normal, float distance) const;
    Color through_air(Color color, float distance) const;
    float flash_at(float distance) const;
};
Light light_of(const Moment& moment, const SynthSite& site);

class Scene {
public:
    Scene(const SynthSite& site, int width, int height);
    const SynthSite& site() const { return site_; }
    int width() const { return width_; }
    int height() const { return height_; }

    // Where a point on the ground, x metres to the right and z metres away, is seen.
    Vec2 project(float x, float z, const Moment& moment) const;
    float pixels_per_metre(float z) const { return focal_ / z; }
    // Nearest distance at which the ground is in the image.
    float nearest() const;
    Raster draw(const Moment& moment) const;

private:
    // Everything that does not change over time. Colours are square roots of the albedo.
    struct Texel {
        uint8_t r, g, b;
        uint8_t plant;   // how much of it is green in summer and red in autumn
        uint8_t hold;    // how much snow it takes to cover it
        uint8_t slope;   // 128 faces up, more faces right
        uint8_t depth;   // log scale, see distance_of
        uint8_t ground;  // 0 sky
    };
    struct Material {
        Color albedo;
        float plant, hold;
    };
    static float distance_of(int depth);
    static int depth_of(float distance);
    Texel& texel(int x, int y) { return texels_[size_t(y) * stride_ + x]; }
    Vec2 project_to_map(float x, float z) const;
    void lay_ground();
    void raise_hills();
    void strew_things();
    void grow_tussock(Vec2 foot, float z, Rng rng);
    void grow_shrub(Vec2 foot, float z, Rng rng);
    void set_stone(Vec2 foot, float z, Rng rng);
    void put_bait(Vec2 foot, float z, Rng rng);
    template <class Shape>
    void stamp(const Shape& shape, float z, const Material& material, float shading);
    Color sky_at(float x, float above, const Moment& moment, const Light& light) const;

    SynthSite site_;
    int width_, height_, margin_, stride_, rows_;
    float focal_, horizon_;  // pixels; the horizon is where it lies in the map, which has a margin on every side
    std::vector<Texel> texels_;
};
