// Softmax cross-entropy: a block per row, then one block for the batch.
//
// Floor in bytes: forward 8 * rows * classes, backward the same: 2 MB for 256 rows of 1000 classes, half a microsecond.
// The time goes into launches and barriers: the row is read three times, the second and third time from L1.
#include "kernels/cross_entropy.h"

#include "kernels/ranks.cuh"
#include "kernels/reduce.cuh"

namespace {

constexpr unsigned kRowThreads = 128, kBatchThreads = 256;

__device__ float weight_of(const float* class_weight, size_t k) { return class_weight ? class_weight[k] : 1.0f; }

// class_weight[k] * q[k] of a row
struct Target {
    const float* class_weight;
    float uniform, label_share;
    size_t label;

    __device__ Target(const CrossEntropyShape& shape, const float* class_weight, int32_t label)
        : class_weight(class_weight),
          uniform(shape.smoothing / float(shape.classes)),
          label_share(1 - shape.smoothing),
          label(size_t(label)) {}
    __device__ float operator()(size_t k) const {
        return weight_of(class_weight, k) * (uniform + (k == label ? label_share : 0.0f));
    }
};

// above: (rows), how many logits of the row are larger than the label's. There are few rows: left alone, nvcc keeps to
// 32 registers so that 16 blocks fit, and spills one on sm_100.
__global__ void __launch_bounds__(kRowThreads, 8) forward_rows(CrossEntropyForward p, float* above) {
    const size_t row = blockIdx.x, classes = p.shape.classes;
    const float* const x = p.logits + row * classes;
    const int32_t label = p.labels[row];
    const float label_logit = label < 0 ? 0.0f : x[label];

    float max_logit = -INFINITY, count_above = 0;
    for (size_t k = threadIdx.x; k < classes; k += kRowThreads) {
        max_logit = fmaxf(max_logit, x[k]);
        count_above += x[k] > label_logit ? 1.0f : 0.0f;
    }
    max_logit = block_reduce<kRowThreads>(max_logit, Max{});
    count_above = block_reduce<kRowThreads>(count_above, Sum{});
    float sum = 0;
    for (size_t k = threadIdx.x; k < classes; k += kRowThreads) sum += expf(x[k] - max_logit);
    sum = block_reduce<kRowThreads>(sum, Sum{});

    const Target target(p.shape, p.class_weight, label);
    const float log_sum = logf(sum);
    float loss = 0;
    for (size_t k = threadIdx.x; k < classes; k += kRowThreads) {
        const float centred = x[k] - max_logit, t = target(k);
        p.probabilities[row * classes + k] = expf(centred) / sum;
        if (t != 0) loss += t * (log_sum - centred);  // a logit of -inf costs nothing where nothing is expected
    }
    loss = block_reduce<kRowThreads>(loss, Sum{});
    if (threadIdx.x == 0) {
        p.sample_loss[row] = label < 0 ? 0.0f : loss;
        above[row] = count_above;
    }
}

// Sum over rows of class_weight[label]; every thread of a block of kThreads gets it.
template <unsigned kThreads>
__device__ float total_weight(size_t rows, const int32_t* labels, const float* class_weight) {
    float weight = 0;
    for (size_t row = threadIdx.x; row < rows; row += kThreads)
        if (labels[row] >= 0) weight += weight_of(class_weight, size_t(labels[row]));
    return block_reduce<kThreads>(weight, Sum{});
}

__global__ void __launch_bounds__(kBatchThreads) forward_batch(CrossEntropyForward p, const float* above) {
    float loss = 0, first = 0, fifth = 0;
    for (size_t row = threadIdx.x; row < p.shape.rows; row += kBatchThreads) {
        if (p.labels[row] < 0) continue;
        loss += p.sample_loss[row];
        first += above[row] < 1 ? 1.0f : 0.0f;
        fifth += above[row] < 5 ? 1.0f : 0.0f;
    }
    loss = block_reduce<kBatchThreads>(loss, Sum{});
    first = block_reduce<kBatchThreads>(first, Sum{});
    fifth = block_reduce<kBatchThreads>(fifth, Sum{});
    const float weight = total_weight<kBatchThreads>(p.shape.rows, p.labels, p.class_weight);
    if (threadIdx.x == 0) {
        *p.loss = weight > 0 ? loss / weight : 0.0f;
        p.correct[0] = first;
        p.correct[1] = fifth;
    }
}

// Every block adds up the weights of the batch (all_labels: all_rows) again: cheaper than a launch for it.
__global__ void __launch_bounds__(kRowThreads)
    backward_rows(CrossEntropyBackward p, const int32_t* all_labels, size_t all_rows) {
    const size_t row = blockIdx.x, classes = p.shape.classes;
    const int32_t label = p.labels[row];
    const Target target(p.shape, p.class_weight, label);
    const float weight = total_weight<kRowThreads>(all_rows, all_labels, p.class_weight);
    const float factor = weight > 0 ? *p.dloss / weight : 0.0f;
    float total = 0;
    for (size_t k = threadIdx.x; k < classes; k += kRowThreads) total += target(k);
    total = block_reduce<kRowThreads>(total, Sum{});
    for (size_t k = threadIdx.x; k < classes; k += kRowThreads) {
        const size_t i = row * classes + k;
        p.dlogits[i] = label < 0 ? 0.0f : factor * (p.probabilities[i] * total - target(k));
    }
}

}  // namespace

void compute(const Gpu& gpu, const CrossEntropyForward& p) {
    const size_t rows = p.shape.rows, all_rows = p.ranks ? p.ranks->count * rows : rows;
    Scratch scratch = gpu.scratch;
    float* above = scratch.split<float>(rows);
    simt::launch(forward_rows, dim3(unsigned(rows)), dim3(kRowThreads), 0, stream_of(gpu), p, above);
    CrossEntropyForward all = p;
    if (p.ranks) {
        float *const all_above = scratch.split<float>(all_rows), *const samples = scratch.split<float>(all_rows);
        int32_t* const labels = scratch.take<int32_t>(all_rows);
        gather_over_ranks(gpu, *p.ranks, above, all_above, rows);
        gather_over_ranks<float>(gpu, *p.ranks, p.sample_loss, samples, rows);
        gather_over_ranks(gpu, *p.ranks, p.labels, labels, rows);
        all.shape.rows = all_rows, all.sample_loss = samples, all.labels = labels, above = all_above;
    }
    simt::launch(forward_batch, dim3(1), dim3(kBatchThreads), 0, stream_of(gpu), all, above);
}

void compute(const Gpu& gpu, const CrossEntropyBackward& p) {
    const size_t rows = p.shape.rows, all_rows = p.ranks ? p.ranks->count * rows : rows;
    const int32_t* labels = p.labels;
    if (p.ranks) {
        int32_t* const all = gpu.scratch.take<int32_t>(all_rows);
        gather_over_ranks(gpu, *p.ranks, p.labels, all, rows);
        labels = all;
    }
    simt::launch(backward_rows, dim3(unsigned(rows)), dim3(kRowThreads), 0, stream_of(gpu), p, labels, all_rows);
}
