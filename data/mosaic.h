// Composes a detector's training image and its boxes from one or four images: pure functions of seed, epoch and sample.
//
// Each image is letterboxed in a frame (FitMode::letterbox). A single one is mirrored, scaled around the center and
// shifted. Four are placed, without their margins, around a point c of a canvas twice as wide and high as the frame,
// with c drawn from the canvas's middle half; the canvas is scaled around its center, shifted, and cut to the frame.
//   canvas to frame: p = (q - canvas / 2) * scale + frame / 2 + shift
// Pixels that no image covers are grey. Mosaics: Bochkovskiy et al. 2020, https://arxiv.org/abs/2004.10934; the layout
// and the ranges are YOLOv5's.
#pragma once

#include <span>

#include "data/augment.h"
#include "data/dataset.h"
#include "data/fit.h"
#include "data/paste.h"

struct BoxAugment {
    double flip = 0;             // probability of a mirrored image
    double zoom = 0, shift = 0;  // scale 1-x..1+x; share of the side
    double brightness = 0, contrast = 0;
    double mosaic = 0;                      // probability of four images instead of one
    uint64_t mosaic_epochs = ~uint64_t(0);  // mosaics only in the first so many; later epochs show whole images

    bool operator==(const BoxAugment&) const = default;
};

struct Tile {
    uint32_t sample;
    size_t left, top, right, bottom;  // the part of the frame that it covers, in pixels
    float a, c, e, f;                 // frame to the image's own frame: u = a x + c, v = e y + f
};

struct Composition {
    std::vector<Tile> tiles;
    std::array<float, 2> color;  // gain offset, as in data/augment.h
};

// `samples`: candidates for the other three images of a mosaic. key.sample is the number of the first one in `data`.
Composition compose(const BoxAugment& augment, const AugmentKey& key, const Dataset& data,
                    std::span<const uint32_t> samples, const Fit& fit);

// The letterbox of the sample's image.
Letterbox place_in_frame(const Sample& sample, const Fit& fit);

// x: the frame of the tile's image, y: the composed one, both (h, w, 3).
Paste paste_of(const Tile& tile, const Letterbox& place, const Fit& fit, const uint8_t* x, uint8_t* y);

// Adds the tile's boxes in pixels of the composed frame: class, center x, center y, width, height. A box is cut at the
// edges of its tile, and dropped if a side is shorter than two pixels or less than a fifth of it is left.
void append_boxes(const Tile& tile, const Sample& sample, const Fit& fit, std::vector<std::array<float, 5>>& boxes);
