// The detector's loss on the CPU: PyTorch's numbers, finite differences, its own rules, and what the operation refuses.
#include <gtest/gtest.h>

#include "engine/ops.h"
#include "engine/program.h"
#include "kernels/detect_loss_math.h"
#include "tests/cpu_fixture.h"
#include "tests/detect_loss_cases.h"

namespace {

struct Result {
    float loss;
    std::vector<float> parts, matches;
    std::vector<Floats> dhead;
};

Result run(const DetectLossCase& c, float dloss = 1, int threads = 2) {
    const CpuDevice cpu(threads, 1 << 16);
    Result r{NAN, unwritten(3), unwritten(c.levels.size()), {}};
    for (const auto& level : c.levels) r.dhead.push_back(unwritten(level.head.size()));
    DetectLossForward<float> forward{.shape = c.shape,
                                     .level = {},
                                     .boxes = c.boxes.data(),
                                     .loss = &r.loss,
                                     .parts = r.parts.data(),
                                     .matches = r.matches.data()};
    set_levels(
        forward, c, [&](size_t l) { return c.levels[l].head.data(); }, [](size_t) { return nullptr; });
    compute(cpu, forward);
    DetectLossBackward<float> backward{
        .shape = c.shape, .level = {}, .boxes = c.boxes.data(), .matches = r.matches.data(), .dloss = &dloss};
    set_levels(
        backward, c, [&](size_t l) { return c.levels[l].head.data(); }, [&](size_t l) { return r.dhead[l].data(); });
    compute(cpu, backward);
    return r;
}

// Made by tests/data/detect_loss/make.py in float64 with autograd; float32 separates us.
TEST(DetectLoss, IsPyTorchs) {
    const auto cases = stored_detect_loss_cases();
    EXPECT_GE(cases.size(), 7u);
    for (const DetectLossCase& c : cases) {
        SCOPED_TRACE(c.name);
        const Result r = run(c);
        EXPECT_EQ(r.matches, c.matches);
        EXPECT_NEAR(r.loss, c.loss[0], 2e-6 * c.loss[0]);
        for (size_t k = 0; k < 3; ++k) EXPECT_NEAR(r.parts[k], c.parts[k], 3e-6 * c.loss[0]);
        for (size_t l = 0; l < c.levels.size(); ++l) expect_close(c.levels[l].dhead, r.dhead[l], 2e-5, "gradient");
    }
}

TEST(DetectLoss, GradientIsScaledAndTheSameOnAnyNumberOfThreads) {
    const DetectLossCase c =
        random_detect_loss_case({.n = 3, .h = 12, .w = 9, .classes = 4, .most = 8, .smoothing = 0.1f}, 4);
    const Result one = run(c, 1, 1), other = run(c, 1, 3), scaled = run(c, 1024);
    EXPECT_EQ(one.loss, other.loss);
    EXPECT_EQ(one.dhead, other.dhead);
    for (size_t l = 0; l < c.levels.size(); ++l)
        for (size_t i = 0; i < one.dhead[l].size(); ++i) ASSERT_FLOAT_EQ(1024 * one.dhead[l][i], scaled.dhead[l][i]);
}

// Objectness and class numbers: the loss is smooth in them and nothing is held constant.
TEST(DetectLoss, FiniteDifferencesOfScores) {
    for (const float smoothing : {0.0f, 0.2f}) {
        DetectLossCase c =
            random_detect_loss_case({.n = 2, .h = 8, .w = 10, .classes = 3, .most = 6, .smoothing = smoothing}, 7);
        const Result r = run(c);
        std::vector<Floats> direction;
        double want = 0;
        for (size_t l = 0; l < c.levels.size(); ++l) {
            direction.push_back(random_floats(c.levels[l].head.size(), unsigned(20 + l)));
            for (size_t i = 0; i < direction[l].size(); ++i) {
                if (i % 8 < 4) direction[l][i] = 0;
                want += double(direction[l][i]) * double(r.dhead[l][i]);
            }
        }
        const auto along = [&](double h) {
            DetectLossCase moved = c;
            for (size_t l = 0; l < c.levels.size(); ++l)
                for (size_t i = 0; i < direction[l].size(); ++i)
                    moved.levels[l].head[i] += float(h * double(direction[l][i]));
            return double(run(moved).loss);
        };
        const double h = 2e-2, slope = (8 * (along(h / 2) - along(-h / 2)) - (along(h) - along(-h))) / (6 * h);
        EXPECT_NEAR(slope, want, 3e-4 * std::abs(want) + 1e-4);
        EXPECT_GT(std::abs(want), 1e-2);
    }
}

// CIoU in double with alpha given from outside: what the gradient differentiates.
double ciou(const double (&p)[4], const double (&b)[4], double alpha, double* own_alpha = nullptr) {
    const auto low = [](const double* q, int axis) { return q[axis] - q[axis + 2] / 2; };
    const auto high = [](const double* q, int axis) { return q[axis] + q[axis + 2] / 2; };
    double both = 1, hull = 0, apart = 0;
    for (int axis : {0, 1}) {
        both *= std::max(0.0, std::min(high(p, axis), high(b, axis)) - std::max(low(p, axis), low(b, axis)));
        hull += std::pow(std::max(high(p, axis), high(b, axis)) - std::min(low(p, axis), low(b, axis)), 2);
        apart += std::pow(p[axis] - b[axis], 2);
    }
    const double iou = both / (p[2] * p[3] + b[2] * b[3] - both);
    const double v = std::pow(2 / M_PI * (std::atan(b[2] / b[3]) - std::atan(p[2] / p[3])), 2);
    if (own_alpha) *own_alpha = v / (1 - iou + v);
    return iou - apart / hull - (own_alpha ? *own_alpha : alpha) * v;
}

TEST(DetectLoss, FiniteDifferencesOfCIoU) {
    std::mt19937 generator(3);
    std::uniform_real_distribution<double> uniform(0, 1);
    int meeting = 0;
    for (int k = 0; k < 300; ++k) {
        double p[4], b[4];
        for (int axis : {0, 1}) {
            p[axis] = 3 * uniform(generator), b[axis] = 3 * uniform(generator);
            p[axis + 2] = 0.2 + 4 * uniform(generator), b[axis + 2] = 0.2 + 4 * uniform(generator);
        }
        const CIoU a = complete_iou({float(p[0]), float(p[1]), float(p[2]), float(p[3])},
                                    {float(b[0]), float(b[1]), float(b[2]), float(b[3])});
        double alpha = 0;
        ASSERT_NEAR(a.value, ciou(p, b, 0, &alpha), 2e-5);
        const float slope[] = {a.grad.x, a.grad.y, a.grad.w, a.grad.h};
        for (int i = 0; i < 4; ++i) {
            double up[4], down[4];
            std::copy_n(p, 4, up), std::copy_n(p, 4, down);
            up[i] += 1e-6, down[i] -= 1e-6;
            ASSERT_NEAR(slope[i], (ciou(up, b, alpha) - ciou(down, b, alpha)) / 2e-6, 2e-4) << k << ", number " << i;
        }
        meeting += std::abs(p[0] - b[0]) < (p[2] + b[2]) / 2 && std::abs(p[1] - b[1]) < (p[3] + b[3]) / 2;
    }
    EXPECT_GT(meeting, 100);
    EXPECT_LT(meeting, 290);
    const CIoU same = complete_iou({2, 2, 1, 3}, {2, 2, 1, 3});
    EXPECT_NEAR(same.value, 1, 1e-5);
    for (const CellBox& nothing : {CellBox{1, 1, 0, 0}, CellBox{1, 1, 0, 2}, CellBox{1, 1, 1e-30f, 1e-30f}}) {
        const CIoU a = complete_iou(nothing, {2, 2, 1, 3});
        for (const float x : {a.value, a.grad.x, a.grad.y, a.grad.w, a.grad.h}) EXPECT_TRUE(std::isfinite(x));
    }
}

// One level of stride 8 and anchors of 16 pixels: which cells a box belongs to.
size_t matches_of(float x, float y, float w = 16, float h = 16, float label = 0) {
    DetectLossCase c = random_detect_loss_case({.n = 1, .h = 6, .w = 6, .classes = 1, .most = 1, .levels = 1}, 1);
    c.levels[0].anchors = {16, 16, 16, 16, 1000, 1000};
    c.boxes = {label, x, y, w, h};
    return size_t(run(c).matches[0]);
}

TEST(DetectLoss, Assignment) {
    EXPECT_EQ(matches_of(20, 20), 2u) << "in the middle of a cell: that cell, for two anchors";
    EXPECT_EQ(matches_of(21, 20), 4u);
    EXPECT_EQ(matches_of(21, 19), 6u);
    EXPECT_EQ(matches_of(16, 16), 6u) << "on the corner of four cells";
    EXPECT_EQ(matches_of(1, 20), 2u) << "no neighbour to the left";
    EXPECT_EQ(matches_of(47.5f, 47.5f), 2u);
    EXPECT_EQ(matches_of(48, 48), 2u) << "on the border";
    EXPECT_EQ(matches_of(60, -5), 2u) << "outside: the nearest cell";
    EXPECT_EQ(matches_of(20, 20, 63, 16), 2u);
    EXPECT_EQ(matches_of(20, 20, 64, 16), 0u) << "four times as wide";
    EXPECT_EQ(matches_of(20, 20, 16, 4), 0u) << "a quarter as high";
    EXPECT_EQ(matches_of(20, 20, 0, 0), 0u);
    EXPECT_EQ(matches_of(20, 20, 16, 16, -1), 0u) << "no box";
    EXPECT_EQ(matches_of(NAN, NAN, NAN, NAN), 0u);
}

void expect_refusal(const std::function<void()>& f, const std::string& part) {
    try {
        f();
        ADD_FAILURE() << "no error; expected one with: " << part;
    } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
}

TEST(DetectLoss, RefusesWhatDoesNotFit) {
    Graph g(DType::f32, true);
    const Value head = g.input("head", {2, 4, 4, 21}, DType::f32), boxes = g.input("boxes", {2, 6, 5}, DType::f32);
    const std::vector<BoxLevel> one(1, {.stride = 8, .anchors = {}}), five(5, one[0]);
    const std::vector<Value> heads = {head};
    expect_refusal([&] { detect_loss(heads, boxes, five, 2); }, "1 heads, 5 levels");
    expect_refusal([&] { detect_loss(std::vector<Value>(5, head), boxes, five, 2); }, "up to 4");
    expect_refusal([&] { detect_loss(heads, boxes, one, 3); }, "(2, 4, 4, 21) for boxes (2, 6, 5) and 3 classes");
    expect_refusal([&] { detect_loss(heads, g.input("b", {1, 6, 5}, DType::f32), one, 2); }, "(1, 6, 5)");
    expect_refusal([&] { detect_loss(heads, g.input("b", {2, 6, 4}, DType::f32), one, 2); }, "not (n, max_boxes, 5)");
    expect_refusal([&] { detect_loss(heads, boxes, one, 2, {.smoothing = 1}); }, "smoothing 1");
    expect_refusal([&] { detect_loss(heads, boxes, one, 2, {.anchor_threshold = 1}); }, "anchor_threshold of 1");
    expect_refusal([&] { detect_loss(heads, boxes, one, 2, {.balance = {1, 2}}); }, "2 balances for 1 levels");
    const DetectLossResult loss = detect_loss(heads, boxes, one, 2);
    expect_refusal([&] { gradients(loss.parts, g.input("d", {3}, DType::f32), heads); }, "only loss has a gradient");
}

}  // namespace
