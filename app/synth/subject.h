// Animals, people and vehicles of a synthetic image, as articulated figures with exact boxes.
#pragma once

#include <span>
#include <vector>

#include "app/synth/scene.h"

enum class Kind { reindeer, fox, hare, ptarmigan, raven, person, snowmobile, atv, rock };
constexpr int kKinds = 9;
const char* name_of(Kind kind);
// Index into {"animal", "person", "vehicle"}; a rock counts as the animal for which a detector may take it.
int category_of(Kind kind);
// From the ground to the highest point, in metres, roughly.
float height_of(Kind kind);

struct Subject {
    Kind kind = Kind::reindeer;
    float x = 0, z = 8;  // metres to the right, metres away
    float heading = 1;   // foreshortened length along the image: 1 walks right, -1 walks left
    float size = 1;
    float stride = 0;     // phase of the walk
    float head = 1;       // 1 raised, 0 down to the ground
    float aloft = 0;      // metres above the ground (flying birds)
    bool winter = false;  // white coat, skis instead of boots
    bool riding = false;
    uint64_t key = 0;  // coat and clothes
};

// The visible part of a subject: colours as the camera sees them, and its coverage of each pixel.
struct Cutout {
    Bounds area;
    std::vector<Color> color;
    std::vector<float> alpha;
    size_t index(int x, int y) const {
        return size_t(y - area.top) * size_t(area.right - area.left) + size_t(x - area.left);
    }
};

// Pixels of which at least a quarter is covered belong to the subject: with half, thin far legs would fall off.
constexpr float kSeen = 0.25f;
// The smallest rectangle around them; empty when there is none.
Bounds box_of(const Cutout& cutout);

Cutout cut_out(const Subject& subject, const Scene& scene, const Moment& moment);

struct Placed {
    Kind kind;
    Bounds box;
};
// Draws the subjects from far to near and returns the box of the visible part of each. A subject that would be too
// small, or mostly hidden or outside, is not drawn at all, so that every visible subject has a box.
std::vector<Placed> draw_subjects(Raster& image, std::vector<Subject> subjects, const Scene& scene,
                                  const Moment& moment);
