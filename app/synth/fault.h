// Faults that spoil an image, and harmless ones: weather, dirt on the lens, blur, a fallen camera, a failed flash.
#pragma once

#include <cstdint>

#include "app/synth/scene.h"

enum class Spoil { none, snowed, iced, fog, dark, blurred, tilted, drops };
constexpr int kSpoils = 8;
const char* name_of(Spoil spoil);

// A good image has Spoil::none and may still have flakes, a few drops or a little snow on the lens.
struct Blemish {
    Spoil spoil = Spoil::none;
    float strength = 0.5f;  // 0 just bad .. 1 hopeless
    float lens_snow = 0;    // good images: fraction of the lens under snow, small
    int lens_drops = 0;     // good images: a few small ones
    float softness = 0;     // good images: blur radius, fraction of the width
    uint64_t key = 0;
};

// Faults that lie in the scene itself: fog, no light, a camera that looks up.
void spoil_moment(Moment& moment, const Blemish& blemish);
// Flakes in the air, then effects on the lens.
void spoil_image(Raster& image, const Blemish& blemish, const Moment& moment, const Light& light);
