// A large image in parts: the positions of its tiles, and the merging of the boxes of all parts.
#pragma once

#include <vector>

#include "predict/detector.h"

struct ImageRegion {
    size_t top = 0, left = 0, h = 0, w = 0;  // pixels of the image
};

// The whole image, for objects larger than a tile; then, if one of its sides is longer than `side`, the tiles, row by
// row. Neighbours share `overlap` (0 to 0.9) of a side; the last tile of a row or column ends at the image's edge.
std::vector<ImageRegion> regions_of(size_t h, size_t w, size_t side, double overlap);

// Boxes of one part, already in pixels of the image. `cut`: the box ends at a border of the part that is not a border
// of the image, so that the object may continue beyond it.
struct PartBox {
    Box box;
    bool cut = false;
};
std::vector<PartBox> part_boxes(const std::vector<Box>& boxes, const ImageRegion& area, size_t h, size_t w);

// A cut box inside an uncut box of its class with at least half its score is part of the same object: it is dropped,
// and the uncut box gets the higher of the two scores. Then NMS per class; returns the best `max_boxes`, best first.
std::vector<Box> merged_boxes(std::vector<PartBox> boxes, float iou_threshold, size_t max_boxes = 300);
