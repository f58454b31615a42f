// concat of channels and upsample2.
#include "kernels/layout.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

// The gradient of one part of a concatenation.
struct Slice final : KernelOp<Slice> {
    size_t rows, channels, pitch, offset;
    Slice(size_t rows, size_t channels, size_t pitch, size_t offset)
        : rows(rows), channels(channels), pitch(pitch), offset(offset) {}
    std::string_view name() const override { return "slice_channels"; }
    template <class T>
    CopyChannels<T> call(Tensors in, Tensors out) const {
        return {rows, channels, pitch, offset, channels, 0, in[0].as<T>(), out[0].as<T>()};
    }
};

template <class T>
struct CopyAll {
    std::vector<CopyChannels<T>> parts;
};
template <class Device, class T>
void compute(const Device& device, const CopyAll<T>& copy) {
    for (const CopyChannels<T>& part : copy.parts) compute(device, part);
}

struct Concat final : KernelOp<Concat> {
    size_t rows, channels;
    Concat(size_t rows, size_t channels) : rows(rows), channels(channels) {}
    std::string_view name() const override { return "concat"; }
    template <class T>
    CopyAll<T> call(Tensors in, Tensors out) const {
        CopyAll<T> copy;
        size_t offset = 0;
        for (const Tensor& x : in) {
            const size_t c = x.shape.back();
            copy.parts.push_back({rows, c, c, 0, channels, offset, x.as<T>(), out[0].as<T>()});
            offset += c;
        }
        return copy;
    }
    std::vector<Value> backward(const BackwardArgs& chain) const override {
        std::vector<Value> grad;
        size_t offset = 0;
        for (size_t i = 0; i < chain.in.size(); ++i) {
            const Value x = chain.in[i];
            const size_t c = x.shape().back();
            grad.push_back({});
            if (chain.needed[i])
                grad[i] = x.graph->add(Slice(rows, c, channels, offset), {chain.grad[0]}, {{x.shape(), x.dtype()}})[0];
            offset += c;
        }
        return grad;
    }
};

struct UpsampleBackward final : KernelOp<UpsampleBackward> {
    Shape s;
    explicit UpsampleBackward(const Shape& s) : s(s) {}
    std::string_view name() const override { return "upsample2_backward"; }
    template <class T>
    Upsample2Backward<T> call(Tensors in, Tensors out) const {
        return {.n = s[0], .h = s[1], .w = s[2], .c = s[3], .dy = in[0].as<T>(), .dx = out[0].as<T>()};
    }
};

struct Upsample final : KernelOp<Upsample> {
    Shape s;
    explicit Upsample(const Shape& s) : s(s) {}
    std::string_view name() const override { return "upsample2"; }
    template <class T>
    Upsample2<T> call(Tensors in, Tensors out) const {
        return {.n = s[0], .h = s[1], .w = s[2], .c = s[3], .x = in[0].as<T>(), .y = out[0].as<T>()};
    }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        return c.in[0].graph->add(UpsampleBackward(s), {c.grad[0]}, {{s, c.in[0].dtype()}});
    }
};

}  // namespace

Value concat(Values parts) {
    require(parts.size() >= 2, "concat: {} parts; it takes at least two", parts.size());
    Shape y = parts[0].shape();
    y.back() = 0;
    for (Value part : parts) {
        Shape s = part.shape();
        y.back() += s.back();
        s.back() = y.back();
        require(s == y && part.dtype() == parts[0].dtype(), "concat: {} does not go with {}", text(part.shape()),
                text(parts[0].shape()));
    }
    const size_t rows = count(y) / y.back();
    return parts[0].graph->add_node(std::make_shared<const Concat>(rows, y.back()), parts, {{y, parts[0].dtype()}})[0];
}

Value upsample2(Value x) {
    const Shape& s = x.shape();
    require(s.size() == 4, "upsample2: x has shape {}, not (n, h, w, c)", text(s));
    return x.graph->add(Upsample(s), {x}, {{{s[0], 2 * s[1], 2 * s[2], s[3]}, x.dtype()}})[0];
}
