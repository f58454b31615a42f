// The fused chain of training on the CPU, for tests: plain loops around the convolutions of conv.h.
#include "kernels/conv/norm_conv.h"

#include <cmath>
#include <vector>

namespace {

// relu(a * x + b), or x itself.
const float* normalized(Scratch& scratch, const ConvShape& s, const float* x, const float* a, const float* b) {
    if (!a) return x;
    float* const z = scratch.split<float>(s.x_count());
    for (size_t i = 0; i < s.x_count(); ++i) z[i] = std::fmax(0.0f, a[i % s.c_in] * x[i] + b[i % s.c_in]);
    return z;
}

}  // namespace

void compute(const Cpu&, const NormConstants<float>& p) {
    for (size_t c = 0; c < p.channels; ++c) {
        const float rows = float(p.rows), mean = p.sum[c] / rows,
                    var = std::fmax(0.0f, p.squares[c] / rows - mean * mean);
        const float rstd = 1 / std::sqrt(var + p.eps), a = p.scale[c] * rstd;
        p.mean[c] = mean;
        p.rstd[c] = rstd;
        if (p.a) p.a[c] = a, p.b[c] = p.shift[c] - mean * a;
        if (p.running_mean) p.running_mean[c] += p.momentum * (mean - p.running_mean[c]);
        if (p.running_var) p.running_var[c] += p.momentum * (var * (rows / (rows - 1)) - p.running_var[c]);
    }
}

void compute(const Cpu& cpu, const NormConvForward<float>& p) {
    Cpu rest = cpu;
    const float* z = normalized(rest.scratch, p.shape, p.x, p.a, p.b);
    compute(rest, ConvForward<float>{
                      .shape = p.shape, .x = z, .weight = p.weight, .bias = nullptr, .residual = nullptr, .y = p.y});
    for (size_t c = 0; c < p.shape.c_out; ++c) {
        double sum = 0, squares = 0;
        for (size_t i = c; i < p.shape.y_count(); i += p.shape.c_out) sum += p.y[i], squares += double(p.y[i]) * p.y[i];
        p.sum[c] = float(sum);
        p.squares[c] = float(squares);
    }
}

void compute(const Cpu& cpu, const NormConvBackwardData<float>& p) {
    compute(cpu, ConvBackwardData<float>{p.shape, p.dy, p.weight, p.g});
    if (!p.scale) return;
    for (size_t c = 0; c < p.shape.c_in; ++c) {
        double dshift = 0, dscale = 0;
        for (size_t i = c; i < p.shape.x_count(); i += p.shape.c_in) {
            const float xhat = (p.x[i] - p.mean[c]) * p.rstd[c];
            if (!(xhat * p.scale[c] + p.shift[c] > 0)) p.g[i] = 0;
            dshift += p.g[i];
            dscale += double(p.g[i]) * xhat;
        }
        p.dshift[c] = float(dshift);
        p.dscale[c] = float(dscale);
    }
}

void compute(const Cpu& cpu, const NormConvBackwardWeight<float>& p) {
    Cpu rest = cpu;
    const float* z = normalized(rest.scratch, p.shape, p.x, p.a, p.b);
    compute(rest, ConvBackwardWeight<float>{p.shape, z, p.dy, p.dweight});
}
