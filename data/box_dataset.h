// Images with boxes, to train a detector. A data set is one of
//   COCO JSON      a file, or a folder with one; several whose names end with train, val or test are the parts.
//                  Images are looked for beside the file, in `images` there, and one folder up. An image without
//                  annotations is empty; one with an annotation but without a box (a label of the whole image) is
//                  left out unless it says "empty". https://cocodataset.org/#format-data,
//                  https://github.com/Microsoft/CameraTraps (COCO Camera Traps)
//   YOLO labels    a folder with `images` and `labels` and a data.yaml or classes.txt for the names, or such a yaml
//                  file. A label file, of the folder labels or else beside its image, has lines of class, centre x,
//                  centre y, width, height as shares of the sides; a polygon counts as the box around it. Key points
//                  behind the box are recognized by kpt_shape in data.yaml, or if all lines look alike; not used
// Without parts in the data set, data/split.h makes them. Harmless oddities are counted in the notes.
#pragma once

#include "data/dataset.h"

// Errors (usage), with file and line or number of the annotation: no such file, no images, no boxes to train on, an
// unknown category, a malformed number, a duplicate image, a result file of a detector, ...
Dataset open_box_dataset(const std::string& path, const DatasetOptions& options = {});
