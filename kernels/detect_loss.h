// The loss of a YOLOv5: where each box of an image belongs in the heads, and how far the heads are from it.
//
// heads, dhead: per level (n, h, w, 3 * (5 + classes)) before the sigmoid; per anchor x y w h, objectness, classes
// boxes: (n, max_boxes, 5) float: class, centre x, centre y, width, height in pixels of the network's input; a class
//   below 0 marks a row without a box
// loss, dloss: one float   parts: (3) box, objectness, classes   matches: (levels)
//
// Assignment. Per level (stride s, anchors in pixels) a box belongs to anchor a where
//   max(bw / aw, aw / bw, bh / ah, ah / bh) < anchor_threshold
// and there to the cell in which its centre g = (cx / s, cy / s) lies (at the border: the nearest one), and to the
// neighbours that are less than half a cell away, horizontally and vertically, if they lie in the grid:
//   left of cell j = floor(gx) if frac(gx) < 1/2, right if frac(gx) > 1/2; so each box has up to three cells per anchor
//
// Losses, with t the head's numbers at (cell i j, anchor a) and s = sigmoid(t), in units of cells:
//   p = (2 s0 - 1/2 + j,  2 s1 - 1/2 + i,  (2 s2)^2 * aw / stride,  (2 s3)^2 * ah / stride)
//   CIoU(p, b) = IoU - d^2 / c^2 - alpha * v     d: distance of the centres, c: diagonal of the box around both
//     v = 4 / pi^2 * (atan(bw / bh) - atan(pw / ph))^2
//     alpha = v / (1 - IoU + v), a constant to the gradient
//   bce(t, q) = max(t, 0) - t * q + log(1 + exp(-|t|)),   derivative sigmoid(t) - q
//   box        = sum over levels of the mean over matches of 1 - CIoU
//   objectness = sum over levels of balance * the mean over all cells and anchors of bce(t4, q); q is the maximum of
//                0 and the CIoU of the cell's matches, a constant to the gradient
//   classes    = sum over levels of the mean over matches and classes of bce(t5.., q); q is 1 - smoothing / 2 for the
//                class of the box and smoothing / 2 for the others; 0 where there is only one class
//   parts = gains * (box, objectness, classes)         loss = n * (their sum)
// With `ranks`, n and all sums are those over the images of all ranks.
//
// The factor n is YOLOv5's: the gradient is a sum over images, so a learning rate holds for any batch.
//
// Two boxes in one cell and anchor both count in `box` and `classes`; objectness takes the better of them. (YOLOv5
// takes the one that it wrote last, and counts a box twice whose centre lies exactly between two cells.) The order of
// all sums is fixed.
//
// Sources: Redmon & Farhadi 2018, https://arxiv.org/abs/1804.02767; Zheng et al. 2021, https://arxiv.org/abs/2005.03572
// (CIoU); the assignment, q and the gains: YOLOv5 6.x, Jocher et al., https://doi.org/10.5281/zenodo.3908559
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

class Ranks;  // base/ranks.h

struct DetectLossShape {
    size_t n, classes, max_boxes, levels;  // up to 4 levels
    float box_gain, objectness_gain, class_gain;
    float smoothing, anchor_threshold;
};

constexpr size_t kMaxLevels = 4;

template <class T>
struct DetectLossLevel {
    size_t h, w;
    float stride, balance;
    float anchors[3][2];  // width and height in pixels
    const T* head;
    T* dhead;  // backward only; assigned
};

template <class T>
struct DetectLossForward {
    DetectLossShape shape;
    DetectLossLevel<T> level[kMaxLevels];
    const float* boxes;
    float *loss, *parts, *matches;
    Ranks* ranks = nullptr;
};

template <class T>
struct DetectLossBackward {
    DetectLossShape shape;
    DetectLossLevel<T> level[kMaxLevels];
    const float *boxes, *matches, *dloss;
    Ranks* ranks = nullptr;
};

template <class T>
void compute(const Cpu&, const DetectLossForward<T>&);
template <class T>
void compute(const Cpu&, const DetectLossBackward<T>&);
template <class T>
void compute(const Simt&, const DetectLossForward<T>&);
template <class T>
void compute(const Simt&, const DetectLossBackward<T>&);
template <class T>
void compute(const Cuda&, const DetectLossForward<T>&);
template <class T>
void compute(const Cuda&, const DetectLossBackward<T>&);
