// How a detector's training image is put together of one or four images, and where their boxes go: pure functions
// of seed, epoch and sample.
//
// Each image lies letterboxed in a frame (FitMode::letterbox). One alone is mirrored, scaled about the middle and
// shifted. Four meet at a point: they are laid around the centre c of a canvas twice as wide and high as the frame, c
// drawn from the canvas's middle half, without their margins; the canvas is scaled about its middle, shifted, and cut
// to the frame.
//   canvas to frame: p = (q - canvas / 2) * scale + frame / 2 + shift
// What no image covers is grey. Mosaics: Bochkovskiy et al. 2020, https://arxiv.org/abs/2004.10934; the layout and
// the ranges are YOLOv5's.
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
    uint64_t mosaic_epochs = ~uint64_t(0);  // only in the first so many: the last ones show images as they are

    bool operator==(const BoxAugment&) const = default;
};

struct Tile {
    uint32_t sample;
    size_t left, top, right, bottom;  // the part of the frame that it fills, in pixels
    float a, c, e, f;                 // frame to the image's own frame: u = a x + c, v = e y + f
};

struct Composition {
    std::vector<Tile> tiles;
    std::array<float, 2> color;  // gain offset, as in data/augment.h
};

// `samples`: where the other three images of a mosaic are taken from. key.sample is the number of the first in
// `data`.
Composition compose(const BoxAugment& how, const AugmentKey& key, const Dataset& data,
                    std::span<const uint32_t> samples, const Fit& fit);

// Where the sample's image lies in its own frame.
Letterbox place_in_frame(const Sample& sample, const Fit& fit);

// x: the frame of the tile's image, y: the composed one, both (h, w, 3).
Paste paste_of(const Tile& tile, const Letterbox& place, const Fit& fit, const uint8_t* x, uint8_t* y);

// Adds the tile's boxes in pixels of the composed frame: class, centre x, centre y, width, height. A box is cut at the
// edges of its tile, and left out if a side is shorter than two pixels or less than a fifth of it is left.
void append_boxes(const Tile& tile, const Sample& sample, const Fit& fit, std::vector<std::array<float, 5>>& boxes);
