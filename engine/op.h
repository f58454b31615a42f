// The operation of a node. One file per operation: engine/ops/<name>.cpp.
//
// An operation lists its operands once, in bind():
//
//   struct Forward {
//       static constexpr std::string_view name = "linear";
//       LinearShape shape;
//       void bind(auto& kernel, auto& slot) const {
//           kernel.shape = shape;
//           slot.in("x", kernel.x), slot.in("weight", kernel.weight), slot.in("bias", kernel.bias);
//           slot.out("y", kernel.y);
//       }
//   };
//   const Value y = add_node<LinearForward>(Forward{shape}, {{"x", x}, {"weight", weight}}, {{"y", s, type}}).at("y");
//
// Graphs are built, and gradients, messages, tests and benchmarks find operands, by these names. When a step runs, the
// same function fills in the kernel's pointers, in the order of the list and without looking at the names.
#pragma once

#include "engine/graph.h"
#include "kernels/device.h"
#include "kernels/quantize.h"
#include "kernels/types.h"

struct Operand {
    std::string name;
    int passes = 1;               // number of full reads and writes
    std::string overwrites = {};  // of an output: the input whose memory it may take on devices that are in_place()
};

struct Operands {
    std::vector<Operand> in, out;
};

// The arguments of backward(): operands of the node, and the gradients of its outputs.
class BackwardArgs {
public:
    using Parts = std::vector<std::vector<Value>>;  // of each value of the graph: terms whose sum is its gradient
    BackwardArgs(Graph& graph, const Node& node, Parts& parts, const std::vector<bool>& needed)
        : graph_(graph), node_(node), parts_(parts), needed_(needed) {}

    Value operator[](std::string_view name) const { return {&graph_, node_[name]}; }  // empty if absent
    NamedValues pick(std::initializer_list<const char*> names) const;
    bool needed(std::string_view input) const;  // whether its gradient is needed

    // The gradient of an output, empty if there is none: as a sum that is added to the graph; as two terms (the second
    // may be empty) for operations that add them; or of the only output that can have one.
    Value grad(std::string_view output) const;
    std::pair<Value, Value> two_grads(std::string_view output) const;
    Value only_grad(std::string_view output) const;

private:
    Graph& graph_;
    const Node& node_;
    Parts& parts_;
    const std::vector<bool>& needed_;
};

struct Op {
    virtual ~Op() = default;
    virtual std::string_view name() const = 0;
    virtual Operands operands() const = 0;

    // Operands in the order of the list; absent ones are empty tensors.
    virtual void run(const Cpu&, Tensors in, Tensors out) const = 0;
    virtual void run(const Simt&, Tensors in, Tensors out) const = 0;
    virtual void run(const Cuda&, Tensors in, Tensors out) const = 0;
    virtual void prepare(const Cpu&, Tensors, Tensors) const {}  // setup per shape, e.g. a oneDNN primitive

    // Adds to the graph the nodes that compute the gradients of the inputs, and returns them: that of "x" as "dx".
    // Gradients that are zero or not needed may be omitted.
    virtual NamedValues backward(const BackwardArgs&) const { fail(Fault::runtime, "{} has no gradient", name()); }

    // For inference in int8 (engine/int8.h), on the device cpu. keeps_range(): no output leaves the range that the
    // inputs have together. on_bytes(): the same operation on tensors of bytes, given what a byte stands for in each
    // input and in the output; null if there is none. That of conv has operands of its own: conv_int8 in
    // engine/ops/conv.cpp.
    virtual bool keeps_range() const { return false; }
    virtual std::shared_ptr<const Op> on_bytes(std::span<const Quantization> /*in*/, Quantization /*out*/) const {
        return nullptr;
    }

    // Floating-point operations (a multiply-add counts as two) and bytes read and written, for benchmarks.
    virtual double flops() const { return 0; }
    double bytes(Tensors in, Tensors out) const;
};

// The two visitors of bind(). An index is for lists of operands: slot.in("part", 1, x) is the input "part1".
struct ListOperands {
    Operands list;

    bool in(std::string name, const void*, int passes = 1) {
        list.in.push_back({std::move(name), passes});
        return false;
    }
    void in(const std::string& name, size_t index, const void*) { in(name + std::to_string(index), nullptr); }
    void out(std::string name, const void*, std::string overwrites = {}, int passes = 1) {
        list.out.push_back({std::move(name), passes, std::move(overwrites)});
    }
    void out(const std::string& name, size_t index, const void*) { out(name + std::to_string(index), nullptr); }
};

struct FillPointers {
    const Tensor *next_in, *next_out;

    // Whether the input is present. The pointer to an absent operand stays null.
    bool in(std::string_view, auto*& pointer, int = 1) { return fill(*next_in++, pointer); }
    void in(std::string_view, size_t, auto*& pointer) { fill(*next_in++, pointer); }
    void out(std::string_view, auto*& pointer, std::string_view = {}, int = 1) { fill(*next_out++, pointer); }
    void out(std::string_view, size_t, auto*& pointer) { fill(*next_out++, pointer); }

private:
    template <class P>
    static bool fill(const Tensor& tensor, P*& pointer) {
        if (tensor.data) pointer = static_cast<P*>(tensor.data);
        return tensor.data != nullptr;
    }
};

// An operation that is one call of compute(device, Kernel<T>). `Self` is an aggregate with a name, bind(), and
// optionally flops(), backward(), prepare(), keeps_range and on_bytes(). T is the type of the first input in the list,
// or of the first output where Self says `static constexpr bool typed_by_output = true`. With `takes_bytes` it may be
// uint8_t, on the device cpu; an operation with `cpu_only` has no other device.
template <template <class> class Kernel, class Self>
struct KernelOp final : Op {
    Self self;
    explicit KernelOp(Self s) : self(std::move(s)) {}

    std::string_view name() const override { return Self::name; }
    Operands operands() const override {
        Kernel<float> kernel{};
        ListOperands slot;
        self.bind(kernel, slot);
        return slot.list;
    }
    void run(const Cpu& cpu, Tensors in, Tensors out) const override {
        switch (type(in, out)) {
            case DType::f32: return compute(cpu, bound<float>(in, out));
            case DType::bf16: return compute(cpu, bound<bf16>(in, out));
            case DType::u8:
                if constexpr (requires { Self::takes_bytes; }) return compute(cpu, bound<uint8_t>(in, out));
                [[fallthrough]];
            default: fail(Fault::runtime, "{}: the device cpu cannot compute in {}", name(), to_string(type(in, out)));
        }
    }
    void run(const Simt& simt, Tensors in, Tensors out) const override { run_typed(simt, in, out); }
    void run(const Cuda& cuda, Tensors in, Tensors out) const override {
        if constexpr (has_cuda) return run_typed(cuda, in, out);
        fail(Fault::runtime, "{}: this build has no CUDA", name());
    }
    void prepare(const Cpu& cpu, Tensors in, Tensors out) const override {
        if constexpr (requires { self.prepare(cpu, bound<float>(in, out)); })
            type(in, out) == DType::bf16 ? self.prepare(cpu, bound<bf16>(in, out))
                                         : self.prepare(cpu, bound<float>(in, out));
    }
    bool keeps_range() const override {
        return requires { Self::keeps_range; };
    }
    std::shared_ptr<const Op> on_bytes(std::span<const Quantization> in, Quantization out) const override {
        if constexpr (requires { Self::takes_bytes; }) return std::make_shared<KernelOp>(self);
        if constexpr (requires { self.on_bytes(in, out); }) return self.on_bytes(in, out);
        return nullptr;
    }
    NamedValues backward(const BackwardArgs& node) const override {
        if constexpr (requires { self.backward(node); }) return self.backward(node);
        return Op::backward(node);
    }
    double flops() const override {
        if constexpr (requires { self.flops(); }) return self.flops();
        return 0;
    }

private:
    static DType type(Tensors in, Tensors out) {
        if constexpr (requires { Self::untyped; }) return DType::f32;  // bytes and integers only
        if constexpr (requires { Self::typed_by_output; }) return out[0].dtype;
        return in[0].dtype;
    }
    template <class T>
    Kernel<T> bound(Tensors in, Tensors out) const {
        Kernel<T> kernel{};
        FillPointers slot{in.data(), out.data()};
        self.bind(kernel, slot);
        return kernel;
    }
    void run_typed(const auto& device, Tensors in, Tensors out) const {
        if constexpr (requires { Self::cpu_only; })
            fail(Fault::runtime, "{}: runs on the device cpu only", name());
        else
            switch (type(in, out)) {
                case DType::f32: return compute(device, bound<float>(in, out));
                case DType::bf16: return compute(device, bound<bf16>(in, out));
                case DType::f16: return compute(device, bound<fp16>(in, out));
                default: fail(Fault::runtime, "{}: cannot compute in {}", name(), to_string(type(in, out)));
            }
    }
};

template <class Kernel>
struct FloatKernel {  // for operations that are float on every device
    template <class>
    using For = Kernel;
};

template <class Kernel, class Self>
std::shared_ptr<const Op> cpu_op(Self op) {  // with `untyped` and `cpu_only`
    return std::make_shared<const KernelOp<FloatKernel<Kernel>::template For, Self>>(std::move(op));
}

// Adds an operation to the graph of its inputs, and returns the outputs.
template <template <class> class Kernel, class Self>
NamedValues add_node(Self op, const NamedValues& in, const std::vector<OutputSpec>& out) {
    return add_node(std::make_shared<const KernelOp<Kernel, Self>>(std::move(op)), in, out);
}
template <class Kernel, class Self>
NamedValues add_node(Self op, const NamedValues& in, const std::vector<OutputSpec>& out) {
    return add_node<FloatKernel<Kernel>::template For>(std::move(op), in, out);
}
