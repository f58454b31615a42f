// From the outputs of YOLOv5's heads to boxes: decoding, and the best box of every object.
//
// DecodeBoxes  one level. head: (n, h, w, 3 * (5 + classes)), before the sigmoid
//   boxes: (n, rows, 5 + classes): x y w h of the box in pixels of the network's input, objectness, class scores; this
//   level's rows start at first_row, ordered anchor, i, j. With s = sigmoid(head) of pixel (i, j) and anchor a:
//     x = (2 s0 - 1/2 + j) * stride      w = (2 s2)^2 * anchors[a][0]
//     y = (2 s1 - 1/2 + i) * stride      h = (2 s3)^2 * anchors[a][1]
//   `mirror` is the width of an image that was mirrored, else 0: x then becomes mirror - x.
//
// DecodeDistances  one level of a detector without anchors. box: (n, h, w, 4 * 16), score: (n, h, w, classes), before
//   softmax and sigmoid
//   boxes: as above, this level's rows in the order of i, j. A pixel is a candidate if a class has sigmoid(score) >
//   threshold; its objectness is 1. The others have objectness 0 and no box, since most pixels of an image are empty.
//   With d of left, top, right, bottom = sum over b of b * softmax(box of the side)_b, the distances from the middle of
//   the pixel to the sides in strides:
//     x = (j + 1/2 + (d2 - d0) / 2) * stride      w = (d0 + d2) * stride
//     y = (i + 1/2 + (d3 - d1) / 2) * stride      h = (d1 + d3) * stride
//   Objectness is NaN where a score or a box of a candidate is.
//   Source: Li et al. 2020, https://arxiv.org/abs/2006.04388, 3.2 (the distribution of a side)
//
// SelectBoxes  non-maximum suppression; boxes as above
//   detections: (n, max_detections, 6): x1 y1 x2 y2 score class, best first, zeros after the last
//   count: (n), the number of boxes; -1, and no boxes, where an objectness is NaN: the network overflowed
//   A row is a candidate if its objectness > threshold and its score = objectness * best class score > threshold.
//   Greedy: the best candidate is taken and suppresses those of its class whose IoU with it is > iou_threshold, until
//   none is left or max_detections are taken. Of equal scores the lower row comes first.
//   YOLOv5 also drops all but the best 30000 candidates beforehand and stops after a time; neither is done here.
//
// Source: YOLOv5 models/yolo.py (Detect), utils/general.py (non_max_suppression); torchvision ops/nms.
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

template <class T>
struct DecodeBoxes {
    size_t n, h, w, classes;
    float stride;
    float anchors[3][2];  // width and height in pixels
    float mirror = 0;
    size_t first_row, rows;
    const T* head;
    float* boxes;
};

inline constexpr size_t kDistanceBins = 16;

template <class T>
struct DecodeDistances {
    size_t n, h, w, classes;
    float stride, threshold;
    float mirror = 0;
    size_t first_row, rows;
    const T *box, *score;
    float* boxes;
};

struct SelectBoxes {
    size_t n, rows, classes;         // at most 2^24 rows and 256 classes
    float threshold, iou_threshold;  // threshold >= 0
    size_t max_detections = 300;
    const float* boxes;
    float* detections;
    int32_t* count;
};

template <class T>
void compute(const Cpu&, const DecodeBoxes<T>&);
template <class T>
void compute(const Cpu&, const DecodeDistances<T>&);
void compute(const Cpu&, const SelectBoxes&);  // allocates a list of the candidates
template <class T>
void compute(const Simt&, const DecodeBoxes<T>&);
template <class T>
void compute(const Simt&, const DecodeDistances<T>&);
template <class T>
void compute(const Cuda&, const DecodeDistances<T>&);
void compute(const Simt&, const SelectBoxes&);  // takes 16 bytes of scratch memory per row; likewise on Cuda
template <class T>
void compute(const Cuda&, const DecodeBoxes<T>&);
void compute(const Cuda&, const SelectBoxes&);
