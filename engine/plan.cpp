#include "engine/plan.h"

#include <algorithm>
#include <numeric>

#include "engine/op.h"

namespace {

constexpr size_t kAlign = 256;  // bytes: what cudaMalloc gives, and four cache lines

struct Block {
    size_t value, first, last, bytes, offset = 0;  // alive from node `first` to node `last`
};

bool in_arena(const ValueInfo& info) { return info.kind == ValueKind::temporary && !info.address; }

// The value whose memory each value uses: itself, or an input of the same size that dies at its node.
std::vector<size_t> alias_outputs(const Graph& graph, const std::vector<size_t>& last) {
    std::vector<size_t> alias(graph.values.size());
    std::iota(alias.begin(), alias.end(), size_t(0));
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& node = graph.nodes[n];
        const Operands operands = node.op->operands();
        for (size_t o = 0; o < node.out.size(); ++o) {
            const std::string& input = operands.out[o].overwrites;
            if (input.empty() || node.out[o] < 0 || node[input] < 0) continue;
            const size_t from = size_t(node[input]), to = size_t(node.out[o]);
            const ValueInfo &a = graph.values[from], &b = graph.values[to];
            if (in_arena(a) && in_arena(b) && last[from] == n && a.shape == b.shape && a.dtype == b.dtype &&
                std::ranges::count(node.in, int(from)) == 1)
                alias[to] = alias[from];
        }
    }
    return alias;
}

}  // namespace

std::string to_string(const Step& step) {
    return step.layer.empty() ? std::string(step.op->name()) : step.layer + ": " + std::string(step.op->name());
}

Plan plan_memory(const Graph& graph, Values keep, const PlanOptions& options) {
    const size_t forever = graph.nodes.size();
    std::vector<size_t> first(graph.values.size(), forever), last(graph.values.size(), 0);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        for (int i : graph.nodes[n].in)
            if (i >= 0) last[size_t(i)] = n;
        for (int o : graph.nodes[n].out)
            if (o >= 0) first[size_t(o)] = last[size_t(o)] = n;
    }
    for (Value v : keep) last[size_t(v.id)] = forever;
    std::vector<size_t> alias(graph.values.size());
    std::iota(alias.begin(), alias.end(), size_t(0));
    if (options.in_place && options.share) alias = alias_outputs(graph, last);
    for (size_t v = 0; v < alias.size(); ++v) last[alias[v]] = std::max(last[alias[v]], last[v]);

    std::vector<Block> blocks;
    std::vector<size_t> alive(forever + 2);
    for (size_t v = 0; v < graph.values.size(); ++v) {
        const ValueInfo& info = graph.values[v];
        if (!in_arena(info) || first[v] == forever || alias[v] != v) continue;
        const size_t bytes = (numel(info.shape) * size_of(info.dtype) + options.gap + kAlign - 1) / kAlign * kAlign;
        blocks.push_back({v, options.share ? first[v] : 0, options.share ? last[v] : forever, bytes});
        for (size_t n = blocks.back().first; n <= blocks.back().last; ++n) alive[n] += bytes;
    }

    // The largest first, each in the tightest gap between the blocks that are alive at the same time:
    // Pisarchyk & Lee 2020, https://arxiv.org/abs/2001.03288
    std::ranges::stable_sort(blocks, std::greater{}, &Block::bytes);
    Plan plan{std::vector<size_t>(graph.values.size()), 0, *std::ranges::max_element(alive)};
    std::vector<Block> placed;  // by offset
    for (Block block : blocks) {
        size_t best = SIZE_MAX, room = SIZE_MAX, end = 0;  // the tightest hole
        for (const Block& other : placed) {
            if (other.last < block.first || block.last < other.first) continue;
            if (other.offset >= end + block.bytes && other.offset - end < room) best = end, room = other.offset - end;
            end = std::max(end, other.offset + other.bytes);
        }
        block.offset = best == SIZE_MAX ? end : best;
        placed.insert(std::ranges::upper_bound(placed, block.offset, {}, &Block::offset), block);
        plan.offset[block.value] = block.offset;
        plan.bytes = std::max(plan.bytes, block.offset + block.bytes);
    }
    for (size_t v = 0; v < alias.size(); ++v) plan.offset[v] = plan.offset[alias[v]];
    return plan;
}

std::vector<Step> bind_steps(const Graph& graph, const Plan& plan, void* arena, std::span<void* const> storage) {
    auto tensor = [&](int id) -> Tensor {
        if (id < 0) return {};
        const size_t v = size_t(id);
        const ValueInfo& info = graph.values[v];
        void* data = info.address                        ? info.address
                     : info.kind == ValueKind::temporary ? static_cast<std::byte*>(arena) + plan.offset[v]
                                                         : storage[v];
        return {data, info.shape, info.dtype};
    };
    std::vector<Step> steps;
    for (const Node& node : graph.nodes) {
        Step step{node.op, {}, {}, node.layer};
        for (int i : node.in) step.in.push_back(tensor(i));
        for (int o : node.out) step.out.push_back(tensor(o));
        steps.push_back(std::move(step));
    }
    return steps;
}
