// cuDNN has an engine for every convolution of every model, asked without a GPU: a description of the device stands in for
// it. The graphs are made by the code that runs on a GPU. This tells support, never speed.
//
// TUNDRA_CUDNN_FULL=1: also the fused convolutions of inference, which cuDNN compiles one by one: minutes.
#include <gtest/gtest.h>

#if !defined(TUNDRA_HAS_CUDA)
TEST(CudnnSupport, Skipped) { GTEST_SKIP() << "this build has no cuDNN"; }
#else

#include <cstdlib>
#include <fstream>
#include <set>

#include "kernels/conv_graph_cudnn.h"

namespace {

constexpr size_t kBatch = 32;

std::string device_file(const char* name) {
    std::ifstream file(std::string(TUNDRA_TESTS "/data/") + name);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Every convolution of ResNet-50 at 224 px; 101 and 152 repeat the same ones. The paper's form strides in the first 1x1.
std::vector<ConvShape> resnet_shapes(size_t stem_channels) {
    std::vector<ConvShape> shapes = {{kBatch, 224, 224, stem_channels, 64, 7, 7, 2, 3}};
    size_t size = 56, in = 64;
    for (size_t stage = 0; stage < 4; ++stage) {
        const size_t c = size_t(64) << stage, stride = stage ? 2 : 1, out = size / stride;
        shapes.push_back({kBatch, size, size, in, 4 * c, 1, 1, stride, 0});    // shortcut
        shapes.push_back({kBatch, size, size, in, c, 1, 1, 1, 0});             // first block, torchvision
        shapes.push_back({kBatch, size, size, c, c, 3, 3, stride, 1});
        shapes.push_back({kBatch, size, size, in, c, 1, 1, stride, 0});        // first block, Keras
        shapes.push_back({kBatch, out, out, c, 4 * c, 1, 1, 1, 0});
        shapes.push_back({kBatch, out, out, 4 * c, c, 1, 1, 1, 0});            // later blocks
        shapes.push_back({kBatch, out, out, c, c, 3, 3, 1, 1});
        size = out, in = 4 * c;
    }
    return shapes;
}

// The kinds of convolution in YOLOv5: stem 6x6/2, 3x3/2 between levels, and the 1x1 and 3x3 of the blocks, with and without
// a residual behind the activation; the detection heads are 1x1 with bias only.
std::vector<ConvProblem> yolo_problems(size_t h, size_t w, size_t width, size_t levels, cudnnDataType_t type) {
    std::vector<ConvProblem> problems;
    auto add = [&](ConvShape s, bool residual, Activation a = Activation::silu) {
        problems.push_back({.direction = ConvDirection::forward, .shape = s, .type = type, .x_pitch = s.c_in, .y_pitch = s.c_out,
                            .activation = a, .bias = true, .residual = residual, .residual_last = residual});
    };
    constexpr size_t kImages = 8;
    add({kImages, h, w, 8, width, 6, 6, 2, 2}, false);
    h /= 2, w /= 2;
    size_t c = width;
    for (size_t level = 1; level <= levels; ++level) {
        const size_t out = level + 1 == levels && levels == 5 ? c / 2 * 3 : level == levels && levels == 5 ? c / 3 * 4 : 2 * c;
        add({kImages, h, w, c, out, 3, 3, 2, 1}, false);
        h /= 2, w /= 2, c = out;
        add({kImages, h, w, c, c / 2, 1, 1, 1, 0}, false);
        add({kImages, h, w, c / 2, c / 2, 1, 1, 1, 0}, false);
        add({kImages, h, w, c / 2, c / 2, 3, 3, 1, 1}, true);
        add({kImages, h, w, c, c, 1, 1, 1, 0}, false);
        add({kImages, h, w, c, 24, 1, 1, 1, 0}, false, Activation::none);
    }
    return problems;
}

class Asked {
public:
    explicit Asked(const char* file) : name_(file), device_(cudnn_device(device_file(file))) {}

    // The first engine that gives a plan within the rules is enough.
    void expect(const ConvProblem& problem) {
        if (!seen_.insert(text(problem)).second) return;
        std::string reason = "cuDNN proposes nothing";
        try {
            const CudnnDescriptor graph = conv_graph(problem);
            const ConvEngineRules rules;
            for (const ConvEngine& engine : conv_engines(graph, device_, problem.type, rules, 8)) try {
                    const auto parsed = parse_conv_engine(text(engine));
                    ASSERT_TRUE(parsed && *parsed == engine) << text(engine);
                    if (conv_plan(graph, device_, *parsed).workspace <= rules.workspace) return;
                    reason = "all want more workspace";
                } catch (const CudnnError& e) {
                    reason = e.what();
                }
        } catch (const CudnnError& e) {
            reason = e.what();
        }
        ADD_FAILURE() << name_ << ", " << text(problem) << ": " << reason;
    }

private:
    std::string name_;
    CudnnDescriptor device_;
    std::set<std::string> seen_;
};

class CudnnSupport : public testing::TestWithParam<const char*> {};

TEST_P(CudnnSupport, ResNetTraining) {
    Asked asked(GetParam());
    for (const cudnnDataType_t type : {CUDNN_DATA_BFLOAT16, CUDNN_DATA_HALF, CUDNN_DATA_FLOAT}) {
        const size_t stem = type == CUDNN_DATA_FLOAT ? 3 : 8;
        for (const ConvShape& s : resnet_shapes(stem))
            for (const ConvDirection d : {ConvDirection::forward, ConvDirection::backward_data, ConvDirection::backward_weight})
                if (s.kernel_h != 7 || d != ConvDirection::backward_data)  // pictures need no gradient
                    asked.expect({d, s, type, s.c_in, s.c_out});
    }
}

TEST_P(CudnnSupport, ResNetInference) {
    if (!std::getenv("TUNDRA_CUDNN_FULL")) GTEST_SKIP() << "compiles code for minutes: TUNDRA_CUDNN_FULL=1 asks for it";
    Asked asked(GetParam());
    for (const cudnnDataType_t type : {CUDNN_DATA_BFLOAT16, CUDNN_DATA_HALF}) {
        for (const ConvShape& s : resnet_shapes(8)) {
            for (const bool residual : {false, true})
                if (!residual || s.kernel_h == 1)
                    asked.expect({ConvDirection::forward, s, type, s.c_in, s.c_out, Activation::relu, true, residual});
        }
    }
}

TEST_P(CudnnSupport, Yolo) {
    if (!std::getenv("TUNDRA_CUDNN_FULL")) GTEST_SKIP() << "compiles code for minutes: TUNDRA_CUDNN_FULL=1 asks for it";
    Asked asked(GetParam());
    for (const cudnnDataType_t type : {CUDNN_DATA_BFLOAT16, CUDNN_DATA_HALF}) {
        std::vector<ConvProblem> problems = yolo_problems(960, 1280, 80, 5, type);
        for (const ConvProblem& p : yolo_problems(640, 640, 32, 4, type)) problems.push_back(p);
        for (const ConvProblem& p : problems) asked.expect(p);
    }
}

// A slice of a wider tensor, as concatenation in place makes them.
TEST_P(CudnnSupport, Pitches) {
    if (!std::getenv("TUNDRA_CUDNN_FULL")) GTEST_SKIP() << "compiles code for minutes: TUNDRA_CUDNN_FULL=1 asks for it";
    Asked asked(GetParam());
    asked.expect({ConvDirection::forward, {8, 40, 40, 64, 64, 3, 3, 1, 1}, CUDNN_DATA_BFLOAT16, 128, 192, Activation::silu, true});
}

INSTANTIATE_TEST_SUITE_P(Devices, CudnnSupport, testing::Values("h200.json", "a100.json"),
                         [](const auto& info) { return std::string(info.param).substr(0, 4); });

}  // namespace
#endif
