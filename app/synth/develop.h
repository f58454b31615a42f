// The camera's electronics: exposure, noise, grey at night, the strip with date and temperature.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/synth/draw.h"

struct Development {
    float exposure = 1;  // stops are not used: 1 is what the automatic exposure chooses
    bool grey = false;
    float tone = 1;     // white balance, above 1 warmer
    std::string strip;  // text of the strip at the bottom, none when empty
    uint64_t key = 0;   // sensor noise
};

// Interleaved RGB, 8 bit. The raster is used up.
std::vector<uint8_t> develop(Raster& image, const Development& options);
// Height of the strip for an image of that height; boxes are not drawn below it.
int strip_height(int height);
