// Images with boxes, what a detector learns from. A data set is one of
//   COCO JSON      a file, or a folder with one; several whose names end with train, val or test are the parts.
//                  Images are looked for beside the file, in `images` there, and one folder up. An image without
//                  annotations shows nothing; one with an annotation but without a box (a label of the whole image) is
//                  left out unless it says "empty". https://cocodataset.org/#format-data,
//                  https://github.com/Microsoft/CameraTraps (COCO Camera Traps)
//   YOLO labels    a folder with `images` and `labels` and a data.yaml or classes.txt for the names, or such a yaml
//                  file. A label file has lines of class, center x, center y, width, height as shares of the sides; a
//                  polygon counts as the box around it
// Parts are those of the data set; data/split.h makes them if it has none. Harmless oddities are counted in the notes.
#pragma once

#include "data/dataset.h"

// Errors (usage), with file and line or number of the annotation: no such file, no images, no boxes to train on, an
// unknown category, a malformed number, a duplicate image, a result file of a detector, ...
Dataset open_box_dataset(const std::string& path, const DatasetOptions& options = {});
