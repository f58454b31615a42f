// The classifier's matrix products on the CPU by oneDNN: see linear.h.
#include <algorithm>

#include "kernels/bias.h"
#include "kernels/linear.h"
#include "kernels/onednn.h"
#include "kernels/scratch_cpu.h"

namespace {
// y (m, n) = a (m, k) * b (k, n) + beta * y, all row-major; `a_transposed`: a is stored as (k, m), likewise b.
void multiply(const Cpu& cpu, size_t m, size_t n, size_t k, const float* a, bool a_transposed, const float* b,
              bool b_transposed, float beta, float* y) {
    use_threads(cpu);
    check_onednn(dnnl_sgemm(a_transposed ? 'T' : 'N', b_transposed ? 'T' : 'N', dnnl_dim_t(m), dnnl_dim_t(n), dnnl_dim_t(k), 1.0f,
                     a, dnnl_dim_t(a_transposed ? m : k), b, dnnl_dim_t(b_transposed ? k : n), beta, y, dnnl_dim_t(n)),
                 "matrix product");
}
}  // namespace

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
