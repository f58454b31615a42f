// detect_loss: the loss of a detector from its heads and the boxes of the images.
#include "kernels/detect_loss.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Common {
    std::vector<BoxLevel> levels;
    std::vector<Shape> heads;
    Shape boxes;
    size_t classes;
    DetectLossOptions o;
    Ranks* ranks;

    void set(auto& k) const {
        k.ranks = ranks;
        k.shape = {.n = boxes[0],
                   .classes = classes,
                   .max_boxes = boxes[1],
                   .levels = levels.size(),
                   .box_gain = o.box,
                   .objectness_gain = o.objectness,
                   .class_gain = o.classes,
                   .smoothing = o.smoothing,
                   .anchor_threshold = o.anchor_threshold};
        for (size_t l = 0; l < levels.size(); ++l) {
            auto& level = k.level[l];
            level.h = heads[l][1], level.w = heads[l][2];
            level.stride = levels[l].stride, level.balance = o.balance.size() > l ? o.balance[l] : 1;
            for (size_t a = 0; a < 3; ++a) std::ranges::copy(levels[l].anchors[a], level.anchors[a]);
        }
    }
};

std::string head_name(size_t level) { return fmt::format("head{}", level); }

struct Backward {
    static constexpr std::string_view name = "detect_loss_backward";
    Common common;
    void bind(auto& k, auto& slot) const {
        common.set(k);
        for (size_t l = 0; l < common.levels.size(); ++l) slot.in("head", l, k.level[l].head);
        slot.in("boxes", k.boxes), slot.in("matches", k.matches), slot.in("dloss", k.dloss);
        for (size_t l = 0; l < common.levels.size(); ++l) slot.out("dhead", l, k.level[l].dhead);
    }
};

struct Forward {
    static constexpr std::string_view name = "detect_loss";
    Common common;
    void bind(auto& k, auto& slot) const {
        common.set(k);
        for (size_t l = 0; l < common.levels.size(); ++l) slot.in("head", l, k.level[l].head);
        slot.in("boxes", k.boxes);
        slot.out("loss", k.loss), slot.out("parts", k.parts), slot.out("matches", k.matches);
    }
    NamedValues backward(const BackwardArgs& node) const {
        NamedValues in = node.pick({"boxes", "matches"});
        in["dloss"] = node.only_grad("loss");
        std::vector<OutputSpec> out;
        for (size_t l = 0; l < common.levels.size(); ++l) {
            in[head_name(l)] = node[head_name(l)];
            out.emplace_back("d" + head_name(l), node[head_name(l)]);
        }
        return add_node<DetectLossBackward>(Backward{common}, in, out);
    }
};

}  // namespace

DetectLossResult detect_loss(Values heads, Value boxes, std::span<const BoxLevel> levels, size_t classes,
                             const DetectLossOptions& o) {
    require(!heads.empty() && heads.size() == levels.size() && heads.size() <= kMaxLevels,
            "detect_loss: {} heads, {} levels; up to {} are possible", heads.size(), levels.size(), kMaxLevels);
    const Shape& b = boxes.shape();
    require(b.size() == 3 && b[2] == 5 && b[1] > 0 && boxes.dtype() == DType::f32,
            "detect_loss: boxes have shape {} and type {}, not (n, max_boxes, 5) floats", to_string(b),
            to_string(boxes.dtype()));
    NamedValues in = {{"boxes", boxes}};
    std::vector<Shape> shapes;
    for (Value head : heads) {
        const Shape& s = head.shape();
        in[head_name(shapes.size())] = head;
        shapes.push_back(s);
        require(s.size() == 4 && s[0] == b[0] && s[3] == 3 * (5 + classes) && head.dtype() == heads[0].dtype(),
                "detect_loss: a head has shape {} for boxes {} and {} classes", to_string(s), to_string(b), classes);
    }
    require(classes >= 1, "detect_loss: {} classes", classes);
    require(o.smoothing >= 0 && o.smoothing < 1, "detect_loss: smoothing {} is not in [0, 1)", o.smoothing);
    require(o.anchor_threshold > 1, "detect_loss: an anchor_threshold of {} would leave no box", o.anchor_threshold);
    require(o.balance.empty() || o.balance.size() == levels.size(), "detect_loss: {} balances for {} levels",
            o.balance.size(), levels.size());
    const Common common{{levels.begin(), levels.end()}, shapes, b, classes, o, boxes.graph->ranks};
    NamedValues out = add_node<DetectLossForward>(
        Forward{common}, in,
        {{"loss", {1}, DType::f32}, {"parts", {3}, DType::f32}, {"matches", {levels.size()}, DType::f32}});
    return {out["loss"], out["parts"], out["matches"]};
}
