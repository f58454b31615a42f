#include "engine/int8.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "engine/op.h"
#include "kernels/quantize.h"

namespace {

template <bool to_bytes>
struct Convert {
    static constexpr std::string_view name = to_bytes ? "quantize" : "dequantize";
    static constexpr bool untyped = true, cpu_only = true;
    size_t count;
    Quantization range;
    void bind(auto& k, auto& slot) const {
        k.count = count, k.range = range;
        slot.in("x", k.x);
        slot.out("y", k.y);
    }
};

class Rewriting {
public:
    Rewriting(Graph& graph, const Int8Layers& layers) : graph_(graph), layers_(layers) {}

    void run() {
        const std::vector<Node> nodes = std::exchange(graph_.nodes, {});
        find_wanted(nodes);
        find_ranges(nodes);
        in_float_.assign(graph_.values.size(), true);
        for (const Node& node : nodes) {
            graph_.layer = node.layer;
            add(node);
        }
        graph_.layer.clear();
    }

private:
    bool is_int8(const Node& node) const {
        return node.op->name() == "conv" && layers_.convolutions.contains(node.layer);
    }
    bool wants(int value) const { return value >= 0 && wanted_[size_t(value)]; }

    // Which values something reads as bytes.
    void find_wanted(const std::vector<Node>& nodes) {
        wanted_.assign(graph_.values.size(), false);
        const auto want = [&](int value) {
            if (value >= 0) wanted_[size_t(value)] = true;
        };
        for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
            if (is_int8(*node))
                want((*node)["x"]), want((*node)["residual"]);
            else if (node->op->name() != "conv" && wants(node->out[0]) && has_bytes_form(*node))
                std::ranges::for_each(node->in, want);
        }
    }
    // The ranges of all values that have one. What only a concatenation reads is made in the range of the whole, so
    // that it is rounded once and then copied.
    void find_ranges(const std::vector<Node>& nodes) {
        std::vector<size_t> readers(graph_.values.size());
        std::set<int> from_int8;
        for (const Node& node : nodes) {
            for (const int value : node.in)
                if (value >= 0) ++readers[size_t(value)];
            if (is_int8(node)) from_int8.insert(node["y"]);
            take_range(node);
        }
        for (const Node& node : nodes)
            if (node.op->name() == "concat" && wants(node.out[0]) && ranges_.contains(node.out[0]))
                for (const int part : node.in)
                    if (from_int8.contains(part) && readers[size_t(part)] == 1) ranges_[part] = ranges_[node.out[0]];
    }
    static bool has_bytes_form(const Node& node) {
        return node.op->on_bytes(std::vector<Quantization>(node.in.size()), {}) != nullptr;
    }

    void add(const Node& node) {
        const bool conv = is_int8(node), on_bytes = conv || (node.op->name() != "conv" && wants(node.out[0]));
        if (conv)
            add_conv(node);
        else if (!(on_bytes && add_on_bytes(node)))
            add_in_float(node);
    }

    void add_conv(const Node& node) {
        const int x = node["x"], residual = node["residual"], y = node["y"], weight = node["weight"];
        ValueInfo& info = graph_.values[size_t(weight)];
        info.dtype = DType::i8, info.spec.role = ParameterRole::int8_weight;
        const Shape shape = info.shape;
        const Value scale = graph_.parameter(node.layer + ".weight_scale", {shape[0]},
                                             {.role = ParameterRole::norm_or_bias, .init = Initializer::ones});
        grow();
        std::vector<Quantization> in(node.in.size());
        const int bytes = bytes_of(x), added = residual < 0 ? -1 : bytes_of(residual);
        in[0] = quantization(x);
        if (residual >= 0) in[3] = quantization(residual);
        const std::shared_ptr<const Op> op = node.op->on_bytes(in, wants(y) ? quantization(y) : Quantization{});
        const int out = wants(y) ? new_bytes(y) : -1;
        graph_.nodes.push_back(
            {op, {bytes, weight, scale.id, node["bias"], added}, {out, wants(y) ? -1 : y}, node.layer});
    }

    // False if the operation has no such form, or a range is not known.
    bool add_on_bytes(const Node& node) {
        const int y = node.out[0];
        if (!ranges_.contains(y) || !has_bytes_form(node)) return false;
        std::vector<Quantization> in;
        std::vector<int> ids;
        for (const int value : node.in) {
            if (!ranges_.contains(value)) return false;
            ids.push_back(bytes_of(value)), in.push_back(quantization(value));
        }
        std::vector<int> out(node.out.size(), -1);  // further outputs, such as argmax, are for training
        out[0] = new_bytes(y);
        graph_.nodes.push_back({node.op->on_bytes(in, quantization(y)), ids, out, node.layer});
        return true;
    }

    void add_in_float(const Node& node) {
        for (const int value : node.in)
            if (value >= 0) make_float(value);
        graph_.nodes.push_back(node);
    }

    // The range of what the node gives, if it is known.
    void take_range(const Node& node) {
        const std::string_view op = node.op->name();
        if (op == "conv" || op == "depthwise_conv") {
            if (const auto range = layers_.ranges.find(node.layer); range != layers_.ranges.end())
                ranges_[node.out[0]] = range->second;
        } else if (node.op->keeps_range()) {
            Range all;
            for (const int value : node.in) {
                const auto range = ranges_.find(value);
                if (range == ranges_.end()) return;
                all.low = std::min(all.low, range->second.low), all.high = std::max(all.high, range->second.high);
            }
            for (const int value : node.out)
                if (value >= 0) ranges_[value] = all;
        }
    }

    Quantization quantization(int value) const {
        const auto range = ranges_.find(value);
        if (range == ranges_.end())
            fail(Fault::damaged, "the range of {} is missing, of which {} needs bytes",
                 graph_.values[size_t(value)].name, graph_.layer);
        return quantization_of(range->second);
    }

    int new_bytes(int value) {
        const Shape shape = graph_.values[size_t(value)].shape;
        const int id = graph_.value({graph_.values[size_t(value)].name + " bytes", shape, DType::u8}).id;
        grow();
        bytes_[value] = id, in_float_[size_t(value)] = false;
        return id;
    }
    void grow() {  // for values that this pass adds
        in_float_.resize(graph_.values.size(), true);
        wanted_.resize(graph_.values.size(), false);
    }

    int bytes_of(int value) {
        if (const auto found = bytes_.find(value); found != bytes_.end()) return found->second;
        const Quantization range = quantization(value);
        const int id = new_bytes(value);
        in_float_[size_t(value)] = true;
        append<Quantize>(Convert<true>{count(value), range}, value, id);
        return id;
    }
    void make_float(int value) {
        if (in_float_[size_t(value)]) return;
        append<Dequantize>(Convert<false>{count(value), quantization(value)}, bytes_.at(value), value);
        in_float_[size_t(value)] = true;
    }
    template <class Kernel>
    void append(auto op, int in, int out) {
        graph_.nodes.push_back({cpu_op<Kernel>(std::move(op)), {in}, {out}, graph_.layer});
    }
    size_t count(int value) const { return numel(graph_.values[size_t(value)].shape); }

    Graph& graph_;
    const Int8Layers& layers_;
    std::vector<bool> wanted_{}, in_float_{};  // by value: something reads its bytes; its floats are there
    std::map<int, int> bytes_{};               // of values that are there as bytes
    std::map<int, Range> ranges_{};
};

}  // namespace

Quantization quantization_of(const Range& range) {
    const float scale = (range.high - range.low) / 255;
    return {scale, std::clamp(int32_t(std::lround(-range.low / scale)), 0, 255)};
}

void use_int8(Graph& graph, const Int8Layers& layers) {
    require(!graph.training && graph.compute == DType::f32, "int8: needs an inference graph in float32");
    if (!layers.empty()) Rewriting(graph, layers).run();
}
