// The body plans of the subjects: limbs and plates in metres, x forward, y up, the origin on the ground.
#pragma once

#include <vector>

#include "app/synth/subject.h"

struct Part {
    Capsule limb;
    std::vector<Vec2> plate;  // a flat polygon instead of the limb
    Color albedo;
    float round = 1;      // how much light and shade model it
    float fur = 0.3f;     // contrast of its texture
    bool shines = false;  // an eye or a reflector under the flash
};

std::vector<Part> figure_of(const Subject& subject);
