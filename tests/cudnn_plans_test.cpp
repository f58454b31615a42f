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

CudnnDescriptor device() {
    std::ifstream file(TUNDRA_TESTS "/data/h200.json");
    return cudnn_device(std::string{std::istreambuf_iterator<char>(file), {}});
}

// Graph, engine and knobs. What follows are the kernel's parameters, in which cuDNN 9.28 leaves bytes that nobody
// wrote: two texts of one plan differ.
std::string engine_of(const std::string& plan) { return plan.substr(0, plan.find("\"payload\"")); }

// Each candidate takes less time than the one before: the last one is chosen, which is not what cuDNN proposes first.
class Timed final : public ConvPlans {
public:
    explicit Timed(const std::string& file) : ConvPlans(nullptr, device(), file) {}
    size_t timed() const { return timed_; }
    std::string last() const { return last_; }

private:
    bool recorded(const Cuda&) const override { return false; }
    void execute(const Cuda&, const ConvPlan& plan, const Pointers&) const override {
        last_ = engine_of(plan_text(plan));
    }
    float milliseconds(const Cuda&, const ConvPlan&, const Pointers&) const override { return 100 - float(++timed_); }
    mutable size_t timed_ = 0;
    mutable std::string last_;
};

const ConvProblem weight_gradient{
    .direction = ConvDirection::backward_weight, .shape = {8, 28, 28, 64, 64, 3, 3, 1, 1}, .type = CUDNN_DATA_BFLOAT16};
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

// A file of an earlier version names engines only: their plans are made again.
TEST_F(CudnnPlans, ChoicesWithoutPlansAreTakenToo) {
    timed(weight_gradient);
    const std::string chosen = ran_, stored = content(file_);
    std::istringstream line(stored.substr(0, stored.find('{')));
    std::vector<std::string> words{std::istream_iterator<std::string>(line), {}};
    words.back() = ".";  // in the place of the checksum
    std::ofstream out(file_);
    for (const std::string& word : words) out << word << (word == "." ? "\n" : " ");
    out.close();
    EXPECT_EQ(timed(weight_gradient), 0u) << content(file_);
    EXPECT_EQ(ran_, chosen);
}

// The code of an engine that was compiled lies in its text: the plan made of it is the same, in milliseconds instead of
// seconds. (10 s)
TEST_F(CudnnPlans, APlanThatWasCompiledIsReadBack) {
    const ConvProblem problem{.direction = ConvDirection::forward,
                              .shape = {8, 28, 28, 64, 64, 3, 3, 1, 1},
                              .type = CUDNN_DATA_HALF,
                              .activation = Activation::silu,
                              .bias = true};
    const CudnnDescriptor graph = conv_graph(problem);
    const auto engines = conv_engines(graph, device(), problem.type, {}, 1);
    ASSERT_EQ(engines.size(), 1u) << "silu has no ready-made engine";
    EXPECT_TRUE(engines[0].compiled);
    const auto seconds = [](const auto& work) {
        const auto start = std::chrono::steady_clock::now();
        work();
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    std::string text, again;
    const double built = seconds([&] { text = plan_text(conv_plan(graph, device(), problem.type, {}, engines[0])); });
    ASSERT_TRUE(text.starts_with('{') && text.find('\n') == text.npos);
    const double read =
        seconds([&] { again = plan_text(conv_plan(graph, device(), problem.type, {}, engines[0], text)); });
    EXPECT_EQ(again, text);
    EXPECT_LT(read, built / 2);
    std::printf("%zu bytes: built in %.3f s, read in %.3f s\n", text.size(), built, read);
}

// Whatever the file holds, the engine that runs is one that the rules allow.
TEST_F(CudnnPlans, StoredEnginesThatCannotOrMustNotRunAreChosenAnew) {
    ConvProblem exact = weight_gradient;
    exact.type = CUDNN_DATA_FLOAT;
    const CudnnDescriptor graph = conv_graph(exact);
    const auto allowed = conv_engines(graph, device(), CUDNN_DATA_FLOAT, {}, 100);
    std::optional<ConvEngine> rounding;  // by tensor cores, which the rules of a 16-bit type would allow
    for (const ConvEngine& engine : conv_engines(graph, device(), CUDNN_DATA_HALF, {}, 100))
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
    for (size_t length = 0; length + 1 < whole.size();
         length += 1 + whole.size() / 20) {  // torn anywhere; the last byte is a line break
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
