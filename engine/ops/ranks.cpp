// Sums over the ranks of a training, at the place of the graph where the values are there: the operations that follow
// hide them.
#include "base/ranks.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct RanksOp : Op {
    Ranks& ranks;
    explicit RanksOp(Ranks& r) : ranks(r) {}
    void run(const Simt&, Tensors, Tensors) const override { fail(Fault::runtime, "{}: not on simt", name()); }
    void run(const Cuda&, Tensors, Tensors) const override { fail(Fault::runtime, "{}: not on cuda", name()); }
};

struct StartSum final : RanksOp {
    float factor;
    StartSum(Ranks& r, float f) : RanksOp(r), factor(f) {}
    using RanksOp::run;
    std::string_view name() const override { return "start_sum_over_ranks"; }
    Operands operands() const override { return {.in = {{"values", 2}}, .out = {}}; }
    void run(const Cpu&, Tensors in, Tensors) const override {
        ranks.start_sum({static_cast<float*>(in[0].data), numel(in[0].shape)}, factor);
    }
};

struct WaitForSums final : RanksOp {
    using RanksOp::RanksOp, RanksOp::run;
    std::string_view name() const override { return "wait_for_ranks"; }
    Operands operands() const override { return {.in = {{"any", 0}}, .out = {}}; }
    void run(const Cpu&, Tensors, Tensors) const override { ranks.wait(); }
};

}  // namespace

void start_sum_over_ranks(Value values, float factor) {
    require(values.dtype() == DType::f32, "start_sum_over_ranks: values have type {}", to_string(values.dtype()));
    add_node(std::make_shared<const StartSum>(*values.graph->ranks, factor), {{"values", values}}, {});
}

void wait_for_ranks(Value any) { add_node(std::make_shared<const WaitForSums>(*any.graph->ranks), {{"any", any}}, {}); }
