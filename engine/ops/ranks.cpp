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
    GpuSums& gpu_sums() const {
        require(ranks.gpu_sums != nullptr, "{}: these ranks have no sums between GPUs", name());
        return *ranks.gpu_sums;
    }
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
    void run(const Cuda& cuda, Tensors in, Tensors) const override {
        gpu_sums().start_sum(cuda.stream, in[0].data, numel(in[0].shape), in[0].dtype, factor);
    }
};

struct WaitForSums final : RanksOp {
    using RanksOp::RanksOp, RanksOp::run;
    std::string_view name() const override { return "wait_for_ranks"; }
    Operands operands() const override { return {.in = {{"any", 0}}, .out = {}}; }
    void run(const Cpu&, Tensors, Tensors) const override { ranks.wait(); }
    void run(const Cuda& cuda, Tensors, Tensors) const override { gpu_sums().wait(cuda.stream); }
};

}  // namespace

void start_sum_over_ranks(Value values, float factor) {
    add_node(std::make_shared<const StartSum>(*values.graph->ranks, factor), {{"values", values}}, {});
}

void wait_for_ranks(Value any) { add_node(std::make_shared<const WaitForSums>(*any.graph->ranks), {{"any", any}}, {}); }
