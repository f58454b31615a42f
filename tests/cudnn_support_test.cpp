// cuDNN has an engine for every convolution of every model, asked without a GPU: a description of the device stands in
// for it. The models are traced, and their operations describe the problems, as they would on a GPU. This tells
// support, never speed.
//
// What cuDNN compiles at run time (convolutions with something behind them) takes seconds each, so only ResNet-50 and
// YOLOv5s are asked for. TUNDRA_CUDNN_FULL=1: every size of every model in every type, for both devices.
// TUNDRA_CUDNN_FULL=plans: each of them up to a plan, which takes hours.
#include <gtest/gtest.h>

#if !defined(TUNDRA_HAS_CUDA)
TEST(CudnnSupport, Skipped) { GTEST_SKIP() << "this build has no cuDNN"; }
#else

#include <cstdlib>
#include <fstream>
#include <map>

#include "bench/cudnn_operations.h"
#include "engine/op.h"
#include "engine/ops/join_gradients.h"
#include "engine/plan.h"
#include "kernels/conv/cudnn_plans.h"
#include "models/resnet.h"
#include "models/yolov5.h"

namespace {

const char* const full = std::getenv("TUNDRA_CUDNN_FULL");
const bool kFull = full != nullptr, kPlans = kFull && std::string(full) == "plans";

// Takes the place of the device's plans and notes what it is asked to run.
class Problems final : public CudaConvolutions {
public:
    void run(const Cuda&, const ConvProblem& problem, const Pointers&) override {
        all_.emplace(to_string(problem), problem);
    }

    void take_from(const Graph& graph) {
        void* const somewhere = reinterpret_cast<void*>(4096);  // nothing is computed
        const std::vector<void*> storage(graph.values.size(), somewhere);
        const Cuda cuda{.convolutions = this, .scratch = {somewhere, size_t(256) << 20}};
        for (const Step& step : bind_steps(graph, plan_memory(graph, {}), somewhere, storage)) {
            const std::string_view name = step.op->name();
            if (name.starts_with("conv")) step.op->run(cuda, step.in, step.out);
        }
    }
    const std::map<std::string, ConvProblem>& all() const { return all_; }

private:
    std::map<std::string, ConvProblem> all_;
};

size_t image_channels(DType type) { return type == DType::f32 ? 3 : 8; }

void add_resnet(Problems& problems, const ResNetConfig& config, DType type, size_t batch, bool training,
                bool joined = false) {
    Graph graph(type, training);
    const Value y = resnet(graph.input("x", {batch, 224, 224, image_channels(type)}, type), config);
    if (training) {
        std::vector<Value> wanted;
        for (size_t v = 0; v < graph.values.size(); ++v)
            if (graph.values[v].kind == ValueKind::parameter && graph.values[v].spec.role != ParameterRole::statistic)
                wanted.push_back({&graph, int(v)});
        gradients(y, graph.input("dy", y.shape(), y.dtype()), wanted);
        if (joined) join_gradients(graph);
    }
    problems.take_from(graph);
}

void add_yolo(Problems& problems, const std::string& size, DType type, size_t batch, size_t classes = 3) {
    Graph graph(type);
    const bool p6 = size.size() == 2;
    yolov5(graph.input("x", {batch, p6 ? 960u : 640u, p6 ? 1280u : 640u, image_channels(type)}, type),
           yolov5_config(size, classes));
    problems.take_from(graph);
}

class CudnnSupport : public testing::TestWithParam<const char*> {
protected:
    CudnnSupport() {
        std::ifstream file(std::string(TUNDRA_TESTS "/data/") + GetParam());
        device_ = cudnn_device(std::string{std::istreambuf_iterator<char>(file), {}});
    }
    // `planned`: also that a plan can be made, within the scratch memory that the device has.
    void expect(const Problems& problems, bool planned) const {
        for (const auto& [name, problem] : problems.all()) {
            std::string reason = "cuDNN proposes nothing";
            bool found = false;
            try {
                const CudnnDescriptor graph = conv_graph(problem);
                const ConvEngineRules rules;
                for (const ConvEngine& engine : conv_engines(graph, device_, problem.type, rules, planned ? 12 : 1))
                    try {
                        const auto parsed = parse_conv_engine(to_string(engine));
                        ASSERT_TRUE(parsed && *parsed == engine) << to_string(engine);
                        if (planned) conv_plan(graph, device_, problem.type, rules, *parsed);
                        found = true;
                        break;
                    } catch (const CudnnError& e) {
                        reason = e.what();
                    }
            } catch (const CudnnError& e) {
                reason = e.what();
            }
            EXPECT_TRUE(found) << GetParam() << ", " << name << ": " << reason;
        }
        std::printf("%zu convolutions asked for\n", problems.all().size());
    }

    CudnnDescriptor device_;
};

constexpr DType kTypes[] = {DType::bf16, DType::f16, DType::f32};

// What bench/kernels times beside our own kernels. cuDNN 9.19 pools in 16 bits only. (8 s)
TEST_P(CudnnSupport, NormalizationAndPoolingOfItsOwn) {
    const Shape image = {64, 112, 112, 64}, half = {64, 56, 56, 64}, deep = {8, 15, 20, 512};
    struct Case {
        const char* op;
        Shape x, y;
    };
    for (const Case& c : {Case{"batch_norm", half, half},
                          {"batch_norm_backward", half, half},
                          {"max_pool", image, half},
                          {"max_pool_backward", image, half},
                          {"max_pool", deep, deep}})
        for (const DType type : kTypes) {
            if (type == DType::f32 && c.op[0] == 'm') continue;
            const CudnnOperation operation = cudnn_operation(c.op, c.x, c.y, type);
            const auto engines = conv_engines(operation.graph, device_, operation.type, {}, 1);
            ASSERT_FALSE(engines.empty()) << c.op << ' ' << to_string(type);
            EXPECT_NO_THROW(conv_plan(operation.graph, device_, operation.type, {}, engines[0])) << c.op;
        }
}

// The rows of bench/kernels --plans: the step of a convolution says all that cuDNN has to be asked. (3 s)
TEST_P(CudnnSupport, EngineByEngine) {
    Graph graph(DType::bf16, true);
    const Value y = resnet(graph.input("x", {8, 224, 224, 8}, DType::bf16), {.depth = 50}),
                weight = graph.parameter("layer1.0.conv1.weight", {64, 1, 1, 64}, {});
    gradients(y, graph.input("dy", y.shape(), y.dtype()), std::array{weight});
    join_gradients(graph);
    std::map<std::string, size_t> engines;  // of the first problem of a kind
    const std::vector<void*> storage(graph.values.size(), reinterpret_cast<void*>(4096));
    for (const Step& step : bind_steps(graph, plan_memory(graph, {}), storage[0], storage)) {
        if (!step.op->name().starts_with("conv")) continue;
        const CudnnOperation operation = cudnn_operation(step);
        double bytes = 0;
        for (const auto& operand : operation.operands) bytes += double(operand.bytes);
        EXPECT_EQ(bytes, step.op->bytes(step.in, step.out)) << to_string(step);
        const std::string kind = fmt::format("{} of {}", step.op->name(), operation.operands.size());
        if (engines.contains(kind)) continue;
        const auto all = conv_engines(operation.graph, device_, operation.type, {}, 100);
        engines[kind] = all.size();
        ASSERT_FALSE(all.empty()) << to_string(step);
        EXPECT_NO_THROW(
            conv_plan(operation.graph, device_, operation.type, {}, parse_conv_engine(to_string(all[0])).value()))
            << to_string(step);
    }
    for (const auto& [kind, count] : engines) std::printf("%s: %zu engines\n", kind.c_str(), count);
    EXPECT_EQ(engines.size(), 4u);  // three directions, and gradients that are joined
}

// Engines that are there ready-made: plans are cheap. The paper's form has a bias behind each convolution and is in the
// other test.
TEST_P(CudnnSupport, ResNetTraining) {
    Problems problems;
    for (const DType type : kTypes)
        for (const size_t depth : {50, 101, 152}) add_resnet(problems, {.depth = depth}, type, 256, true);
    expect(problems, true);
}

// Two gradients joined in a convolution: --join-gradients. cuDNN compiles all engines for it. (20 s)
TEST_P(CudnnSupport, JoinedGradients) {
    Problems problems, joined;
    for (const DType type : kTypes) add_resnet(problems, {.depth = 50}, type, 256, true, true);
    for (const auto& [name, problem] : problems.all())
        if (problem.joined) joined.run({}, problem, {});
    EXPECT_EQ(joined.all().size(), 7 * 3u);
    expect(joined, kPlans);
}

TEST_P(CudnnSupport, ResNetOfThePaper) {
    Problems problems;
    for (const size_t depth : {50, 101, 152})
        for (const DType type : kTypes)
            if (kFull || (depth == 50 && type == DType::bf16))
                add_resnet(problems, {.depth = depth, .keras = true}, type, 32, true);
    expect(problems, kPlans);
}

TEST_P(CudnnSupport, ResNetInference) {
    Problems problems;
    for (const size_t depth : {50, 101, 152})
        for (const bool keras : {false, true})
            for (const DType type : kTypes)
                if (kFull || (depth == 50 && !keras && type == DType::f16))
                    add_resnet(problems, {.depth = depth, .keras = keras}, type, 64, false);
    expect(problems, kPlans);
}

TEST_P(CudnnSupport, Yolo) {
    Problems problems;
    for (const char* size : {"n", "s", "m", "l", "x", "n6", "s6", "m6", "l6", "x6"})
        for (const DType type : kTypes)
            if (kFull || (std::string(size) == "s" && type == DType::f16)) add_yolo(problems, size, type, 8);
    expect(problems, kPlans);
}

// Heads have 3 * (5 + classes) channels: rows of 18, 21, 27 and 255 numbers of 16 bits begin at addresses that nothing
// but 2 divides. Training has a bias in float there, inference one in the network's type. (4 s)
TEST_P(CudnnSupport, YoloHeadsOfAnyWidth) {
    Problems all, heads;
    for (const size_t classes : {1, 2, 4, 80})
        for (const DType type : {DType::bf16, DType::f16}) add_yolo(all, "n", type, 8, classes);
    for (const auto& [name, problem] : all.all()) {
        if (problem.activation != Activation::none || !problem.bias) continue;
        ASSERT_TRUE(problem.rounded_bias) << name;
        ConvProblem training = problem;
        training.rounded_bias = false;
        heads.run({}, problem, {});
        heads.run({}, training, {});
    }
    EXPECT_EQ(heads.all().size(), 4 * 2 * 3 * 2u) << "classes, types, levels, kinds of bias";
    expect(heads, false);
}

// Inference need not wait for a compiler: with the bias in the network's type and behind the residual, each convolution
// of ResNet-50 has engines that are there ready-made. SiLU has none in this form.
TEST_P(CudnnSupport, ResNetInferenceHasReadyMadeEngines) {
    for (const DType type : {DType::bf16, DType::f16}) {
        Problems problems;
        add_resnet(problems, {.depth = 50}, type, 64, false);
        size_t ready = 0;
        for (const auto& [name, problem] : problems.all()) {
            const size_t found = conv_engines(conv_graph(problem), device_, problem.type, {}, 0).size();
            EXPECT_GE(found, 1u) << GetParam() << ", " << name;
            ready += found;
        }
        std::printf("%s: %zu ready-made engines for %zu convolutions\n", GetParam(), ready, problems.all().size());
    }
}

INSTANTIATE_TEST_SUITE_P(Devices, CudnnSupport, testing::Values("h200.json", "a100.json"),
                         [](const auto& info) { return std::string(info.param).substr(0, 4); });

}  // namespace
#endif
