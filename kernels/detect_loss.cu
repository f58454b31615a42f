// The detector's loss on the GPU: a thread per cell and anchor walks over the boxes of its image, so that every
// number is written by one thread and nothing has to be sorted or collected first.
//
// Floor in bytes, s = bytes of T, R = n * 3 * h * w rows: forward R * 32 (a sector of each row), backward R * (32 + s *
// (5 + classes)). Batch 64 at 640 pixels, 3 classes: R = 1.6 M, 51 MB, 12 us forward, 18 us backward at 4.3 TB/s. The
// walk over 100 boxes takes 50 k warps * 100 * about 5 instructions: 27 us. Cells with a box are few, and their longer
// work hides behind the others.
#include "kernels/detect_loss.h"

#include "kernels/detect_loss_math.h"
#include "kernels/ranks.cuh"
#include "kernels/reduce.cuh"
#include "kernels/vector.cuh"

namespace {

constexpr unsigned kThreads = 256, kMaxBlocks = kMultiprocessors * 4;  // each leaves one row of sums behind

// Row `row` of (n, h, w, 3). No index into the struct: a GPU would copy it to the stack.
template <class T>
__device__ __forceinline__ Cell cell_at(const DetectLossShape& s, const DetectLossLevel<T>& level, const float* boxes,
                                        size_t row) {
    const unsigned anchor = unsigned(row % 3);
    const size_t pixel = row / 3, pixels = level.h * level.w, image = pixel / pixels, within = pixel - image * pixels;
    const auto side = [&](int axis) {
        return anchor == 0 ? level.anchors[0][axis] : anchor == 1 ? level.anchors[1][axis] : level.anchors[2][axis];
    };
    return {within / level.w, within % level.w, level.h,      level.w,
            side(0),          side(1),          level.stride, boxes + image * s.max_boxes * 5};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    detect_sums(DetectLossShape s, DetectLossLevel<T> level, const float* boxes, LossSums* sums) {
    const size_t rows = s.n * 3 * level.h * level.w, step = size_t(gridDim.x) * kThreads;
    LossSums total;
    for (size_t row = size_t(blockIdx.x) * kThreads + threadIdx.x; row < rows; row += step) {
        const LossSums loss = cell_loss(s, cell_at(s, level, boxes, row), level.head + row * (5 + s.classes));
        total = {total.box + loss.box, total.objectness + loss.objectness, total.classes + loss.classes,
                 total.matches + loss.matches};
    }
    total.box = block_reduce<kThreads>(total.box, Sum{});
    total.objectness = block_reduce<kThreads>(total.objectness, Sum{});
    total.classes = block_reduce<kThreads>(total.classes, Sum{});
    total.matches = block_reduce<kThreads>(total.matches, Sum{});
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

// One level after the other adds its part: `parts` of the levels before must be there.
template <class T>
__global__ void __launch_bounds__(kThreads)
    detect_merge(DetectLossShape s, DetectLossLevel<T> level, const LossSums* sums, unsigned blocks, size_t number,
                 float* loss, float* parts, float* matches) {
    LossSums all;
#pragma unroll 1  // at most three turns for each rank
    for (unsigned block = threadIdx.x; block < blocks; block += kThreads) {
        const LossSums part = sums[block];
        all = {all.box + part.box, all.objectness + part.objectness, all.classes + part.classes,
               all.matches + part.matches};
    }
    all.box = block_reduce<kThreads>(all.box, Sum{});
    all.objectness = block_reduce<kThreads>(all.objectness, Sum{});
    all.classes = block_reduce<kThreads>(all.classes, Sum{});
    all.matches = block_reduce<kThreads>(all.matches, Sum{});
    if (threadIdx.x != 0) return;
    const LossWeights weight = loss_weights(s, level, all.matches);
    const float before[3] = {number ? parts[0] : 0.0f, number ? parts[1] : 0.0f, number ? parts[2] : 0.0f};
    parts[0] = before[0] + weight.box * all.box;
    parts[1] = before[1] + weight.objectness * all.objectness;
    parts[2] = before[2] + weight.classes * all.classes;
    matches[number] = all.matches;
    *loss = float(s.n) * (parts[0] + parts[1] + parts[2]);
}

// s.n and matches are those of all ranks, rows those of this one.
template <class T>
__global__ void __launch_bounds__(kThreads)
    detect_gradient(DetectLossShape s, DetectLossLevel<T> level, const float* boxes, const float* matches,
                    const float* dloss, size_t rows) {
    const size_t row = size_t(blockIdx.x) * kThreads + threadIdx.x;
    if (row >= rows) return;
    LossWeights weight = loss_weights(s, level, *matches);
    const float scale = *dloss * float(s.n);
    weight = {weight.box * scale, weight.objectness * scale, weight.classes * scale};
    const size_t at = row * (5 + s.classes);
    cell_gradient(s, cell_at(s, level, boxes, row), weight, level.head + at, level.dhead + at);
}

DetectLossShape of_all_ranks(DetectLossShape shape, const Ranks* ranks) {
    if (ranks) shape.n *= ranks->count;
    return shape;
}

template <class T>
size_t rows_of(const DetectLossShape& s, const DetectLossLevel<T>& level) {
    return s.n * 3 * level.h * level.w;
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const DetectLossForward<T>& op) {
    const size_t ranks = op.ranks ? op.ranks->count : 1;
    Scratch scratch = gpu.scratch;
    LossSums* const sums = scratch.split<LossSums>(kMaxBlocks);
    LossSums* const all = op.ranks ? scratch.take<LossSums>(ranks * kMaxBlocks) : sums;
    const DetectLossShape whole = of_all_ranks(op.shape, op.ranks);
    for (size_t l = 0; l < op.shape.levels; ++l) {
        const unsigned blocks =
            unsigned(std::min<size_t>(kMaxBlocks, ceil_div(rows_of(op.shape, op.level[l]), kThreads)));
        simt::launch(detect_sums<T>, dim3(blocks), dim3(kThreads), 0, stream_of(gpu), op.shape, op.level[l], op.boxes,
                     sums);
        if (op.ranks) gather_over_ranks(gpu, *op.ranks, sums, all, blocks);
        simt::launch(detect_merge<T>, dim3(1), dim3(kThreads), 0, stream_of(gpu), whole, op.level[l], all,
                     unsigned(ranks * blocks), l, op.loss, op.parts, op.matches);
    }
}

template <class T>
void compute(const Gpu& gpu, const DetectLossBackward<T>& op) {
    for (size_t l = 0; l < op.shape.levels; ++l)
        simt::launch(detect_gradient<T>, dim3(ceil_div(rows_of(op.shape, op.level[l]), kThreads)), dim3(kThreads), 0,
                     stream_of(gpu), of_all_ranks(op.shape, op.ranks), op.level[l], op.boxes, op.matches + l, op.dloss,
                     rows_of(op.shape, op.level[l]));
}

template void compute(const Gpu&, const DetectLossForward<float>&);
template void compute(const Gpu&, const DetectLossForward<bf16>&);
template void compute(const Gpu&, const DetectLossForward<fp16>&);
template void compute(const Gpu&, const DetectLossBackward<float>&);
template void compute(const Gpu&, const DetectLossBackward<bf16>&);
template void compute(const Gpu&, const DetectLossBackward<fp16>&);
