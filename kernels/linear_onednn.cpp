// The classifier's matrix products on the CPU by oneDNN: see linear.h.
#include <algorithm>

#include "kernels/bias.h"
#include "kernels/linear.h"
#include "kernels/onednn.h"

size_t scratch_bytes(const Cpu& cpu, const LinearBackward<float>& op) {
    return op.dbias ? scratch_bytes(cpu, BiasBackward<float>{op.shape.rows, op.shape.out, op.dy, op.dbias}) : 0;
}

void compute(const Cpu& cpu, const LinearForward<float>& op) {
    const auto [rows, in, out] = op.shape;
    if (op.bias)
        for (size_t row = 0; row < rows; ++row) std::copy_n(op.bias, out, op.y + row * out);
    multiply(cpu, rows, out, in, op.x, false, op.weight, true, op.bias ? 1.0f : 0.0f, op.y);
}

void compute(const Cpu& cpu, const LinearBackward<float>& op) {
    const auto [rows, in, out] = op.shape;
    if (op.dx) multiply(cpu, rows, in, out, op.dy, false, op.weight, false, 0.0f, op.dx);
    if (op.dweight) multiply(cpu, out, in, rows, op.dy, true, op.x, false, 0.0f, op.dweight);
    if (op.dbias) compute(cpu, BiasBackward<float>{rows, out, op.dy, op.dbias});
}
