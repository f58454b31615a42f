// What a node computes. One file per operation: engine/ops/<name>.cpp.
#pragma once

#include "engine/graph.h"
#include "kernels/device.h"
#include "kernels/types.h"

// What gradients() asks of a node.
struct BackwardArgs {
    Values in, out;
    Values grad;               // one per output, empty where no gradient arrives
    Value second_grad;         // another part of the gradient of out[0], only where the operation adds it itself
    std::vector<bool> needed;  // one per input: is its gradient asked for?
};

struct Op {
    virtual ~Op() = default;
    virtual std::string_view name() const = 0;
    virtual void run(const Cpu&, Tensors in, Tensors out) const = 0;
    virtual void prepare(const Cpu&, Tensors, Tensors) const {}  // what a library wants to know of a shape once
    virtual void run(const Simt&, Tensors in, Tensors out) const = 0;
#ifdef TUNDRA_HAS_CUDA
    virtual void run(const Cuda&, Tensors in, Tensors out) const = 0;
#endif

    // Adds to the graph the nodes that give the gradients of the inputs from those of the outputs, and returns one per
    // input; an empty Value where there is none or none is needed.
    virtual std::vector<Value> backward(const BackwardArgs&) const {
        fail(Fault::runtime, "{} has no gradient", name());
    }

    // True where backward() takes the gradient of output 0 as two parts (grad[0] and second_grad).
    virtual bool adds_second_gradient() const { return false; }

    // The input that an output may lie on when nothing reads that input later, on devices that are in_place(); -1:
    // none.
    virtual int overwrites(size_t /*output*/) const { return -1; }

    // Multiplications and additions, and bytes read and written, for benches and reports. Bytes: every operand once,
    // plus what an operation reads or writes beyond that.
    virtual double flops() const { return 0; }
    virtual double bytes(Tensors in, Tensors out) const {
        double sum = 0;
        for (const Tensor& t : in) sum += t.data ? double(t.bytes()) : 0;
        for (const Tensor& t : out) sum += double(t.bytes());
        return sum;
    }
};

// The run() of an operation whose kernels take one struct of pointers: Self::call<T>(in, out) fills it in. T is the
// type of the first input, or of the output where Self says `static constexpr bool typed_by_output = true`.
template <class Self>
struct KernelOp : Op {
    void run(const Cpu& cpu, Tensors in, Tensors out) const final {
        require(type(in, out) == DType::f32, "{}: the device cpu computes in float32 only", name());
        compute(cpu, self().template call<float>(in, out));
    }
    void run(const Simt& simt, Tensors in, Tensors out) const final { run_typed(simt, in, out); }
#ifdef TUNDRA_HAS_CUDA
    void run(const Cuda& cuda, Tensors in, Tensors out) const final { run_typed(cuda, in, out); }
#endif

private:
    const Self& self() const { return static_cast<const Self&>(*this); }

    DType type(Tensors in, Tensors out) const {
        if constexpr (requires { Self::typed_by_output; }) return out[0].dtype;
        return in[0].dtype;
    }

    template <class Device>
    void run_typed(const Device& device, Tensors in, Tensors out) const {
        switch (type(in, out)) {
            case DType::f32: return compute(device, self().template call<float>(in, out));
            case DType::bf16: return compute(device, self().template call<bf16>(in, out));
            case DType::f16: return compute(device, self().template call<fp16>(in, out));
            default: fail(Fault::runtime, "{}: cannot compute in {}", name(), ::name(type(in, out)));
        }
    }
};

// The same for operations that are float on every device: Self::call(in, out).
template <class Self>
struct FloatOp : Op {
    void run(const Cpu& d, Tensors in, Tensors out) const final { compute(d, self().call(in, out)); }
    void run(const Simt& d, Tensors in, Tensors out) const final { compute(d, self().call(in, out)); }
#ifdef TUNDRA_HAS_CUDA
    void run(const Cuda& d, Tensors in, Tensors out) const final { compute(d, self().call(in, out)); }
#endif

private:
    const Self& self() const { return static_cast<const Self&>(*this); }
};
