#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "bench/cudnn_operations.h"
#include "bench/device_time_cuda.h"
#include "engine/device_cuda.h"
#include "engine/op.h"
#include "kernels/conv/cudnn_plans.h"

namespace {

using Dims = std::array<int64_t, 4>;

class Builder {
public:
    Builder(const Shape& x, DType type)
        : channels_(int64_t(x[3])),
          type_(type == DType::bf16  ? CUDNN_DATA_BFLOAT16
                : type == DType::f16 ? CUDNN_DATA_HALF
                                     : CUDNN_DATA_FLOAT) {}

    cudnnDataType_t type() const { return type_; }
    CudnnDescriptor image(const Shape& s) {
        const Dims dims = {int64_t(s[0]), channels_, int64_t(s[1]), int64_t(s[2])};
        return tensor(dims, {dims[2] * dims[3] * channels_, 1, dims[3] * channels_, channels_}, type_,
                      numel(s) * (type_ == CUDNN_DATA_FLOAT ? 4 : 2));
    }
    CudnnDescriptor vector() {
        return tensor({1, channels_, 1, 1}, {channels_, 1, channels_, channels_}, CUDNN_DATA_FLOAT,
                      4 * size_t(channels_));
    }
    CudnnDescriptor number(float value) {
        CudnnDescriptor d = tensor({1, 1, 1, 1}, {1, 1, 1, 1}, CUDNN_DATA_FLOAT, 0, value);
        return d;
    }
    CudnnDescriptor indices(const Shape& s) {  // one byte per output: which element of the window
        const Dims dims = {int64_t(s[0]), channels_, int64_t(s[1]), int64_t(s[2])};
        return tensor(dims, {dims[2] * dims[3] * channels_, 1, dims[3] * channels_, channels_}, CUDNN_DATA_INT8,
                      numel(s));
    }
    CudnnOperation finish(const CudnnDescriptor& op) {
        CudnnDescriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
        graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, op).finalize("cuDNN: operation graph");
        return {graph, type_, operands_};
    }

private:
    CudnnDescriptor tensor(const Dims& dims, const Dims& strides, cudnnDataType_t type, size_t bytes, float value = 0) {
        const int64_t id = int64_t(operands_.size()) + 1, alignment = 16;
        operands_.push_back({id, bytes, value});
        CudnnDescriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
        d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id)
            .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type)
            .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const int64_t>(dims))
            .set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const int64_t>(strides))
            .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, alignment);
        if (bytes == 0) d.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, true);
        return d.finalize("cuDNN: tensor");
    }
    int64_t channels_;
    cudnnDataType_t type_;
    std::vector<CudnnOperation::Operand> operands_;
};

CudnnOperation norm(Builder b, const Shape& x) {
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_TYPE_NORM_MODE, CUDNN_BATCH_NORM)
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE, CUDNN_NORM_FWD_TRAINING)
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, b.image(x))
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, b.number(1e-5f))
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC, b.number(0.1f))
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, b.image(x))
        .finalize("cuDNN: batch normalization");
    return b.finish(op);
}

CudnnOperation norm_backward(Builder b, const Shape& x) {
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_TYPE_NORM_MODE, CUDNN_BATCH_NORM)
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, b.image(x))
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, b.image(x))
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, b.vector())
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, b.image(x))
        .finalize("cuDNN: gradient of batch normalization");
    return b.finish(op);
}

// The windows of the networks here: 3 of stride 2, else 5 of stride 1.
CudnnOperation pool(Builder b, const Shape& x, const Shape& y, bool backward) {
    const int64_t stride = int64_t((x[1] + y[1] - 1) / y[1]), kernel = stride > 1 ? 3 : 5, padding = kernel / 2;
    const auto fractions = [](int64_t v) { return std::array{cudnnFraction_t{v, 1}, cudnnFraction_t{v, 1}}; };
    const auto set = [&](CudnnDescriptor& d, cudnnBackendAttributeName_t name, int64_t v) {
        const auto values = fractions(v);
        d.set(name, CUDNN_TYPE_FRACTION, std::span<const cudnnFraction_t>(values));
    };
    CudnnDescriptor kind(CUDNN_BACKEND_RESAMPLE_DESCRIPTOR);
    kind.set(CUDNN_ATTR_RESAMPLE_MODE, CUDNN_TYPE_RESAMPLE_MODE, CUDNN_RESAMPLE_MAXPOOL)
        .set(CUDNN_ATTR_RESAMPLE_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
        .set(CUDNN_ATTR_RESAMPLE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION, CUDNN_PROPAGATE_NAN)
        .set(CUDNN_ATTR_RESAMPLE_PADDING_MODE, CUDNN_TYPE_PADDING_MODE, CUDNN_NEG_INF_PAD)
        .set(CUDNN_ATTR_RESAMPLE_SPATIAL_DIMS, CUDNN_TYPE_INT64, int64_t(2));
    set(kind, CUDNN_ATTR_RESAMPLE_WINDOW_DIMS, kernel);
    set(kind, CUDNN_ATTR_RESAMPLE_STRIDES, stride);
    set(kind, CUDNN_ATTR_RESAMPLE_PRE_PADDINGS, padding);
    set(kind, CUDNN_ATTR_RESAMPLE_POST_PADDINGS, padding - (stride > 1 && x[1] % 2 == 0));
    kind.finalize("cuDNN: pooling");
    CudnnDescriptor op(backward ? CUDNN_BACKEND_OPERATION_RESAMPLE_BWD_DESCRIPTOR
                                : CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR);
    if (backward)
        op.set(CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DXDESC, b.image(x))
            .set(CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DYDESC, b.image(y))
            .set(CUDNN_ATTR_OPERATION_RESAMPLE_BWD_IDXDESC, b.indices(y))
            .set(CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DESC, kind);
    else
        op.set(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_XDESC, b.image(x))
            .set(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_YDESC, b.image(y))
            .set(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_IDXDESC, b.indices(y))
            .set(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_DESC, kind);
    op.finalize("cuDNN: pooling operation");
    return b.finish(op);
}

}  // namespace

CudnnOperation cudnn_operation(std::string_view op, const Shape& x, const Shape& y, DType type) {
    const Builder builder(x, type);
    if (op == "batch_norm") return norm(builder, x);
    if (op == "batch_norm_backward") return norm_backward(builder, x);
    return pool(builder, x, y, op == "max_pool_backward");
}

// Which cuDNN problem a convolution is: it is asked for here instead of being run.
struct Asked final : CudaConvolutions {
    ConvProblem problem{};
    Pointers pointers;
    void run(const Cuda&, const ConvProblem& asked, const Pointers& operands) override {
        problem = asked, pointers = operands;
    }
};

CudnnOperation cudnn_operation(Step step) {
    std::map<const void*, size_t> bytes;  // by an address that nothing reads
    for (std::vector<Tensor>* tensors : {&step.in, &step.out})
        for (Tensor& t : *tensors)
            if (t.data) bytes[t.data = reinterpret_cast<void*>((bytes.size() + 1) << 12)] = t.bytes();
    Asked asked;
    step.op->run(Cuda{.convolutions = &asked, .scratch = {}}, step.in, step.out);
    CudnnOperation result{conv_graph(asked.problem), asked.problem.type, {}};
    for (const auto& [id, pointer] : asked.pointers)
        if (pointer) result.operands.push_back({id, bytes.at(pointer)});
    return result;
}

namespace {

// Memory full of zeros, one set of it: what fits into the GPU's second cache stays there.
struct OperandMemory {
    std::vector<Buffer> memory;
    std::vector<float> numbers;
    std::vector<int64_t> ids;
    std::vector<const void*> pointers;

    OperandMemory(Device& device, const CudnnOperation& operation) {
        numbers.reserve(operation.operands.size());
        for (const auto& operand : operation.operands) {
            ids.push_back(operand.id);
            if (operand.bytes)
                pointers.push_back(memory.emplace_back(device, operand.bytes).data());
            else
                pointers.push_back(&numbers.emplace_back(operand.value));
        }
    }
};

// Infinity where it cannot run after all: heuristics only propose.
double seconds_of_engine(const Cuda& cuda, const CudnnOperation& operation, const ConvEngine& engine,
                         const OperandMemory& operands) try {
    constexpr int kRuns = 20;
    const ConvPlan plan =
        conv_plan(operation.graph, cudnn_device(cuda.cudnn), operation.type, {.workspace = cuda.scratch.bytes}, engine);
    CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const int64_t>(operands.ids))
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
             std::span<const void* const>(operands.pointers))
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, cuda.scratch.memory)
        .finalize("cuDNN: variant pack");
    const auto run = [&] {
        check(cudnnBackendExecute(cuda.cudnn, plan.plan.get(), pack.get()), "cuDNN: running an operation");
    };
    run();
    cudaEvent_t start = nullptr, stop = nullptr;
    cudaEventCreate(&start), cudaEventCreate(&stop);
    cudaEventRecord(start, cuda.stream);
    for (int i = 0; i < kRuns; ++i) run();
    cudaEventRecord(stop, cuda.stream);
    float milliseconds = 0;
    const bool good =
        cudaEventSynchronize(stop) == cudaSuccess && cudaEventElapsedTime(&milliseconds, start, stop) == cudaSuccess;
    cudaEventDestroy(start), cudaEventDestroy(stop);
    return good ? 1e-3 * double(milliseconds) / kRuns : std::numeric_limits<double>::infinity();
} catch (const CudnnError&) {
    return std::numeric_limits<double>::infinity();
}

std::vector<ConvEngine> engines_of(const Cuda& cuda, const CudnnOperation& operation, size_t compiled) {
    return conv_engines(operation.graph, cudnn_device(cuda.cudnn), operation.type, {.workspace = cuda.scratch.bytes},
                        compiled);
}

std::optional<double> fastest(Device& device, const CudnnOperation& operation, std::span<const ConvEngine> engines) {
    const OperandMemory operands(device, operation);
    double seconds = std::numeric_limits<double>::infinity();
    for (const ConvEngine& engine : engines)
        seconds = std::min(seconds, seconds_of_engine(cuda_of(device), operation, engine, operands));
    return std::isfinite(seconds) ? std::optional(seconds) : std::nullopt;
}

}  // namespace

std::optional<double> seconds_of_cudnn(Device& device, std::string_view op, const Shape& x, const Shape& y,
                                       DType type) {
    try {
        const CudnnOperation operation = cudnn_operation(op, x, y, type);
        return fastest(device, operation, engines_of(cuda_of(device), operation, 4));
    } catch (const CudnnError&) {
        return {};
    }
}

std::vector<std::string> cudnn_engines(Device& device, const Step& step) {
    std::vector<std::string> names;
    for (const ConvEngine& engine : engines_of(cuda_of(device), cudnn_operation(step), 100))
        names.push_back(to_string(engine));
    return names;
}

std::optional<double> seconds_of_cudnn(Device& device, const Step& step, const std::string& engine) {
    return fastest(device, cudnn_operation(step), std::array{parse_conv_engine(engine).value()});
}
