// cross_entropy: softmax, label smoothing, class weights, and the counts that a training log wants.
#include "kernels/cross_entropy.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Backward final : FloatOp<Backward> {
    CrossEntropyShape shape;
    explicit Backward(const CrossEntropyShape& s) : shape(s) {}
    std::string_view name() const override { return "cross_entropy_backward"; }
    CrossEntropyBackward call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .probabilities = in[0].as<float>(),
                .labels = in[1].as<int32_t>(),
                .class_weight = in[2].as<float>(),
                .dloss = in[3].as<float>(),
                .dlogits = out[0].as<float>()};
    }
};

struct Forward final : FloatOp<Forward> {
    CrossEntropyShape shape;
    explicit Forward(const CrossEntropyShape& s) : shape(s) {}
    std::string_view name() const override { return "cross_entropy"; }
    CrossEntropyForward call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .logits = in[0].as<float>(),
                .labels = in[1].as<int32_t>(),
                .class_weight = in[2].as<float>(),
                .loss = out[0].as<float>(),
                .sample_loss = out[1].as<float>(),
                .probabilities = out[2].as<float>(),
                .correct = out[3].as<float>()};
    }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        require(c.grad[0] && !c.grad[1] && !c.grad[2] && !c.grad[3], "cross_entropy: only the loss has a gradient");
        const Value logits = c.in[0];
        return {logits.graph->add(Backward(shape), {c.out[2], c.in[1], c.in[2], c.grad[0]},
                                  {{logits.shape(), DType::f32}})[0]};
    }
};

}  // namespace

CrossEntropyResult cross_entropy(Value logits, Value labels, const CrossEntropyOptions& o) {
    const Shape& s = logits.shape();
    require(s.size() == 2 && logits.dtype() == DType::f32, "cross_entropy: logits have shape {} and type {}", text(s),
            name(logits.dtype()));
    require(labels.shape() == Shape{s[0]} && labels.dtype() == DType::i32,
            "cross_entropy: {} rows, labels have shape {} and type {}", s[0], text(labels.shape()),
            name(labels.dtype()));
    require(o.smoothing >= 0 && o.smoothing < 1, "cross_entropy: smoothing {} is not in [0, 1)", o.smoothing);
    require(!o.class_weight || o.class_weight.shape() == Shape{s[1]},
            "cross_entropy: {} classes, class_weight has shape {}", s[1],
            o.class_weight ? text(o.class_weight.shape()) : "");
    const auto out = logits.graph->add(Forward({s[0], s[1], o.smoothing}), {logits, labels, o.class_weight},
                                       {{{1}, DType::f32}, {{s[0]}, DType::f32}, {s, DType::f32}, {{2}, DType::f32}});
    return {out[0], out[1], out[2], out[3]};
}
