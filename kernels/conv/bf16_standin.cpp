// Stand-in, to be deleted: convolutions and matrix products at bf16 by those at float32.
#include <vector>

#include "kernels/bias.h"
#include "kernels/conv/conv.h"
#include "kernels/linear.h"

namespace {

std::vector<float> widened(const bf16* x, size_t count) {
    std::vector<float> result(x ? count : 0);
    for (size_t i = 0; i < result.size(); ++i) result[i] = float(x[i]);
    return result;
}
void narrow(const std::vector<float>& x, bf16* y) {
    for (size_t i = 0; i < x.size(); ++i) y[i] = bf16(x[i]);
}

}  // namespace

void compute(const Cpu& cpu, const ConvForward<bf16>& op) {
    const ConvShape& s = op.shape;
    const std::vector<float> x = widened(op.x, s.x_count()), weight = widened(op.weight, s.weight_count()),
                             residual = widened(op.residual, s.y_count());
    std::vector<float> y(s.y_count());
    compute(cpu, ConvForward<float>{.shape = s,
                                    .activation = op.activation,
                                    .residual_last = op.residual_last,
                                    .x = x.data(),
                                    .weight = weight.data(),
                                    .bias = op.bias,
                                    .residual = op.residual ? residual.data() : nullptr,
                                    .y = y.data()});
    narrow(y, op.y);
}

void compute(const Cpu& cpu, const ConvBackwardData<bf16>& op) {
    const std::vector<float> dy = widened(op.dy, op.shape.y_count()),
                             weight = widened(op.weight, op.shape.weight_count());
    std::vector<float> dx(op.shape.x_count());
    compute(cpu, ConvBackwardData<float>{op.shape, dy.data(), weight.data(), dx.data()});
    narrow(dx, op.dx);
}

void compute(const Cpu& cpu, const ConvBackwardWeight<bf16>& op) {
    const std::vector<float> x = widened(op.x, op.shape.x_count()), dy = widened(op.dy, op.shape.y_count());
    std::vector<float> dweight(op.shape.weight_count());
    compute(cpu, ConvBackwardWeight<float>{op.shape, x.data(), dy.data(), dweight.data()});
    narrow(dweight, op.dweight);
}

size_t scratch_bytes(const Cpu& cpu, const ConvForward<bf16>& op) {
    return scratch_bytes(cpu, ConvForward<float>{.shape = op.shape,
                                                 .activation = op.activation,
                                                 .residual_last = op.residual_last,
                                                 .x = nullptr,
                                                 .weight = nullptr,
                                                 .bias = op.bias,
                                                 .residual = nullptr,
                                                 .y = nullptr});
}
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardData<bf16>& op) {
    return scratch_bytes(cpu, ConvBackwardData<float>{op.shape, nullptr, nullptr, nullptr});
}
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardWeight<bf16>& op) {
    return scratch_bytes(cpu, ConvBackwardWeight<float>{op.shape, nullptr, nullptr, nullptr});
}

void compute(const Cpu& cpu, const LinearForward<bf16>& op) {
    const LinearShape& s = op.shape;
    const std::vector<float> x = widened(op.x, s.rows * s.in), weight = widened(op.weight, s.in * s.out);
    compute(cpu, LinearForward<float>{s, x.data(), weight.data(), op.bias, op.y});
}

void compute(const Cpu& cpu, const LinearBackward<bf16>& op) {
    const LinearShape& s = op.shape;
    const std::vector<float> x = widened(op.x, s.rows * s.in), weight = widened(op.weight, s.in * s.out);
    std::vector<float> dx(op.dx ? s.rows * s.in : 0), dweight(op.dweight ? s.in * s.out : 0);
    compute(cpu, LinearBackward<float>{s, x.data(), weight.data(), op.dy, op.dx ? dx.data() : nullptr,
                                       op.dweight ? dweight.data() : nullptr, op.dbias});
    narrow(dx, op.dx);
    narrow(dweight, op.dweight);
}

size_t scratch_bytes(const Cpu& cpu, const LinearBackward<bf16>& op) {
    return scratch_bytes(cpu, LinearBackward<float>{op.shape, nullptr, nullptr, op.dy, nullptr, nullptr, op.dbias});
}
