// A large image seen in parts: where its tiles lie, and how the boxes of all parts become those of the image.
#pragma once

#include <vector>

#include "predict/detector.h"

struct ImageRegion {
    size_t top = 0, left = 0, h = 0, w = 0;  // pixels of the image
};

// The whole image, for objects larger than a tile; then, where a side of it is longer than `side`, the tiles, row by
// row. Neighbours share `overlap` (0 to 0.9) of a side; the last one of a row or column ends at the image's edge.
std::vector<ImageRegion> regions_of(size_t h, size_t w, size_t side, double overlap);

// Boxes of one part, already in pixels of the image -> marked where they end at a border that the image does not
// have: what they show may go on behind it.
struct PartBox {
    Box box;
    bool cut = false;
};
std::vector<PartBox> part_boxes(const std::vector<Box>& boxes, const ImageRegion& area, size_t h, size_t w);

// A cut box that lies within a whole one of its class, of at least half its score, is part of the same object: it goes,
// and the whole one takes the higher score of the two. Then the usual suppression per class; the `most` best are left,
// best first.
std::vector<Box> merged_boxes(std::vector<PartBox> boxes, float overlap, size_t most = 300);
