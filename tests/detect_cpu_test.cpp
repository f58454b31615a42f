// Decoding and suppression on the CPU: hand-made edges of the rules, and a plain list-and-erase version of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/detect_cases.h"

namespace {

const Cpu cpu{.threads = 2, .scratch = {}};

struct Selected {
    std::vector<float> detections;
    std::vector<int32_t> count;
};

Selected select(const SelectCase& c) {
    Selected s{std::vector<float>(c.n * c.most * 6, -1.0f), std::vector<int32_t>(c.n, -1)};
    compute(cpu, SelectBoxes{.n = c.n,
                             .rows = c.rows,
                             .classes = c.classes,
                             .threshold = c.threshold,
                             .iou_threshold = c.overlap,
                             .max_detections = c.most,
                             .boxes = c.boxes.data(),
                             .detections = s.detections.data(),
                             .count = s.count.data()});
    return s;
}

struct Box {
    double x1, y1, x2, y2;
    float score;
    size_t label;
};

double overlap(const Box& a, const Box& b) {
    const double w = std::min(a.x2, b.x2) - std::max(a.x1, b.x1), h = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
    if (w <= 0 || h <= 0) return 0;
    return w * h / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - w * h);
}

std::vector<Box> plain_selection(const SelectCase& c, size_t image) {
    std::vector<Box> left;
    for (size_t row = 0; row < c.rows; ++row) {
        const float* p = &c.boxes[(image * c.rows + row) * (5 + c.classes)];
        const size_t label = size_t(std::max_element(p + 5, p + 5 + c.classes) - (p + 5));
        const float score = p[4] * p[5 + label];
        if (p[4] > c.threshold && score > c.threshold)
            left.push_back({p[0] - p[2] / 2.0, p[1] - p[3] / 2.0, p[0] + p[2] / 2.0, p[1] + p[3] / 2.0, score, label});
    }
    std::stable_sort(left.begin(), left.end(), [](const Box& a, const Box& b) { return a.score > b.score; });
    std::vector<Box> kept;
    while (!left.empty() && kept.size() < c.most) {
        const Box best = left.front();
        kept.push_back(best);
        left.erase(left.begin());
        std::erase_if(left, [&](const Box& other) {
            return other.label == best.label && overlap(best, other) > double(c.overlap);
        });
    }
    return kept;
}

TEST(DetectCpu, an_objectness_that_is_not_a_number_is_told) {
    SelectCase c = random_select_case(3, 40, 2, 1);
    c.boxes[(40 + 17) * 7 + 4] = std::numeric_limits<float>::quiet_NaN();
    const Selected got = select(c);
    EXPECT_GT(got.count[0], 0);
    EXPECT_EQ(got.count[1], -1);
    EXPECT_TRUE(
        std::all_of(&got.detections[c.most * 6], &got.detections[2 * c.most * 6], [](float x) { return x == 0; }));
    EXPECT_GT(got.count[2], 0);
}

// An infinite score would else be 0 or 1 after the sigmoid: an empty image, or a sure box, without a word.
TEST(DetectCpu, a_score_that_is_not_finite_is_told) {
    const std::vector<float> box(4 * kDistanceBins, 0.5f);
    for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN(), -3.0f}) {
        const std::vector<float> score{-4.0f, bad};
        std::vector<float> boxes(7);
        compute(cpu, DecodeDistances<float>{.n = 1,
                                            .h = 1,
                                            .w = 1,
                                            .classes = 2,
                                            .stride = 8,
                                            .threshold = 0.5f,
                                            .first_row = 0,
                                            .rows = 1,
                                            .box = box.data(),
                                            .score = score.data(),
                                            .boxes = boxes.data()});
        EXPECT_EQ(std::isnan(boxes[4]), bad != -3.0f) << bad;
    }
}

TEST(DetectCpu, selection_equals_the_plain_one) {
    for (unsigned seed = 0; seed < 40; ++seed) {
        const SelectCase c = random_select_case(1 + seed % 3, 1 + seed * 7, 1 + seed % 4, seed);
        const Selected got = select(c);
        for (size_t image = 0; image < c.n; ++image) {
            const std::vector<Box> want = plain_selection(c, image);
            ASSERT_EQ(size_t(got.count[image]), want.size()) << "seed " << seed;
            const float* d = &got.detections[image * c.most * 6];
            for (size_t i = 0; i < c.most; ++i, d += 6) {
                const Box box = i < want.size() ? want[i] : Box{};
                ASSERT_EQ(d[4], box.score) << "seed " << seed << " place " << i;
                ASSERT_EQ(d[5], float(box.label));
                ASSERT_NEAR(d[0], box.x1, 1e-5);
                ASSERT_NEAR(d[1], box.y1, 1e-5);
                ASSERT_NEAR(d[2], box.x2, 1e-5);
                ASSERT_NEAR(d[3], box.y2, 1e-5);
            }
        }
    }
}

// Rows: x y w h objectness score.
SelectCase one_class(float threshold, float overlap, std::vector<float> boxes) {
    return {1, boxes.size() / 6, 1, threshold, overlap, 10, std::move(boxes)};
}

TEST(DetectCpu, an_overlap_as_large_as_allowed_stays) {
    // 2 x 1 and its left half: exactly 1/2.
    const std::vector<float> boxes{1, 0.5f, 2, 1, 1, 1, 0.5f, 0.5f, 1, 1, 1, 0.75f};
    EXPECT_EQ(select(one_class(0.1f, 0.5f, boxes)).count[0], 2);
    EXPECT_EQ(select(one_class(0.1f, 0.4999f, boxes)).count[0], 1);
}

TEST(DetectCpu, a_score_as_large_as_the_threshold_goes) {
    EXPECT_EQ(select(one_class(0.25f, 0.5f, {1, 1, 2, 2, 0.5f, 0.5f})).count[0], 0);  // score
    EXPECT_EQ(select(one_class(0.25f, 0.5f, {1, 1, 2, 2, 0.25f, 2})).count[0], 0);    // objectness
    EXPECT_EQ(select(one_class(0.2499f, 0.5f, {1, 1, 2, 2, 0.5f, 0.5f})).count[0], 1);
    EXPECT_EQ(select(one_class(0.1f, 0.5f, {1, 1, 2, 2, 1, NAN, 1, 1, 2, 2, 1, NAN})).count[0], 0);
}

TEST(DetectCpu, a_suppressed_box_suppresses_nothing) {
    // A chain: the middle box overlaps both, the outer two do not overlap.
    const std::vector<float> boxes{0, 0, 4, 4, 1, 0.9f, 1, 0, 4, 4, 1, 0.8f, 2, 0, 4, 4, 1, 0.7f};
    const Selected got = select(one_class(0.1f, 0.45f, boxes));
    ASSERT_EQ(got.count[0], 2);
    EXPECT_EQ(got.detections[6 + 0], 0.0f);
    EXPECT_EQ(got.detections[6 + 2], 4.0f);
}

TEST(DetectCpu, equal_scores_keep_the_order_of_rows) {
    const Selected got =
        select(one_class(0.1f, 0.5f, {10, 0, 2, 2, 1, 0.5f, 5, 0, 2, 2, 1, 0.5f, 0, 0, 2, 2, 0.5f, 1}));
    ASSERT_EQ(got.count[0], 3);
    EXPECT_EQ(got.detections[0], 9.0f);
    EXPECT_EQ(got.detections[6], 4.0f);
    EXPECT_EQ(got.detections[12], -1.0f);
}

TEST(DetectCpu, refuses_what_it_cannot_number) {
    SelectCase c = random_select_case(1, 3, 1, 1);
    c.threshold = -0.5f;
    EXPECT_THROW(select(c), std::invalid_argument);
    c.threshold = 0.5f, c.classes = 257;
    EXPECT_THROW(select(c), std::invalid_argument);
}

}  // namespace
