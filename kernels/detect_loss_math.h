// The arithmetic of one cell and anchor of the detector's loss, shared by detect_loss.cpp and detect_loss.cu.
// Everything is in units of cells.
#pragma once

#include <cmath>

#include "kernels/detect_loss.h"

struct CellBox {
    float x, y, w, h;  // centre and size
};

// Complete IoU of two boxes, and its gradient with respect to the first.
struct CIoU {
    float value;
    CellBox grad;
};

HOST_DEVICE inline CIoU complete_iou(const CellBox& p, const CellBox& b) {
    constexpr float tiny = 1e-30f;  // against 0 / 0; b has an area
    const float left = fmaxf(p.x - p.w / 2, b.x - b.w / 2), right = fminf(p.x + p.w / 2, b.x + b.w / 2);
    const float top = fmaxf(p.y - p.h / 2, b.y - b.h / 2), bottom = fminf(p.y + p.h / 2, b.y + b.h / 2);
    const float over_w = fmaxf(right - left, 0.0f), over_h = fmaxf(bottom - top, 0.0f);
    const float both = over_w * over_h, all = p.w * p.h + b.w * b.h - both + tiny, iou = both / all;

    const float hull_left = fminf(p.x - p.w / 2, b.x - b.w / 2), hull_right = fmaxf(p.x + p.w / 2, b.x + b.w / 2);
    const float hull_top = fminf(p.y - p.h / 2, b.y - b.h / 2), hull_bottom = fmaxf(p.y + p.h / 2, b.y + b.h / 2);
    const float hull_w = hull_right - hull_left, hull_h = hull_bottom - hull_top,
                diagonal = hull_w * hull_w + hull_h * hull_h + tiny;
    const float dx = p.x - b.x, dy = p.y - b.y, apart = (dx * dx + dy * dy) / diagonal;

    constexpr float k = 0.405284735f;  // 4 / pi^2
    const float turn = atan2f(b.w, b.h) - atan2f(p.w, p.h), v = k * turn * turn, alpha = v / (1 - iou + v + 1e-7f);

    // Whether a side of p bounds the intersection, or the hull. It moves by 1 with the centre, by 1/2 with the size.
    const bool meet = over_w > 0 && over_h > 0;
    const float in_left = meet && p.x - p.w / 2 > b.x - b.w / 2 ? 1.0f : 0.0f,
                in_right = meet && p.x + p.w / 2 < b.x + b.w / 2 ? 1.0f : 0.0f;
    const float in_top = meet && p.y - p.h / 2 > b.y - b.h / 2 ? 1.0f : 0.0f,
                in_bottom = meet && p.y + p.h / 2 < b.y + b.h / 2 ? 1.0f : 0.0f;
    const float out_left = p.x - p.w / 2 < b.x - b.w / 2 ? 1.0f : 0.0f,
                out_right = p.x + p.w / 2 > b.x + b.w / 2 ? 1.0f : 0.0f;
    const float out_top = p.y - p.h / 2 < b.y - b.h / 2 ? 1.0f : 0.0f,
                out_bottom = p.y + p.h / 2 > b.y + b.h / 2 ? 1.0f : 0.0f;

    const float of_both = (1 + iou) / all;       // IoU by the intersection, the union moving with it
    const float of_hull = 2 * apart / diagonal;  // -apart by a side of the hull, times that side
    const float of_turn = 2 * k * alpha * turn / (p.w * p.w + p.h * p.h + tiny);  // -alpha * v by atan(w / h)
    CellBox grad;
    grad.x = of_both * over_h * (in_right - in_left) - 2 * dx / diagonal + of_hull * hull_w * (out_right - out_left);
    grad.y = of_both * over_w * (in_bottom - in_top) - 2 * dy / diagonal + of_hull * hull_h * (out_bottom - out_top);
    grad.w = of_both * over_h * (in_right + in_left) / 2 - iou / all * p.h +
             of_hull * hull_w * (out_right + out_left) / 2 + of_turn * p.h;
    grad.h = of_both * over_w * (in_bottom + in_top) / 2 - iou / all * p.w +
             of_hull * hull_h * (out_bottom + out_top) / 2 - of_turn * p.w;
    return {iou - apart - alpha * v, grad};
}

HOST_DEVICE inline float softplus(float t) { return fmaxf(t, 0.0f) + log1pf(expf(-fabsf(t))); }
// With the library's expf, unlike the faster sigmoid() of vector_math.h and activation.cuh.
HOST_DEVICE inline float precise_sigmoid(float t) { return 1 / (1 + expf(-t)); }

// One cell and anchor of one image.
struct Cell {
    size_t i, j, h, w;
    float anchor_w, anchor_h, stride;  // pixels
    const float* boxes;                // (max_boxes, 5) of the image
};

HOST_DEVICE inline bool fits_anchor(const float* box, const Cell& c, float anchor_threshold) {
    if (!(box[0] >= 0)) return false;
    const float rw = box[3] / c.anchor_w, rh = box[4] / c.anchor_h;
    return rw < anchor_threshold && rh < anchor_threshold && rw * anchor_threshold > 1 && rh * anchor_threshold > 1;
}

// The cell of a coordinate in a row of `count`.
HOST_DEVICE inline int cell_of(float g, size_t count) { return int(fminf(fmaxf(floorf(g), 0.0f), float(count - 1))); }

// -1, 0 or 1: the neighbour on whose side of the cell the coordinate lies.
HOST_DEVICE inline int side_of(float g, size_t count) {
    const float into = g - float(cell_of(g, count));
    return into < 0.5f ? -1 : into > 0.5f ? 1 : 0;
}

HOST_DEVICE inline bool belongs(const float* box, const Cell& c, float anchor_threshold) {
    if (!fits_anchor(box, c, anchor_threshold)) return false;
    const float gx = box[1] / c.stride, gy = box[2] / c.stride;
    const int right = int(c.j) - cell_of(gx, c.w), down = int(c.i) - cell_of(gy, c.h);
    if (right == 0) return down == 0 || down == side_of(gy, c.h);
    return down == 0 && right == side_of(gx, c.w);
}

// Sums over the boxes of a cell.
struct CellSums {
    float matches = 0, box = 0;   // box: 1 - CIoU
    CellBox grad = {0, 0, 0, 0};  // of the sum of CIoU with respect to the prediction
    float target = 0;             // of objectness
    int label = -1;               // of the first
};

HOST_DEVICE inline CellSums cell_sums(const DetectLossShape& s, const Cell& c, const CellBox& prediction) {
    CellSums sums;
    for (size_t m = 0; m < s.max_boxes; ++m) {
        const float* box = c.boxes + 5 * m;
        if (!belongs(box, c, s.anchor_threshold)) continue;
        const CIoU ciou =
            complete_iou(prediction, {box[1] / c.stride, box[2] / c.stride, box[3] / c.stride, box[4] / c.stride});
        if (sums.matches == 0) sums.label = int(box[0]);
        sums.matches += 1;
        sums.box += 1 - ciou.value;
        sums.target = fmaxf(sums.target, ciou.value);
        sums.grad = {sums.grad.x + ciou.grad.x, sums.grad.y + ciou.grad.y, sums.grad.w + ciou.grad.w,
                     sums.grad.h + ciou.grad.h};
    }
    return sums;
}

// The sum over the boxes of a cell of the target of class k. Only several boxes in one cell need another loop over all.
HOST_DEVICE inline float class_targets(const DetectLossShape& s, const Cell& c, const CellSums& sums, size_t k) {
    float count = 0;
    if (sums.matches == 1)
        count = sums.label == int(k) ? 1.0f : 0.0f;
    else
#pragma unroll 1  // as below: nvcc would make a copy for each of several turns, of what few cells do
        for (size_t m = 0; m < s.max_boxes; ++m)
            if (int(c.boxes[5 * m]) == int(k) && belongs(c.boxes + 5 * m, c, s.anchor_threshold)) count += 1;
    return sums.matches * s.smoothing / 2 + count * (1 - s.smoothing);
}

template <class T>
HOST_DEVICE CellBox predicted(const Cell& c, const T* t) {
    const float sw = 2 * precise_sigmoid(float(t[2])), sh = 2 * precise_sigmoid(float(t[3]));
    return {2 * precise_sigmoid(float(t[0])) - 0.5f + float(c.j), 2 * precise_sigmoid(float(t[1])) - 0.5f + float(c.i),
            sw * sw * c.anchor_w / c.stride, sh * sh * c.anchor_h / c.stride};
}

// Sums over cells of a level.
struct LossSums {
    float box = 0, objectness = 0, classes = 0, matches = 0;
};

// t: the head's 5 + classes numbers
template <class T>
HOST_DEVICE LossSums cell_loss(const DetectLossShape& s, const Cell& c, const T* t) {
    const CellSums sums = cell_sums(s, c, predicted(c, t));
    LossSums loss{sums.box, softplus(float(t[4])) - float(t[4]) * sums.target, 0, sums.matches};
    if (sums.matches > 0 && s.classes > 1)
#pragma unroll 1
        for (size_t k = 0; k < s.classes; ++k) {
            const float tk = float(t[5 + k]);
            loss.classes += sums.matches * softplus(tk) - tk * class_targets(s, c, sums, k);
        }
    return loss;
}

// The weight of each sum of a level in the loss.
struct LossWeights {
    float box, objectness, classes;
};

template <class T>
HOST_DEVICE LossWeights loss_weights(const DetectLossShape& s, const DetectLossLevel<T>& level, float matches) {
    const float mean = matches > 0 ? 1 / matches : 0.0f;
    return {s.box_gain * mean, s.objectness_gain * level.balance / float(s.n * 3 * level.h * level.w),
            s.classes > 1 ? s.class_gain * mean / float(s.classes) : 0.0f};
}

// Writes the gradient with respect to t.
template <class T>
HOST_DEVICE void cell_gradient(const DetectLossShape& s, const Cell& c, const LossWeights& weight, const T* t, T* dt) {
    const CellBox p = predicted(c, t);
    const CellSums sums = cell_sums(s, c, p);
    const float sx = precise_sigmoid(float(t[0])), sy = precise_sigmoid(float(t[1])), sw = precise_sigmoid(float(t[2])),
                sh = precise_sigmoid(float(t[3]));
    dt[0] = T(-weight.box * sums.grad.x * 2 * sx * (1 - sx));
    dt[1] = T(-weight.box * sums.grad.y * 2 * sy * (1 - sy));
    dt[2] = T(-weight.box * sums.grad.w * 2 * p.w * (1 - sw));
    dt[3] = T(-weight.box * sums.grad.h * 2 * p.h * (1 - sh));
    dt[4] = T(weight.objectness * (precise_sigmoid(float(t[4])) - sums.target));
#pragma unroll 1
    for (size_t k = 0; k < s.classes; ++k)
        dt[5 + k] =
            T(sums.matches == 0
                  ? 0.0f
                  : weight.classes * (sums.matches * precise_sigmoid(float(t[5 + k])) - class_targets(s, c, sums, k)));
}
