// Which method computes a convolution on the CPU: Winograd's, a matrix product, oneDNN or plain loops. See conv.h.
#include "kernels/conv/cpu.h"

#include <algorithm>
#include <type_traits>

#include "kernels/conv/bf16.h"
#include "kernels/conv/constant_weights.h"
#include "kernels/conv/onednn.h"
#include "kernels/conv/product.h"
#include "kernels/conv/winograd.h"
#include "kernels/onednn.h"

namespace {
// A 1x1 convolution is one product of matrices as they lie in memory. oneDNN's convolutions are slower in both backward
// directions on NHWC, and all three reorder the weights, which in training happens in every step.
bool is_pointwise(const ConvShape& s) { return s.kernel_h == 1 && s.kernel_w == 1 && s.padding == 0; }
bool is_matrix_product(const ConvShape& s) { return is_pointwise(s) && s.stride == 1; }

// Without bias, residual and activation, as in training, where weights change between steps.
bool is_bare(const ConvForward<float>& op) {
    return !op.bias && !op.residual && op.activation == Activation::none && !op.weight_is_constant;
}
bool is_matrix_product(const ConvForward<float>& op) { return is_matrix_product(op.shape) && is_bare(op); }

// Whether Winograd's method is faster. In inference the number of images must not matter, because an image's result
// must not depend on it. In training the weights are transformed in every step, which takes enough pixels to pay off.
constexpr size_t many_weights = 256 * 256;
bool winograd_wins(const ConvShape& s, bool weight_is_constant) {
    const size_t min_pixels = s.c_in * s.c_out >= many_weights ? 256 : 512;
    return winograd_supports(s) && s.c_in >= 16 && s.c_out >= 16 &&
           (weight_is_constant || s.n * s.h * s.w >= min_pixels);
}
constexpr size_t max_weights = 700 * 700;  // of the gradient: more sums would not fit into the scratch memory
// Of stride 2 the packed weights are four times the number: for few pixels it takes too long to read them, and memory.
bool by_winograd_of_stride_2(const ConvForward<float>& op) {
    const ConvShape& s = op.shape;
    return op.weight_is_constant && winograd_supports(s, 2) && s.c_in >= 16 && s.c_out >= 16 &&
           s.c_in * s.c_out <= 128 * s.out_h() * s.out_w();
}
bool by_winograd(const ConvForward<float>& op) {
    return winograd_wins(op.shape, op.weight_is_constant) || by_winograd_of_stride_2(op);
}
bool by_winograd(const ConvBackwardData<float>& op) { return winograd_wins(op.shape, false); }
bool by_winograd(const ConvBackwardWeight<float>& op) {
    return winograd_wins(op.shape, true) && op.shape.c_in * op.shape.c_out <= max_weights;
}

// In bf16 only reading and writing is faster for Winograd's method, its arithmetic is that of float: it loses where
// much of a tile lies outside the image, and in inference where weights of four bytes and four times the number have to
// come from memory for a few pixels.
bool fits_winograd_in_bf16(const ConvShape& s, bool weight_is_constant) {
    return s.h * s.w >= (weight_is_constant ? 256 : 16);
}
bool by_winograd(const ConvForward<bf16>& op) {
    return fits_winograd_in_bf16(op.shape, op.weight_is_constant) && winograd_wins(op.shape, op.weight_is_constant);
}
bool by_winograd(const ConvBackwardData<bf16>& op) {
    return fits_winograd_in_bf16(op.shape, false) && winograd_wins(op.shape, false);
}
bool by_winograd(const ConvBackwardWeight<bf16>& op) {
    return fits_winograd_in_bf16(op.shape, false) && winograd_wins(op.shape, true) &&
           op.shape.c_in * op.shape.c_out <= max_weights;
}

// The products of product.h where they were measured to be faster than oneDNN: docs/performance.md.
bool by_product(const ConvForward<float>& op) {
    const ConvShape& s = op.shape;
    return product_supports(s) && is_pointwise(s) && is_bare(op) && s.c_in >= 256 && (s.c_in > s.c_out || s.stride > 1);
}
bool by_product(const ConvBackwardData<float>& op) {
    const ConvShape& s = op.shape;
    return product_supports(s) && is_pointwise(s) && s.stride > 1;
}
bool by_product(const ConvBackwardWeight<float>& op) {
    const ConvShape& s = op.shape;
    return product_supports(s) && (is_pointwise(s) ? s.c_in >= 256 && s.c_out > s.c_in : s.stride > 1 && s.c_in >= 128);
}

// The gradient of the data is the convolution of dy with flipped weights.
template <class T>
ConvForward<T> forward_of(const ConvBackwardData<T>& op) {
    ConvShape back = op.shape;
    std::swap(back.c_in, back.c_out);
    return {.shape = back, .x = op.dy, .weight = op.weight, .bias = nullptr, .residual = nullptr, .y = op.dx};
}

// Many weights and few tiles. Does not depend on the number of threads: the order of the sums differs.
template <class T>
bool streams_weights(const ConvForward<T>& op) {
    const ConvShape& s = op.shape;
    const size_t tiles = s.n * ((s.h + 3) / 4) * ((s.w + 3) / 4);
    return !op.weight_is_constant && s.c_in * s.c_out >= many_weights && tiles <= 512;
}

template <class T>
size_t winograd_bytes(const Cpu& cpu, const ConvForward<T>& op) {
    if (streams_weights(op)) return alignment + winograd_streamed_scratch_count(cpu, op.shape) * sizeof(float);
    const size_t packed = aligned(winograd_packed_count(op.shape) * sizeof(float));
    return alignment + packed +
           winograd_scratch_count(cpu, op.shape, *winograd_loops<T>(op.shape.stride)) * sizeof(float);
}
template <class T>
size_t winograd_bytes(const Cpu& cpu, const ConvBackwardWeight<T>& op) {
    return alignment + winograd_weight_scratch_count(cpu, op.shape) * sizeof(float);
}
float* aligned_scratch(const Cpu& cpu, size_t bytes) {
    return reinterpret_cast<float*>(aligned(reinterpret_cast<size_t>(cpu.scratch.take<char>(bytes))));
}

template <class Op>
size_t product_bytes(const Cpu& cpu, const Op& op) {
    return alignment + product_scratch_count(cpu, op) * sizeof(float);
}
template <class Op>
void run_product(const Cpu& cpu, const Op& op) {
    product_compute(cpu, op, aligned_scratch(cpu, product_bytes(cpu, op)));
}

template <class Op>
size_t convolve_bytes(const Cpu& cpu, const Op& op) {
    return onednn::supports_this_cpu() ? onednn::scratch_bytes(cpu, op) : 0;
}
template <class Op>
void convolve(const Cpu& cpu, const Op& op) {
    onednn::supports_this_cpu() ? onednn::convolve(cpu, op) : compute_direct(cpu, op);
}

template <class Op>
size_t bytes_in_bf16(const Cpu& cpu, const Op& op) {
    return bf16_loops() ? bf16_scratch_bytes(cpu, op, *bf16_loops()) : 0;
}
template <class Op>
void convolve_in_bf16(const Cpu& cpu, const Op& op) {
    bf16_loops() ? bf16_compute(cpu, op, *bf16_loops()) : compute_direct(cpu, op);
}

template <class T>
void run_winograd(const Cpu& cpu, const ConvForward<T>& op, bool flipped) {
    const WinogradLoops& loops = *winograd_loops<T>(op.shape.stride);
    float* const scratch = aligned_scratch(cpu, winograd_bytes(cpu, op));
    if (streams_weights(op)) return winograd_streamed_forward(cpu, op, flipped, scratch);
    if (op.weight_is_constant) {
        const auto pack = [&](void* to) {
            winograd_pack(cpu, op.shape, op.weight, false, static_cast<float*>(to), loops);
        };
        const auto packing =
            op.shape.stride == 1 ? ConstantWeights::Packing::winograd : ConstantWeights::Packing::winograd_stride_2;
        if (const void* const packed = constant_weights().find(op.weight, op.shape.c_in, op.shape.c_out, packing,
                                                               winograd_packed_count(op.shape) * sizeof(float), pack))
            return winograd_forward(cpu, op, static_cast<const float*>(packed), scratch, loops);
    }
    winograd_pack(cpu, op.shape, op.weight, flipped, scratch, loops);
    winograd_forward(cpu, op, scratch,
                     scratch + aligned(winograd_packed_count(op.shape) * sizeof(float)) / sizeof(float), loops);
}
}  // namespace

ConstantWeights& constant_weights() {
    static ConstantWeights all;
    return all;
}

void compute(const Cpu& cpu, const ConvForward<float>& op) {
    if (by_product(op)) return run_product(cpu, op);
    const ConvShape& s = op.shape;
    if (is_matrix_product(op))
        return multiply(cpu, s.n * s.h * s.w, s.c_out, s.c_in, op.x, false, op.weight, true, 0, op.y);
    if (by_winograd(op)) return run_winograd(cpu, op, false);
    convolve(cpu, op);
}

template <class T>
static void refuse_joined(const ConvBackwardData<T>& op) {
    if (op.dx2) throw std::invalid_argument("conv: two gradients are not joined on the CPU");
}

void compute(const Cpu& cpu, const ConvBackwardData<float>& op) {
    refuse_joined(op);
    if (by_product(op)) return run_product(cpu, op);
    if (const ConvShape& s = op.shape; is_matrix_product(s))
        return multiply(cpu, s.n * s.h * s.w, s.c_in, s.c_out, op.dy, false, op.weight, false, 0, op.dx);
    if (by_winograd(op)) return run_winograd(cpu, forward_of(op), true);
    convolve(cpu, op);
}

void compute(const Cpu& cpu, const ConvBackwardWeight<float>& op) {
    if (by_product(op)) return run_product(cpu, op);
    if (const ConvShape& s = op.shape; is_matrix_product(s))
        return multiply(cpu, s.c_out, s.c_in, s.n * s.h * s.w, op.dy, true, op.x, false, 0, op.dweight);
    if (by_winograd(op)) return winograd_backward_weight(cpu, op, aligned_scratch(cpu, winograd_bytes(cpu, op)));
    convolve(cpu, op);
}

size_t scratch_bytes(const Cpu& cpu, const ConvForward<float>& op) {
    if (by_product(op)) return product_bytes(cpu, op);
    if (is_matrix_product(op)) return 0;
    return by_winograd(op) ? winograd_bytes(cpu, op) : convolve_bytes(cpu, op);
}
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardData<float>& op) {
    if (by_product(op)) return product_bytes(cpu, op);
    if (is_matrix_product(op.shape)) return 0;
    return by_winograd(op) ? winograd_bytes(cpu, forward_of(op)) : convolve_bytes(cpu, op);
}
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardWeight<float>& op) {
    if (by_product(op)) return product_bytes(cpu, op);
    if (is_matrix_product(op.shape)) return 0;
    return by_winograd(op) ? winograd_bytes(cpu, op) : convolve_bytes(cpu, op);
}

void compute(const Cpu& cpu, const ConvForward<bf16>& op) {
    if (onednn::has_amx()) return onednn::convolve(cpu, op);
    by_winograd(op) ? run_winograd(cpu, op, false) : convolve_in_bf16(cpu, op);
}
void compute(const Cpu& cpu, const ConvBackwardData<bf16>& op) {
    refuse_joined(op);
    if (onednn::has_amx()) return onednn::convolve(cpu, op);
    by_winograd(op) ? run_winograd(cpu, forward_of(op), true) : convolve_in_bf16(cpu, op);
}
void compute(const Cpu& cpu, const ConvBackwardWeight<bf16>& op) {
    if (onednn::has_amx()) return onednn::convolve(cpu, op);
    by_winograd(op) ? winograd_backward_weight(cpu, op, aligned_scratch(cpu, winograd_bytes(cpu, op)))
                    : convolve_in_bf16(cpu, op);
}
size_t scratch_bytes(const Cpu& cpu, const ConvForward<bf16>& op) {
    if (onednn::has_amx()) return onednn::scratch_bytes(cpu, op);
    return by_winograd(op) ? winograd_bytes(cpu, op) : bytes_in_bf16(cpu, op);
}
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardData<bf16>& op) {
    if (onednn::has_amx()) return onednn::scratch_bytes(cpu, op);
    return by_winograd(op) ? winograd_bytes(cpu, forward_of(op)) : bytes_in_bf16(cpu, op);
}
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardWeight<bf16>& op) {
    if (onednn::has_amx()) return onednn::scratch_bytes(cpu, op);
    return by_winograd(op) ? winograd_bytes(cpu, op) : bytes_in_bf16(cpu, op);
}

void drop_packed_weights(const void* memory, size_t bytes) {
    constant_weights().drop(memory, bytes);
    onednn::drop_packed_weights(memory, bytes);
}

size_t packed_weight_count() { return constant_weights().count() + onednn::packed_weight_count(); }

size_t conv_primitives_created() { return onednn::primitives_created(); }
