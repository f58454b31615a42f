// cuDNN's own batch normalization and pooling, each a graph of one operation, and convolutions engine by engine: what
// bench/kernels times beside ours.
// Making the graphs needs no GPU (tests/cudnn_support_test.cpp).
#pragma once

#include <string_view>
#include <vector>

#include "engine/plan.h"
#include "kernels/conv/cudnn_graph.h"

struct CudnnOperation {
    CudnnDescriptor graph;
    cudnnDataType_t type;
    struct Operand {
        int64_t id;
        size_t bytes;
        float value = 0;  // in host memory instead, where bytes is 0
    };
    std::vector<Operand> operands;
};

// `op` is "batch_norm", "batch_norm_backward" (training, without activation and residual), "max_pool" or
// "max_pool_backward"; x and y: NHWC. Throws CudnnError where cuDNN has no such operation.
CudnnOperation cudnn_operation(std::string_view op, const Shape& x, const Shape& y, DType type);

// What cuDNN is asked for by the step of a convolution, of which only the shapes are used. A bias that Tundra rounds
// for cuDNN has its size in float.
CudnnOperation cudnn_operation(Step step);
