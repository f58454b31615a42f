// max_pool and global_average_pool.
#include "kernels/pool.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct MaxBackward final : KernelOp<MaxBackward> {
    MaxPoolShape shape;
    explicit MaxBackward(const MaxPoolShape& s) : shape(s) {}
    std::string_view name() const override { return "max_pool_backward"; }
    template <class T>
    MaxPoolBackward<T> call(Tensors in, Tensors out) const {
        return {.shape = shape, .dy = in[0].as<T>(), .argmax = in[1].as<uint8_t>(), .dx = out[0].as<T>()};
    }
};

struct MaxForward final : KernelOp<MaxForward> {
    MaxPoolShape shape;
    explicit MaxForward(const MaxPoolShape& s) : shape(s) {}
    std::string_view name() const override { return "max_pool"; }
    template <class T>
    MaxPoolForward<T> call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .x = in[0].as<T>(),
                .y = out[0].as<T>(),
                .argmax = out.size() > 1 ? out[1].as<uint8_t>() : nullptr};
    }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        require(c.out.size() > 1, "max_pool: gradients need a graph made for training");
        const Value x = c.in[0];
        return x.graph->add(MaxBackward(shape), {c.grad[0], c.out[1]}, {{x.shape(), x.dtype()}});
    }
};

struct AverageBackward final : KernelOp<AverageBackward> {
    size_t n, pixels, channels;
    AverageBackward(size_t n, size_t pixels, size_t channels) : n(n), pixels(pixels), channels(channels) {}
    std::string_view name() const override { return "global_average_pool_backward"; }
    template <class T>
    GlobalAveragePoolBackward<T> call(Tensors in, Tensors out) const {
        return {.n = n, .pixels = pixels, .c = channels, .dy = in[0].as<T>(), .dx = out[0].as<T>()};
    }
};

struct AverageForward final : KernelOp<AverageForward> {
    size_t n, pixels, channels;
    AverageForward(size_t n, size_t pixels, size_t channels) : n(n), pixels(pixels), channels(channels) {}
    std::string_view name() const override { return "global_average_pool"; }
    template <class T>
    GlobalAveragePoolForward<T> call(Tensors in, Tensors out) const {
        return {.n = n, .pixels = pixels, .c = channels, .x = in[0].as<T>(), .y = out[0].as<T>()};
    }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        const Value x = c.in[0];
        return x.graph->add(AverageBackward(n, pixels, channels), {c.grad[0]}, {{x.shape(), x.dtype()}});
    }
};

}  // namespace

Value max_pool(Value x, size_t kernel, size_t stride, size_t padding) {
    const Shape& s = x.shape();
    require(s.size() == 4, "max_pool: x has shape {}, not (n, h, w, c)", text(s));
    require(kernel >= 1 && kernel <= 15 && stride >= 1 && padding <= kernel / 2,
            "max_pool: kernel {}, stride {}, padding {}; kernels go from 1 to 15, padding to half of that", kernel,
            stride, padding);
    require(s[1] + 2 * padding >= kernel && s[2] + 2 * padding >= kernel, "max_pool: a window of {} does not fit {}",
            kernel, text(s));
    const MaxPoolShape shape{s[0], s[1], s[2], s[3], kernel, stride, padding};
    const Shape y{s[0], shape.out_h(), shape.out_w(), s[3]};
    std::vector<Graph::Output> out = {{y, x.dtype()}};
    if (x.graph->training) out.push_back({y, DType::u8});
    return x.graph->add(MaxForward(shape), {x}, out)[0];
}

Value global_average_pool(Value x) {
    const Shape& s = x.shape();
    require(s.size() == 4, "global_average_pool: x has shape {}, not (n, h, w, c)", text(s));
    return x.graph->add(AverageForward(s[0], s[1] * s[2], s[3]), {x}, {{{s[0], s[3]}, x.dtype()}})[0];
}
