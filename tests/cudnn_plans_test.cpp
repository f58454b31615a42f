// The engine chosen for a convolution: timed once, stored, taken at the next start; what another GPU, version, shape or
// a damaged file do to that. cuDNN makes the plans for a described GPU; a test's clock stands in for the GPU.
#include <gtest/gtest.h>

#if !defined(TUNDRA_HAS_CUDA)
TEST(CudnnPlans, Skipped) { GTEST_SKIP() << "this build has no cuDNN"; }
#else

#include <fstream>
#include <random>
#include <sstream>

#include "kernels/conv/cudnn_plans.h"
#include "tests/files.h"
#include "tests/images.h"

namespace {

namespace fs = std::filesystem;

std::string text_of(const ConvPlan& plan) {
    std::string text(1 << 16, 0);
    int64_t count = 0;
    check(cudnnBackendGetAttribute(plan.plan.get(), CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                   int64_t(text.size()), &count, text.data()),
          "plan as text");
    return text.substr(0, size_t(count));
}

// Each candidate takes less time than the one before: the last one is chosen, which is not what cuDNN proposes first.
class Timed final : public ConvPlans {
public:
    explicit Timed(const std::string& file) : ConvPlans(nullptr, device(), file) {}
    size_t timed() const { return timed_; }
    std::string last() const { return last_; }

private:
    static CudnnDescriptor device() {
        std::ifstream file(TUNDRA_TESTS "/data/h200.json");
        return cudnn_device(std::string{std::istreambuf_iterator<char>(file), {}});
    }
    bool recorded(const Cuda&) const override { return false; }
    void execute(const Cuda&, const ConvPlan& plan, const Pointers&) const override { last_ = text_of(plan); }
    float milliseconds(const Cuda&, const ConvPlan&, const Pointers&) const override { return 100 - float(++timed_); }
    mutable size_t timed_ = 0;
    mutable std::string last_;
};

const ConvProblem weight_gradient{.direction = ConvDirection::backward_weight,
                                  .shape = {8, 28, 28, 64, 64, 3, 3, 1, 1},
                                  .type = CUDNN_DATA_BFLOAT16,
                                  .x_pitch = 64,
                                  .y_pitch = 64};
constexpr size_t kScratch = size_t(256) << 20;

class CudnnPlans : public testing::Test {
protected:
    // How many engines were timed at a start that runs one problem.
    size_t timed(const ConvProblem& problem, bool deterministic = false, size_t scratch = kScratch) {
        Timed plans(file_);
        Cuda cuda;
        cuda.deterministic = deterministic;
        cuda.scratch.bytes = scratch;
        plans.run(cuda, problem, {});
        const size_t once = plans.timed();
        plans.run(cuda, problem, {});
        EXPECT_EQ(plans.timed(), once) << "timed again in the same run";
        ran_ = plans.last();
        return once;
    }
    TemporaryFolder folder_;
    std::string file_ = (folder_.path / "choices.txt").string(), ran_;
};

TEST_F(CudnnPlans, ChoiceIsTakenAtTheNextStart) {
    EXPECT_GT(timed(weight_gradient), 3u);
    const std::string chosen = ran_, stored = content(file_);
    EXPECT_NE(stored.find(to_string(weight_gradient) + ' '), stored.npos) << stored;
    EXPECT_EQ(timed(weight_gradient), 0u);
    EXPECT_EQ(ran_, chosen) << "another engine than the one that was chosen";
    EXPECT_EQ(content(file_), stored);
}

TEST_F(CudnnPlans, AnotherShapeTypeOrRuleIsTimedOnItsOwn) {
    ConvProblem wider = weight_gradient, half = weight_gradient;
    wider.shape.n = 16;
    half.type = CUDNN_DATA_HALF;
    for (int start = 0; start < 2; ++start) {
        EXPECT_EQ(timed(weight_gradient) > 0, start == 0);
        EXPECT_EQ(timed(wider) > 0, start == 0);
        EXPECT_EQ(timed(half) > 0, start == 0);
        EXPECT_EQ(timed(weight_gradient, true) > 0, start == 0);
    }
}

TEST_F(CudnnPlans, AnotherGpuDriverOrVersionHasAnotherFile) {
    ASSERT_EQ(setenv("XDG_CACHE_HOME", folder_.path.c_str(), 1), 0);
    const std::string here = conv_choices_file("NVIDIA H200 driver 580.1", "9.19.0");
    EXPECT_EQ(fs::path(here).parent_path(), folder_.path / "tundra");
    EXPECT_EQ(here, conv_choices_file("NVIDIA H200 driver 580.1", "9.19.0"));
    file_ = here;
    EXPECT_GT(timed(weight_gradient), 0u);
    for (const auto& [gpu, version] : {std::pair("NVIDIA H100 driver 580.1", "9.19.0"),
                                       {"NVIDIA H200 driver 590.1", "9.19.0"},
                                       {"NVIDIA H200 driver 580.1", "9.20.0"}}) {
        file_ = conv_choices_file(gpu, version);
        EXPECT_GT(timed(weight_gradient), 0u) << gpu << ", " << version;
    }
    file_ = here;
    EXPECT_EQ(timed(weight_gradient), 0u);
    file_ = "";  // no folder
    EXPECT_GT(timed(weight_gradient), 0u);
    file_ = (folder_.path / "not there" / "file").string();
    EXPECT_GT(timed(weight_gradient), 0u);
}

// Whatever the file holds, the engine that runs is one that the rules allow.
TEST_F(CudnnPlans, StoredEnginesThatCannotOrMustNotRunAreChosenAnew) {
    ConvProblem exact = weight_gradient;
    exact.type = CUDNN_DATA_FLOAT;
    const CudnnDescriptor graph = conv_graph(exact);
    std::ifstream properties(TUNDRA_TESTS "/data/h200.json");
    const CudnnDescriptor device = cudnn_device(std::string{std::istreambuf_iterator<char>(properties), {}});
    const auto allowed = conv_engines(graph, device, CUDNN_DATA_FLOAT, {}, 100);
    std::optional<ConvEngine> rounding;  // by tensor cores, which the rules of a 16-bit type would allow
    for (const ConvEngine& engine : conv_engines(graph, device, CUDNN_DATA_HALF, {}, 100))
        if (std::ranges::none_of(allowed, [&](const ConvEngine& e) { return e.index == engine.index; }))
            rounding = engine;
    ASSERT_TRUE(rounding);
    std::ofstream(file_) << to_string(exact) << ' ' << to_string(*rounding) << " .\n";
    EXPECT_GT(timed(exact), 0u);
    EXPECT_EQ(timed(exact), 0u) << "the later line counts";

    std::ofstream(file_) << to_string(weight_gradient) << " 987654 .\n";
    EXPECT_GT(timed(weight_gradient), 0u);
    EXPECT_EQ(timed(weight_gradient), 0u);
}

TEST_F(CudnnPlans, DamagedFileCostsTimeOnly) {
    const size_t once = timed(weight_gradient);
    const std::string whole = content(file_);
    for (size_t length = 0; length + 1 < whole.size(); length += 3) {  // torn anywhere; the last byte is a line break
        std::ofstream(file_, std::ios::binary) << whole.substr(0, length);
        EXPECT_EQ(timed(weight_gradient), once) << length << " bytes of " << whole;
        EXPECT_EQ(timed(weight_gradient), 0u) << "appended to " << length << " bytes";
    }
    std::mt19937 rng(1);
    for (int i = 0; i < 20; ++i) {
        std::string damaged = whole;
        for (int k = 0; k < 3; ++k) damaged[rng() % damaged.size()] = char(rng());
        std::ofstream(file_, std::ios::binary) << damaged;
        EXPECT_NO_THROW(timed(weight_gradient));
        std::string noise(5000, 0);
        for (char& c : noise) c = char(rng());
        std::ofstream(file_, std::ios::binary) << noise;
        EXPECT_EQ(timed(weight_gradient), once);
    }
}

}  // namespace
#endif
