// Boxes on the GPU. Decoding: a thread per 16 bytes of the head. Selection: a kernel gives every row a key, then one
// block per image takes the best candidate again and again; `max_detections` bounds the rounds, so nothing has to be
// sorted or read back.
//
// Floor per image of R rows: decoding reads s * (5 + classes) bytes per row (s: of T) and writes 4 * (5 + classes);
// selection reads those and 8 bytes per row twice. Distances: s * classes read and 4 * (5 + classes) written per row.
// 1280 x 960, 3 classes, R = 76500: 6 MB, 1.5 us on an H200; the rounds dominate: about 2 us each while the candidates
// fit the 512 threads a few times, that is 0.1 ms for 50 boxes.
#include "kernels/detect.h"

#include <stdexcept>

#include "kernels/activation.cuh"
#include "kernels/detect_math.h"
#include "kernels/vector.cuh"

namespace {

constexpr unsigned kThreads = 256, kSelectThreads = 512;

// kWidth divides 5 + classes. In the order of the head, so that from 3 classes on whole sectors are written.
template <int kWidth, class T>
__global__ void __launch_bounds__(kThreads) decode_boxes(DecodeBoxes<T> op) {
    const unsigned values = unsigned(5 + op.classes), parts = values / kWidth, pixels = unsigned(op.h * op.w);
    const unsigned index = blockIdx.x * kThreads + threadIdx.x, row = index / parts, first = index % parts * kWidth;
    if (row >= op.n * 3 * pixels) return;
    const unsigned anchor = row % 3, pixel = row / 3 % pixels, n = row / 3 / pixels, i = pixel / unsigned(op.w),
                   j = pixel % unsigned(op.w);
    float box[kWidth];
    load_floats(op.head + size_t(row) * values + first, box);
    SIMT_UNROLL
    for (int k = 0; k < kWidth; ++k) box[k] = decoded_value(op, anchor, i, j, first + unsigned(k), sigmoid(box[k]));
    store_floats(op.boxes + (n * op.rows + op.first_row + anchor * pixels + pixel) * values + first, box);
}

// The mean of softmax(bins) over the numbers 0 to 15.
template <class T>
__device__ __forceinline__ float mean_distance(const T* p) {
    float bins[kDistanceBins], largest = -INFINITY, sum = 0, weighted = 0;
    load_floats(p, bins);
    SIMT_UNROLL
    for (unsigned b = 0; b < kDistanceBins; ++b) largest = fmaxf(largest, bins[b]);
    SIMT_UNROLL
    for (unsigned b = 0; b < kDistanceBins; ++b) {
        const float part = expf(bins[b] - largest);
        sum += part;
        weighted += float(b) * part;
    }
    return __fdividef(weighted, sum);
}

// A thread per pixel: most stop after the scores.
template <class T>
__global__ void __launch_bounds__(kThreads) decode_distances(DecodeDistances<T> op) {
    const unsigned index = blockIdx.x * kThreads + threadIdx.x, pixels = unsigned(op.h * op.w);
    if (index >= op.n * pixels) return;
    const unsigned n = index / pixels, pixel = index % pixels, i = pixel / unsigned(op.w), j = pixel % unsigned(op.w);
    const unsigned classes = unsigned(op.classes);
    float* const to = op.boxes + (n * op.rows + op.first_row + pixel) * (5 + classes);
    float box[5] = {};
    bool candidate = false;
    for (unsigned k = 0; k < classes; ++k) {
        const float score = float(op.score[size_t(index) * classes + k]), s = sigmoid(score);
        to[5 + k] = s;
        candidate |= s > op.threshold;
        box[4] += score - score;  // 0, or NaN where the score is not finite
    }
    if (candidate && box[4] == 0) {
        float d[4];
        for (unsigned side = 0; side < 4; ++side)
            d[side] = mean_distance(op.box + (size_t(index) * 4 + side) * kDistanceBins);
        float four[4];
        distances_to_box(op, i, j, d, four);
        for (int k = 0; k < 4; ++k) box[k] = four[k];
        box[4] = d[0] + d[1] + d[2] + d[3] >= 0 ? 1 : NAN;
    }
    for (int k = 0; k < 5; ++k) to[k] = box[k];
}

__global__ void __launch_bounds__(kThreads) candidate_keys(SelectBoxes op, uint64_t* keys) {
    const size_t index = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index < op.n * op.rows)
        keys[index] = candidate_key(op.boxes + index * (5 + op.classes), index % op.rows, op.classes, op.threshold);
}

// `all` and `candidates` are (n, rows); the order of the candidates does not matter, their keys are all different.
__global__ void __launch_bounds__(kSelectThreads)
    select_boxes(SelectBoxes op, const uint64_t* all, uint64_t* candidates) {
    SIMT_SHARED(int, candidate_count, [1]);
    SIMT_SHARED(uint64_t, best_of_warp, [2][kSelectThreads / 32]);
    const unsigned t = threadIdx.x;
    const size_t values = 5 + op.classes, first = size_t(blockIdx.x) * op.rows;
    const float* const boxes = op.boxes + first * values;
    uint64_t* const mine = candidates + first;
    float* const detections = op.detections + size_t(blockIdx.x) * op.max_detections * 6;
    if (t == 0) candidate_count[0] = 0;
    for (size_t i = t; i < op.max_detections * 6; i += kSelectThreads) detections[i] = 0;
    __syncthreads();
    for (size_t row = t; row < op.rows; row += kSelectThreads)
        if (const uint64_t key = all[first + row]; key != kNoCandidate) mine[atomicAdd(candidate_count, 1)] = key;
    __syncthreads();
    const unsigned candidates_here = unsigned(candidate_count[0]);

    uint64_t taken = kNoCandidate;
    size_t count = 0;
    for (; count < op.max_detections; ++count) {  // all threads agree on `taken`
        Corners box{};
        if (taken != kNoCandidate) box = corners_of(boxes + row_of(taken) * values);
        unsigned long long best = kNoCandidate;
        for (unsigned i = t; i < candidates_here; i += kSelectThreads) {
            const uint64_t key = mine[i];
            if (key == kNoCandidate) continue;
            const bool same = taken != kNoCandidate && class_of(key) == class_of(taken);
            if (key == taken ||
                (same && intersection_over_union(box, corners_of(boxes + row_of(key) * values)) > op.iou_threshold)) {
                mine[i] = kNoCandidate;
            } else if (key < best) {
                best = key;
            }
        }
        SIMT_UNROLL
        for (int lane = 16; lane > 0; lane /= 2) {
            const unsigned long long other = __shfl_xor_sync(0xffffffffu, best, lane);
            if (other < best) best = other;
        }
        if (t % 32 == 0) best_of_warp[count & 1][t / 32] = best;
        __syncthreads();  // one per round: rounds use the two rows of best_of_warp in turn
        taken = kNoCandidate;
        for (unsigned warp = 0; warp < kSelectThreads / 32; ++warp)
            if (best_of_warp[count & 1][warp] < taken) taken = best_of_warp[count & 1][warp];
        if (taken == kNoCandidate || taken == kNotFinite) break;  // NaN: the first that is taken
        if (t == 0) write_detection(corners_of(boxes + row_of(taken) * values), taken, detections + 6 * count);
    }
    if (t == 0) op.count[blockIdx.x] = taken == kNotFinite ? -1 : int32_t(count);
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const DecodeBoxes<T>& op) {
    const size_t values = 5 + op.classes, numbers = op.n * 3 * op.h * op.w * values;
    if (numbers >> 32) throw std::length_error("decode boxes: 2^32 numbers and more at once");
    const bool wide = values % kVector<T> == 0 && aligned(op.head, op.boxes);
    simt::launch(wide ? decode_boxes<kVector<T>, T> : decode_boxes<1, T>,
                 dim3(ceil_div(numbers / (wide ? kVector<T> : 1), kThreads)), dim3(kThreads), 0, stream_of(gpu), op);
}
template void compute(const Gpu&, const DecodeBoxes<float>&);
template void compute(const Gpu&, const DecodeBoxes<bf16>&);
template void compute(const Gpu&, const DecodeBoxes<fp16>&);

template <class T>
void compute(const Gpu& gpu, const DecodeDistances<T>& op) {
    if (!aligned(op.box)) throw std::invalid_argument("decode distances: box is not aligned to 16 bytes");
    simt::launch(decode_distances<T>, dim3(unsigned(ceil_div(op.n * op.h * op.w, kThreads))), dim3(kThreads), 0,
                 stream_of(gpu), op);
}
template void compute(const Gpu&, const DecodeDistances<float>&);
template void compute(const Gpu&, const DecodeDistances<bf16>&);
template void compute(const Gpu&, const DecodeDistances<fp16>&);

void compute(const Gpu& gpu, const SelectBoxes& op) {
    if (op.rows > kMaxRows || op.classes > kMaxClasses || op.classes == 0 || !(op.threshold >= 0))
        throw std::invalid_argument(
            "select boxes: 1 to 256 classes, up to 2^24 rows and a threshold from 0 on are possible");
    uint64_t* const keys = gpu.scratch.take<uint64_t>(2 * op.n * op.rows);
    simt::launch(candidate_keys, dim3(ceil_div(op.n * op.rows, kThreads)), dim3(kThreads), 0, stream_of(gpu), op, keys);
    simt::launch(select_boxes, dim3(unsigned(op.n)), dim3(kSelectThreads), 0, stream_of(gpu), op, keys,
                 keys + op.n * op.rows);
}
