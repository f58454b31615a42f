// Builds the graphs: see cudnn_graph.h.
#include "kernels/conv/cudnn_graph.h"

#include <array>
#include <sstream>

namespace {

using Dims = std::array<int64_t, 4>;

struct TensorSpec {
    int64_t id;
    Dims dims, strides;  // N, C, H, W
    cudnnDataType_t type;
    int64_t alignment = 16;
    bool inside = false;  // never in memory
};

CudnnDescriptor tensor(const TensorSpec& t) {
    CudnnDescriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, t.id)
        .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, t.type)
        .set(CUDNN_ATTR_TENSOR_DIMENSIONS, t.dims)
        .set(CUDNN_ATTR_TENSOR_STRIDES, t.strides)
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, t.alignment);
    if (t.inside) d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, true);
    return d.finalize("cuDNN: tensor");
}

// NHWC in memory. Pixels whose channels are not a multiple of 16 bytes are aligned to less.
TensorSpec pixels(int64_t id, size_t n, size_t channels, size_t h, size_t w, cudnnDataType_t type) {
    const int64_t c = int64_t(channels), bytes = c * (type == CUDNN_DATA_FLOAT ? 4 : 2);
    const int64_t alignment = bytes % 16 == 0 ? 16 : bytes % 8 == 0 ? 8 : bytes % 4 == 0 ? 4 : 2;
    return {id, {int64_t(n), c, int64_t(h), int64_t(w)}, {int64_t(h * w) * c, 1, int64_t(w) * c, c}, type, alignment};
}

CudnnDescriptor convolution(const ConvShape& s) {
    const int64_t stride[2] = {int64_t(s.stride), int64_t(s.stride)},
                  padding[2] = {int64_t(s.padding), int64_t(s.padding)};
    const int64_t dilation[2] = {1, 1};
    CudnnDescriptor d(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    return d.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
        .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION)
        .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, int64_t(2))
        .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, stride)
        .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, padding)
        .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, padding)
        .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, dilation)
        .finalize("cuDNN: convolution");
}

CudnnDescriptor forward(const CudnnDescriptor& x, const CudnnDescriptor& weight, const CudnnDescriptor& y,
                        const ConvShape& shape) {
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    return op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weight)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution(shape))
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1.0f)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 0.0f)
        .finalize("cuDNN: forward convolution");
}

CudnnDescriptor backward_data(const CudnnDescriptor& dx, const CudnnDescriptor& weight, const CudnnDescriptor& dy,
                              const ConvShape& shape) {
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
    return op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, dx)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, weight)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, dy)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution(shape))
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1.0f)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 0.0f)
        .finalize("cuDNN: gradient of a convolution's input");
}

CudnnDescriptor backward_weight(const CudnnDescriptor& x, const CudnnDescriptor& dweight, const CudnnDescriptor& dy,
                                const ConvShape& shape) {
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
    return op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, x)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, dweight)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, dy)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution(shape))
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1.0f)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 0.0f)
        .finalize("cuDNN: gradient of a convolution's weight");
}

CudnnDescriptor pointwise_mode(cudnnPointwiseMode_t mode) {
    CudnnDescriptor kind(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    return kind.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode)
        .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
        .finalize("cuDNN: pointwise");
}

// y = mode(x), or x + b where b is given.
CudnnDescriptor pointwise(cudnnPointwiseMode_t mode, const CudnnDescriptor& x, const CudnnDescriptor* b,
                          const CudnnDescriptor& y) {
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise_mode(mode))
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    if (b) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
    return op.finalize("cuDNN: pointwise operation");
}

// dx = dy where y > 0, else 0
CudnnDescriptor relu_backward(const CudnnDescriptor& dy, const CudnnDescriptor& y, const CudnnDescriptor& dx) {
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    return op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise_mode(CUDNN_POINTWISE_RELU_BWD))
        .set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, dy)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, y)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, dx)
        .finalize("cuDNN: gradient of a ReLU");
}

CudnnDescriptor per_channel(int64_t id, size_t channels, cudnnDataType_t type) {
    const int64_t c = int64_t(channels);
    return tensor({id, {1, c, 1, 1}, {c, 1, c, c}, type, 16});
}

// A tensor like `spec` that exists inside the engine only: its alignment is nobody's, but cuDNN refuses one of less
// than an element.
CudnnDescriptor inside(TensorSpec spec, int64_t id, cudnnDataType_t type) {
    spec.id = id;
    spec.type = type;
    spec.alignment = 16;
    spec.inside = true;
    return tensor(spec);
}

cudnnPointwiseMode_t mode_of(Activation a) {
    return a == Activation::relu ? CUDNN_POINTWISE_RELU_FWD : CUDNN_POINTWISE_SWISH_FWD;
}

// The convolution and what follows it: each operation reads what the one before gave; the last one writes y.
std::vector<CudnnDescriptor> forward_chain(const ConvProblem& p, const CudnnDescriptor& x,
                                           const CudnnDescriptor& weight, const TensorSpec& y) {
    enum class Then { bias, residual, activation };
    std::vector<Then> chain;
    if (p.bias && !p.rounded_bias) chain.push_back(Then::bias);
    if (p.residual && !p.residual_last) chain.push_back(Then::residual);
    if (p.bias && p.rounded_bias) chain.push_back(Then::bias);
    if (p.activation != Activation::none) chain.push_back(Then::activation);
    if (p.residual && p.residual_last) chain.push_back(Then::residual);

    const ConvShape& s = p.shape;
    int64_t next_id = 100;
    auto result_of = [&](size_t done) {  // of the convolution (0) or of chain[done - 1]
        return done == chain.size() ? tensor(y) : inside(y, next_id++, CUDNN_DATA_FLOAT);
    };
    CudnnDescriptor value = result_of(0);
    std::vector<CudnnDescriptor> ops = {forward(x, weight, value, s)};
    for (size_t i = 0; i < chain.size(); ++i) {
        CudnnDescriptor operand;
        if (chain[i] == Then::bias)
            operand = per_channel(kConvBias, s.c_out, p.rounded_bias ? p.type : CUDNN_DATA_FLOAT);
        if (chain[i] == Then::residual)
            operand = tensor(pixels(kConvResidual, s.n, s.c_out, s.out_h(), s.out_w(), p.type));
        const CudnnDescriptor result = result_of(i + 1);
        ops.push_back(chain[i] == Then::activation ? pointwise(mode_of(p.activation), value, nullptr, result)
                                                   : pointwise(CUDNN_POINTWISE_ADD, value, &operand, result));
        value = result;
    }
    return ops;
}

std::vector<CudnnDescriptor> joined_chain(const ConvProblem& p, const CudnnDescriptor& weight,
                                          const CudnnDescriptor& dy) {
    const ConvShape& s = p.shape;
    const auto like_x = [&](int64_t id) { return pixels(id, s.n, s.c_in, s.h, s.w, p.type); };
    const CudnnDescriptor gradient = inside(like_x(kConvX), 100, CUDNN_DATA_FLOAT),
                          sum = inside(like_x(kConvX), 101, CUDNN_DATA_FLOAT), other = tensor(like_x(kConvResidual));
    return {backward_data(gradient, weight, dy, s), pointwise(CUDNN_POINTWISE_ADD, gradient, &other, sum),
            relu_backward(sum, tensor(like_x(kConvRelu)), tensor(like_x(kConvX)))};
}

}  // namespace

std::string to_string(const ConvProblem& p) {
    const ConvShape& s = p.shape;
    std::ostringstream out;
    out << (p.direction == ConvDirection::forward         ? "forward"
            : p.direction == ConvDirection::backward_data ? "data"
                                                          : "weight")
        << '-'
        << (p.type == CUDNN_DATA_FLOAT      ? "fp32"
            : p.type == CUDNN_DATA_BFLOAT16 ? "bf16"
                                            : "fp16");
    for (const size_t part : {s.n, s.h, s.w, s.c_in, s.c_out, s.kernel_h, s.kernel_w, s.stride, s.padding,
                              size_t(p.activation), size_t(p.bias), size_t(p.residual), size_t(p.residual_last)})
        out << '-' << part;
    if (p.rounded_bias) out << "-rounded";
    if (p.joined) out << "-joined";
    return out.str();
}

CudnnDescriptor cudnn_device(cudnnHandle_t handle) {
    CudnnDescriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    return device.set(CUDNN_ATTR_DEVICEPROP_HANDLE, CUDNN_TYPE_HANDLE, handle).finalize("cuDNN: device properties");
}

CudnnDescriptor cudnn_device(const std::string& properties_json) {
    CudnnDescriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    return device
        .set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, std::span<const char>(properties_json))
        .finalize("cuDNN: device properties");
}

CudnnDescriptor conv_graph(const ConvProblem& p) {
    const ConvShape& s = p.shape;
    const CudnnDescriptor weight = tensor(pixels(kConvWeight, s.c_out, s.c_in, s.kernel_h, s.kernel_w, p.type));
    const TensorSpec y = pixels(kConvY, s.n, s.c_out, s.out_h(), s.out_w(), p.type);
    const CudnnDescriptor x = tensor(pixels(kConvX, s.n, s.c_in, s.h, s.w, p.type));
    std::vector<CudnnDescriptor> ops;
    if (p.joined)
        ops = joined_chain(p, weight, tensor(y));
    else if (p.direction == ConvDirection::backward_data)
        ops.push_back(backward_data(x, weight, tensor(y), s));
    else if (p.direction == ConvDirection::backward_weight)
        ops.push_back(backward_weight(x, weight, tensor(y), s));
    else
        ops = forward_chain(p, x, weight, y);
    std::vector<cudnnBackendDescriptor_t> raw;
    for (const CudnnDescriptor& op : ops) raw.push_back(op.get());
    CudnnDescriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    return graph
        .set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
             std::span<const cudnnBackendDescriptor_t>(raw))
        .finalize("cuDNN: operation graph");
}
