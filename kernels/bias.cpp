// The bias gradient on the CPU: see bias.h.
#include "kernels/bias.h"

#include "kernels/parallel.h"

template <class T>
size_t scratch_bytes(const Cpu&, const BiasBackward<T>& op) {
    return RowTiles(op.rows).count * op.channels * sizeof(double);
}

template <class T>
void compute(const Cpu& cpu, const BiasBackward<T>& op) {
    const size_t channels = op.channels;
    const RowTiles tiles(op.rows);
    double* const partial = cpu.scratch.take<double>(tiles.count * channels);  // (tiles, channels)
    parallel_for(cpu, tiles.count, 1, [&](size_t begin, size_t end) {
        for (size_t tile = begin; tile < end; ++tile) {
            double* __restrict sum = partial + tile * channels;
            std::fill(sum, sum + channels, 0.0);
            for (size_t row = tiles.begin(tile); row < tiles.end(tile); ++row) {
                const T* __restrict dy = op.dy + row * channels;
                for (size_t c = 0; c < channels; ++c) sum[c] += double(float(dy[c]));
            }
        }
    });
    for (size_t c = 0; c < channels; ++c) {
        double sum = 0;
        for (size_t tile = 0; tile < tiles.count; ++tile) sum += partial[tile * channels + c];
        op.dbias[c] = float(sum);
    }
}

template size_t scratch_bytes(const Cpu&, const BiasBackward<float>&);
template size_t scratch_bytes(const Cpu&, const BiasBackward<bf16>&);
template void compute(const Cpu&, const BiasBackward<float>&);
template void compute(const Cpu&, const BiasBackward<bf16>&);
