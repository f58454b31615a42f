// Convolutions as cuDNN operation graphs, and the engines that can run them. Nothing here needs a GPU: the device is a
// descriptor of its properties, taken from a handle or from a text (tests/data/h200.json).
//
// The graph of a forward convolution, each arrow a tensor that exists inside the engine only:
//   conv(x, w) -> + bias -> + residual -> activation = y       or, with residual_last, activation -> + residual = y
//   conv(x, w) -> + residual -> + rounded bias -> relu = y     for which cuDNN has ready-made engines
// and, joined, of the gradient of its input:
//   gradient(dy, w) -> + the other gradient (residual) -> 0 where the ReLU's output is = dx
#pragma once

#include <optional>

#include "kernels/conv/conv.h"
#include "kernels/conv/cudnn_descriptor.h"

template <class T>
constexpr cudnnDataType_t cudnn_type = CUDNN_DATA_FLOAT;
template <>
inline constexpr cudnnDataType_t cudnn_type<bf16> = CUDNN_DATA_BFLOAT16;
template <>
inline constexpr cudnnDataType_t cudnn_type<fp16> = CUDNN_DATA_HALF;

enum class ConvDirection { forward, backward_data, backward_weight };

struct ConvProblem {  // all that decides which engines are possible
    ConvDirection direction;
    ConvShape shape;
    cudnnDataType_t type;  // of x, weight, y, residual; bias is float
    Activation activation = Activation::none;
    bool bias = false, residual = false, residual_last = false;
    bool rounded_bias = false;  // to `type`, and added after the residual
    bool joined = false;        // ConvBackwardData with dx2
    bool operator==(const ConvProblem&) const = default;
};
std::string to_string(const ConvProblem&);  // one word; the key of stored choices

// The names of the tensors in a variant pack.
enum ConvTensor : int64_t { kConvX = 1, kConvWeight, kConvY, kConvBias, kConvResidual, kConvRelu };

CudnnDescriptor cudnn_device(cudnnHandle_t handle);
CudnnDescriptor cudnn_device(const std::string& properties_json);

CudnnDescriptor conv_graph(const ConvProblem&);

struct ConvEngine {  // an engine and how it is tuned: enough to build it again
    int64_t index;
    std::vector<std::pair<int64_t, int64_t>> knobs;
    bool compiled = false;  // at run time: a plan takes seconds; unknown where it was read from a text
    bool operator==(const ConvEngine& o) const { return index == o.index && knobs == o.knobs; }
};
std::string to_string(const ConvEngine&);
std::optional<ConvEngine> parse_conv_engine(const std::string& text);

struct ConvEngineRules {
    bool deterministic = false;
    size_t workspace = size_t(256) << 20;  // bytes at most
    cudnnHandle_t handle = nullptr;        // plans are bound to it, not to the description of the device
};

// The engines that cuDNN's heuristics propose for the graph, best first, each once: all that are ready-made, and up to
// `compiled` of those that are compiled at run time. Engines that break a rule are left out, and so are those that
// round more than the type says: float32 through tensor cores, sums in 16 bits.
std::vector<ConvEngine> conv_engines(const CudnnDescriptor& graph, const CudnnDescriptor& device, cudnnDataType_t type,
                                     const ConvEngineRules& rules, size_t compiled);

struct ConvPlan {
    CudnnDescriptor plan;
    size_t workspace = 0;
};
// Throws CudnnError where the engine cannot do it after all, or breaks a rule.
ConvPlan conv_plan(const CudnnDescriptor& graph, const CudnnDescriptor& device, cudnnDataType_t type,
                   const ConvEngineRules& rules, const ConvEngine& engine);

// A plan as text, with the code of an engine that was compiled: made from it a plan takes milliseconds. "" if cuDNN has
// no text for it. The engine is asked for the rules again.
std::string plan_text(const ConvPlan&);
ConvPlan conv_plan(const CudnnDescriptor& graph, const CudnnDescriptor& device, cudnnDataType_t type,
                   const ConvEngineRules& rules, const ConvEngine& engine, const std::string& text);
