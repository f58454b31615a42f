// detect_loss: the loss of a detector from its heads and the boxes of the images.
#include "kernels/detect_loss.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

// Operands: the heads, boxes; backward also matches and dloss.
struct Common {
    std::vector<BoxLevel> levels;
    size_t classes;
    DetectLossOptions o;

    DetectLossShape shape(const Tensor& boxes) const {
        return {.n = boxes.shape[0],
                .classes = classes,
                .max_boxes = boxes.shape[1],
                .levels = levels.size(),
                .box_gain = o.box,
                .objectness_gain = o.objectness,
                .class_gain = o.classes,
                .smoothing = o.smoothing,
                .anchor_threshold = o.anchor_threshold};
    }
    template <class T>
    DetectLossLevel<T> level(size_t l, const Tensor& head, T* dhead) const {
        const auto& a = levels[l].anchors;
        return {.h = head.shape[1],
                .w = head.shape[2],
                .stride = levels[l].stride,
                .balance = o.balance.size() > l ? o.balance[l] : 1,
                .anchors = {{a[0][0], a[0][1]}, {a[1][0], a[1][1]}, {a[2][0], a[2][1]}},
                .head = head.as<T>(),
                .dhead = dhead};
    }
};

struct Backward final : KernelOp<Backward> {
    Common common;
    explicit Backward(const Common& common) : common(common) {}
    std::string_view name() const override { return "detect_loss_backward"; }
    template <class T>
    DetectLossBackward<T> call(Tensors in, Tensors out) const {
        const size_t levels = common.levels.size();
        DetectLossBackward<T> op{.shape = common.shape(in[levels]),
                                 .level = {},
                                 .boxes = in[levels].as<float>(),
                                 .matches = in[levels + 1].as<float>(),
                                 .dloss = in[levels + 2].as<float>()};
        for (size_t l = 0; l < levels; ++l) op.level[l] = common.level<T>(l, in[l], out[l].as<T>());
        return op;
    }
};

struct Forward final : KernelOp<Forward> {
    Common common;
    explicit Forward(const Common& common) : common(common) {}
    std::string_view name() const override { return "detect_loss"; }
    template <class T>
    DetectLossForward<T> call(Tensors in, Tensors out) const {
        const size_t levels = common.levels.size();
        DetectLossForward<T> op{.shape = common.shape(in[levels]),
                                .level = {},
                                .boxes = in[levels].as<float>(),
                                .loss = out[0].as<float>(),
                                .parts = out[1].as<float>(),
                                .matches = out[2].as<float>()};
        for (size_t l = 0; l < levels; ++l) op.level[l] = common.level<T>(l, in[l], static_cast<T*>(nullptr));
        return op;
    }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        require(c.grad[0] && !c.grad[1] && !c.grad[2], "detect_loss: only the loss has a gradient");
        const size_t levels = common.levels.size();
        std::vector<Value> in(c.in.begin(), c.in.end());
        in.push_back(c.out[2]);
        in.push_back(c.grad[0]);
        std::vector<Graph::Output> out;
        for (size_t l = 0; l < levels; ++l) out.push_back({c.in[l].shape(), c.in[l].dtype()});
        std::vector<Value> grad = in[0].graph->add_node(std::make_shared<const Backward>(common), in, out);
        grad.resize(levels + 1);
        return grad;
    }
};

}  // namespace

DetectLossResult detect_loss(Values heads, Value boxes, std::span<const BoxLevel> levels, size_t classes,
                             const DetectLossOptions& o) {
    require(!heads.empty() && heads.size() == levels.size() && heads.size() <= kMaxLevels,
            "detect_loss: {} heads, {} levels; up to {} are possible", heads.size(), levels.size(), kMaxLevels);
    const Shape& b = boxes.shape();
    require(b.size() == 3 && b[2] == 5 && b[1] > 0 && boxes.dtype() == DType::f32,
            "detect_loss: boxes have shape {} and type {}, not (n, most, 5) floats", text(b), name(boxes.dtype()));
    for (Value head : heads) {
        const Shape& s = head.shape();
        require(s.size() == 4 && s[0] == b[0] && s[3] == 3 * (5 + classes) && head.dtype() == heads[0].dtype(),
                "detect_loss: a head has shape {} for boxes {} and {} classes", text(s), text(b), classes);
    }
    require(classes >= 1, "detect_loss: {} classes", classes);
    require(o.smoothing >= 0 && o.smoothing < 1, "detect_loss: smoothing {} is not in [0, 1)", o.smoothing);
    require(o.anchor_threshold > 1, "detect_loss: an anchor_threshold of {} would leave no box", o.anchor_threshold);
    require(o.balance.empty() || o.balance.size() == levels.size(), "detect_loss: {} balances for {} levels",
            o.balance.size(), levels.size());
    std::vector<Value> in(heads.begin(), heads.end());
    in.push_back(boxes);
    const Common common{{levels.begin(), levels.end()}, classes, o};
    const auto out = boxes.graph->add_node(std::make_shared<const Forward>(common), in,
                                           {{{1}, DType::f32}, {{3}, DType::f32}, {{levels.size()}, DType::f32}});
    return {out[0], out[1], out[2]};
}
