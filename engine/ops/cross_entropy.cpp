// cross_entropy: softmax, label smoothing, class weights, and the counts for a training log.
#include "kernels/cross_entropy.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Backward {
    static constexpr std::string_view name = "cross_entropy_backward";
    CrossEntropyShape shape;
    Ranks* ranks;
    void bind(auto& k, auto& slot) const {
        k.shape = shape, k.ranks = ranks;
        slot.in("probabilities", k.probabilities), slot.in("labels", k.labels);
        slot.in("class_weight", k.class_weight), slot.in("dloss", k.dloss);
        slot.out("dlogits", k.dlogits);
    }
};

struct Forward {
    static constexpr std::string_view name = "cross_entropy";
    CrossEntropyShape shape;
    Ranks* ranks;
    void bind(auto& k, auto& slot) const {
        k.shape = shape, k.ranks = ranks;
        slot.in("logits", k.logits), slot.in("labels", k.labels);
        slot.in("class_weight", k.class_weight);
        slot.out("loss", k.loss), slot.out("sample_loss", k.sample_loss);
        slot.out("probabilities", k.probabilities), slot.out("correct", k.correct);
    }
    NamedValues backward(const BackwardArgs& node) const {
        NamedValues in = node.pick({"probabilities", "labels", "class_weight"});
        in["dloss"] = node.only_grad("loss");
        return add_node<CrossEntropyBackward>(Backward{shape, ranks}, in, {{"dlogits", node["logits"]}});
    }
};

}  // namespace

CrossEntropyResult cross_entropy(Value logits, Value labels, const CrossEntropyOptions& o) {
    const Shape& s = logits.shape();
    require(s.size() == 2 && logits.dtype() == DType::f32, "cross_entropy: logits have shape {} and type {}",
            to_string(s), to_string(logits.dtype()));
    require(labels.shape() == Shape{s[0]} && labels.dtype() == DType::i32,
            "cross_entropy: {} rows, labels have shape {} and type {}", s[0], to_string(labels.shape()),
            to_string(labels.dtype()));
    require(o.smoothing >= 0 && o.smoothing < 1, "cross_entropy: smoothing {} is not in [0, 1)", o.smoothing);
    require(!o.class_weight || o.class_weight.shape() == Shape{s[1]},
            "cross_entropy: {} classes, class_weight has shape {}", s[1],
            o.class_weight ? to_string(o.class_weight.shape()) : "");
    NamedValues out =
        add_node<CrossEntropyForward>(Forward{{s[0], s[1], o.smoothing}, logits.graph->ranks},
                                      {{"logits", logits}, {"labels", labels}, {"class_weight", o.class_weight}},
                                      {{"loss", {1}, DType::f32},
                                       {"sample_loss", {s[0]}, DType::f32},
                                       {"probabilities", logits},
                                       {"correct", {2}, DType::f32}});
    return {out["loss"], out["sample_loss"], out["probabilities"], out["correct"]};
}
