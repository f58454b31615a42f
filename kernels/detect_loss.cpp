// The detector's loss on the CPU, an image and anchor per piece of work. Most cells have no box and are done quickly.
#include "kernels/detect_loss.h"

#include <algorithm>

#include "base/ranks.h"
#include "kernels/detect_loss_math.h"
#include "kernels/parallel.h"

namespace {

// One anchor of one level in one image.
template <class T>
struct Piece {
    const DetectLossShape& shape;
    const DetectLossLevel<T>& level;
    const float* boxes;
    size_t image, anchor;

    Cell cell(size_t i, size_t j) const {
        return {i, j, level.h, level.w, level.anchors[anchor][0], level.anchors[anchor][1], level.stride, boxes};
    }
    size_t offset(size_t i, size_t j) const {  // in head
        return (((image * level.h + i) * level.w + j) * 3 + anchor) * (5 + shape.classes);
    }

    // Calls visit(cell) once for each cell that a box belongs to.
    template <class Visit>
    void for_matched_cells(const Visit& visit) const {
        for (size_t m = 0; m < shape.max_boxes; ++m) {
            const float* box = boxes + 5 * m;
            if (!fits_anchor(box, cell(0, 0), shape.anchor_threshold)) continue;
            const float gx = box[1] / level.stride, gy = box[2] / level.stride;
            const int i = cell_of(gy, level.h), j = cell_of(gx, level.w), down = side_of(gy, level.h),
                      right = side_of(gx, level.w);
            const auto take = [&](int row, int column) {
                if (row < 0 || column < 0 || row >= int(level.h) || column >= int(level.w)) return;
                const Cell c = cell(size_t(row), size_t(column));
                for (size_t before = 0; before < m; ++before)
                    if (belongs(boxes + 5 * before, c, shape.anchor_threshold)) return;  // visited
                visit(c);
            };
            take(i, j);
            if (down != 0) take(i + down, j);
            if (right != 0) take(i, j + right);
        }
    }
};

DetectLossShape of_all_ranks(DetectLossShape shape, const Ranks* ranks) {
    if (ranks) shape.n *= ranks->count;
    return shape;
}

template <class Op, class Body>
void for_pieces(const Cpu& cpu, const Op& op, const Body& body) {  // body(piece, level, number)
    for (size_t l = 0; l < op.shape.levels; ++l)
        parallel_for(cpu, op.shape.n * 3, 1, [&](size_t begin, size_t end) {
            for (size_t k = begin; k < end; ++k)
                body(Piece{op.shape, op.level[l], op.boxes + k / 3 * op.shape.max_boxes * 5, k / 3, k % 3}, l, k);
        });
}

}  // namespace

template <class T>
void compute(const Cpu& cpu, const DetectLossForward<T>& op) {
    const DetectLossShape& s = op.shape;
    const size_t pieces = s.n * 3;
    struct Sums {
        double box = 0, objectness = 0, classes = 0, matches = 0;
    };
    Sums* const all = cpu.scratch.take<Sums>(s.levels * pieces);
    for_pieces(cpu, op, [&](const Piece<T>& piece, size_t l, size_t number) {
        const DetectLossLevel<T>& level = op.level[l];
        Sums sums;
        for (size_t i = 0; i < level.h; ++i)
            for (size_t j = 0; j < level.w; ++j)
                sums.objectness += double(softplus(float(level.head[piece.offset(i, j) + 4])));
        piece.for_matched_cells([&](const Cell& c) {
            const T* t = level.head + piece.offset(c.i, c.j);
            const LossSums loss = cell_loss(s, c, t);
            sums.box += double(loss.box);
            sums.objectness += double(loss.objectness) - double(softplus(float(t[4])));
            sums.classes += double(loss.classes);
            sums.matches += double(loss.matches);
        });
        all[l * pieces + number] = sums;
    });
    double parts[3] = {};
    Sums levels[kMaxLevels];
    for (size_t l = 0; l < s.levels; ++l)
        for (size_t k = 0; k < pieces; ++k) {
            const Sums& part = all[l * pieces + k];
            levels[l].box += part.box, levels[l].objectness += part.objectness, levels[l].classes += part.classes,
                levels[l].matches += part.matches;
        }
    if (op.ranks) op.ranks->sum({&levels[0].box, s.levels * sizeof(Sums) / sizeof(double)});
    const DetectLossShape whole = of_all_ranks(s, op.ranks);
    for (size_t l = 0; l < s.levels; ++l) {
        const Sums& sums = levels[l];
        const LossWeights weight = loss_weights(whole, op.level[l], float(sums.matches));
        parts[0] += double(weight.box) * sums.box;
        parts[1] += double(weight.objectness) * sums.objectness;
        parts[2] += double(weight.classes) * sums.classes;
        op.matches[l] = float(sums.matches);
    }
    for (size_t k = 0; k < 3; ++k) op.parts[k] = float(parts[k]);
    *op.loss = float(double(whole.n) * (parts[0] + parts[1] + parts[2]));
}

template <class T>
void compute(const Cpu& cpu, const DetectLossBackward<T>& op) {
    const DetectLossShape& s = op.shape;
    const DetectLossShape whole = of_all_ranks(s, op.ranks);
    const size_t values = 5 + s.classes;
    for_pieces(cpu, op, [&](const Piece<T>& piece, size_t l, size_t) {
        const DetectLossLevel<T>& level = op.level[l];
        LossWeights weight = loss_weights(whole, level, op.matches[l]);
        const float scale = *op.dloss * float(whole.n);
        weight = {weight.box * scale, weight.objectness * scale, weight.classes * scale};
        for (size_t i = 0; i < level.h; ++i)
            for (size_t j = 0; j < level.w; ++j) {
                T* const dt = level.dhead + piece.offset(i, j);
                std::fill_n(dt, values, T(0.0f));
                dt[4] = T(weight.objectness * precise_sigmoid(float(level.head[piece.offset(i, j) + 4])));
            }
        piece.for_matched_cells([&](const Cell& c) {
            const size_t at = piece.offset(c.i, c.j);
            cell_gradient(s, c, weight, level.head + at, level.dhead + at);
        });
    });
}

template void compute(const Cpu&, const DetectLossForward<float>&);
template void compute(const Cpu&, const DetectLossForward<bf16>&);
template void compute(const Cpu&, const DetectLossBackward<float>&);
template void compute(const Cpu&, const DetectLossBackward<bf16>&);
