// A (rows, channels) matrix, channels fastest: which thread has which part, and sums over rows in a fixed order.
#pragma once

#include <algorithm>

#include "kernels/vector.cuh"

inline constexpr unsigned kColumnThreads = 256;

// How many blocks share a matrix. Four per multiprocessor keep enough bytes in flight where every block leaves a row of
// partial sums behind; where it leaves nothing, more and smaller blocks finish more evenly.
inline constexpr unsigned kSumBlocks = kMultiprocessors * 4, kMapBlocks = kMultiprocessors * 8;

// Blocks: x of the grid runs over the channels, y over the rows. Threads: x over vectors of channels, y over rows.
// A thread keeps its channels and goes down the rows, so what belongs to a channel is read once, into registers.
struct ColumnGrid {
    dim3 grid, block;

    ColumnGrid(size_t rows, size_t channels, int width, unsigned blocks) {
        constexpr size_t max_lanes = 32;
        const size_t vectors = ceil_div(channels, size_t(width));
        const unsigned tiles = unsigned(ceil_div(vectors, max_lanes)), lanes = unsigned(ceil_div(vectors, tiles));
        block = dim3(lanes, kColumnThreads / lanes);
        grid = dim3(tiles, std::clamp(blocks / tiles, 1u, unsigned(ceil_div(rows, block.y))));
    }
    unsigned row_blocks() const { return grid.y; }
};

// The part of the calling thread: channels [channel, channel + kWidth), rows row, row + step, ... below `rows`.
template <int kWidth>
struct Columns {
    size_t channel, row, step, rows;
    bool inside;

    __device__ __forceinline__ Columns(size_t all_rows, size_t channels)
        : channel((size_t(blockIdx.x) * blockDim.x + threadIdx.x) * kWidth),
          row(size_t(blockIdx.y) * blockDim.y + threadIdx.y),
          step(size_t(gridDim.y) * blockDim.y),
          rows(channel < channels ? all_rows : 0),
          inside(channel < channels) {}
};

// Goes down the rows of the thread, kBatch at a time: load(u, row) for all of them, then use(u, row), u < kBatch, so
// that the loads are under way together. What load leaves for use lies in arrays of kBatch, which stay in registers.
// before() runs once, behind the first loads: what the uses need and the loads do not. It may have barriers.
template <int kBatch, int kWidth, class Load, class Use, class Before>
__device__ __forceinline__ void for_rows(const Columns<kWidth>& at, const Load& load, const Use& use,
                                         const Before& before) {
    const auto each = [&](size_t row, const auto& f) {
        SIMT_UNROLL
        for (int u = 0; u < kBatch; ++u)
            if (row + u * at.step < at.rows) f(u, row + u * at.step);
    };
    each(at.row, load);
    before();
    for (size_t row = at.row; row < at.rows;) {
        each(row, use);
        row += kBatch * at.step;
        if (row < at.rows) each(row, load);  // asked once: most threads of small matrices end here
    }
}

template <int kBatch, int kWidth, class Load, class Use>
__device__ __forceinline__ void for_rows(const Columns<kWidth>& at, const Load& load, const Use& use) {
    for_rows<kBatch>(at, load, use, [] {});
}

// How many rows the blocks with this blockIdx.y have: `row_blocks` blocks take `block_rows` rows each in turn.
__device__ __forceinline__ float rows_of_block(size_t rows, unsigned block, unsigned block_rows, unsigned row_blocks) {
    const size_t sweep = size_t(block_rows) * row_blocks, left = rows % sweep, before = size_t(block) * block_rows;
    return float(rows / sweep * block_rows + (left > before ? min(left - before, size_t(block_rows)) : 0));
}

// Arrays in shared memory of kCount numbers (a power of two) for each of up to 32 lanes: number i of a lane is at
// place<kCount>(i, lane), so that 32 neighbours have different banks both where lanes are neighbours and where the
// numbers of a lane are, as channels in memory.
template <int kCount>
inline constexpr unsigned kPlaces = kCount*(32 + 32 / kCount);
template <int kCount>
__device__ __forceinline__ unsigned place(unsigned i, unsigned lane) {
    return i * (32 + 32 / kCount) + lane;
}

// Values of all threads: one array of a block, whoever asks.
template <int kValues, unsigned kPitch>
__device__ __forceinline__ float* values_of_threads() {
    SIMT_SHARED(float, values, [kValues * kPitch]);
    return values;
}

// Adds up `values` over threadIdx.y and calls use(i, lane, sum) with each sum, in one thread: neighbouring threads have
// neighbouring i. All threads of a block call it, again only behind a barrier.
template <unsigned kThreads, int kValues, class Use>
__device__ __forceinline__ void sum_over_rows(const float (&values)[kValues], const Use& use) {
    constexpr unsigned kPitch = kThreads + 32 / kValues;  // as in place()
    float* const partial = values_of_threads<kValues, kPitch>();
    const unsigned lanes = blockDim.x, thread = threadIdx.y * lanes + threadIdx.x, threads = lanes * blockDim.y;
    SIMT_UNROLL
    for (int i = 0; i < kValues; ++i) partial[i * kPitch + thread] = values[i];
    __syncthreads();
    for (unsigned j = thread; j < kValues * lanes; j += threads) {
        const unsigned i = j % kValues, lane = j / kValues;
        float sum = 0;
        for (unsigned at = lane; at < threads; at += lanes) sum += partial[i * kPitch + at];
        use(i, lane, sum);
    }
}

// The same; every thread gets the sums of its column.
template <unsigned kThreads, int kValues>
__device__ __forceinline__ void sum_over_rows(float (&values)[kValues]) {
    SIMT_SHARED(float, sums, [kPlaces<kValues>]);
    sum_over_rows<kThreads>(values, [&](unsigned i, unsigned lane, float sum) { sums[place<kValues>(i, lane)] = sum; });
    __syncthreads();
    SIMT_UNROLL
    for (int i = 0; i < kValues; ++i) values[i] = sums[place<kValues>(i, threadIdx.x)];
}

// Channel k of `lane` of the calling block.
template <int kWidth>
__device__ __forceinline__ size_t channel_of(unsigned k, unsigned lane) {
    return (size_t(blockIdx.x) * blockDim.x + lane) * kWidth + k;
}

// constants[c][k] of the thread's channels, once per block: of(channel, own) makes the kCount numbers of a channel.
// Neighbouring threads read neighbouring channels, where a thread that read all of its own would leave gaps. All
// threads of a block call it.
template <int kWidth, int kCount, class Of>
__device__ __forceinline__ void channel_constants(size_t channels, float (&constants)[kCount][kWidth], const Of& of) {
    SIMT_SHARED(float, shared, [kCount * kPlaces<kWidth>]);
    const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x, k = thread % kWidth, lane = thread / kWidth;
    if (lane < blockDim.x) {
        float own[kCount] = {};  // threads without a channel read theirs too
        if (const size_t channel = channel_of<kWidth>(k, lane); channel < channels) of(channel, own);
        SIMT_UNROLL
        for (int c = 0; c < kCount; ++c) shared[c * kPlaces<kWidth> + place<kWidth>(k, lane)] = own[c];
    }
    __syncthreads();
    SIMT_UNROLL
    for (int c = 0; c < kCount; ++c) {
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) constants[c][k] = shared[c * kPlaces<kWidth> + place<kWidth>(k, threadIdx.x)];
    }
}

// Second half of a sum over all rows: partial is (row_blocks, kSums, channels), as sum kernels of at most kSumBlocks
// row blocks leave it. Launched with merge_grid; every thread gets the sums of its channel.
inline constexpr unsigned kMergeThreads = 1024;
inline dim3 merge_grid(size_t channels) { return dim3(ceil_div(channels, 32)); }
inline dim3 merge_block() { return dim3(32, kMergeThreads / 32); }

// Sum i of the rows of partial sums of one thread, row u of which is merge_row(u), all under way together: what a merge
// costs is the way to the L2 cache. Rows that are not there give 0.
inline constexpr unsigned kMergeLines = kMergeThreads / 32;
inline constexpr int kMergeRows = int(ceil_div(kSumBlocks, kMergeLines));
__device__ __forceinline__ unsigned merge_row(int u) { return threadIdx.y + unsigned(u) * kMergeLines; }

template <int kSums>
__device__ __forceinline__ void load_partial(const float* partial, unsigned row_blocks, unsigned channels, unsigned i,
                                             float (&parts)[kMergeRows]) {
    const unsigned channel = blockIdx.x * 32 + threadIdx.x;
    const unsigned rows = channel < channels ? row_blocks : 0;
    SIMT_UNROLL
    for (int u = 0; u < kMergeRows; ++u)
        parts[u] = merge_row(u) < rows ? partial[(merge_row(u) * kSums + i) * channels + channel] : 0.0f;
}

template <int kSums>
__device__ __forceinline__ void merge_partial(const float* partial, unsigned row_blocks, size_t channels,
                                              float (&sums)[kSums]) {
    float parts[kSums][kMergeRows];
    SIMT_UNROLL
    for (unsigned i = 0; i < kSums; ++i) load_partial<kSums>(partial, row_blocks, unsigned(channels), i, parts[i]);
    SIMT_UNROLL
    for (int i = 0; i < kSums; ++i) {
        sums[i] = 0;
        SIMT_UNROLL
        for (int u = 0; u < kMergeRows; ++u) sums[i] += parts[i][u];
    }
    sum_over_rows<kMergeThreads>(sums);
}
