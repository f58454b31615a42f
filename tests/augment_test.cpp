// Order and augmentation are pure, cover what they promise, and their matrices are those of kernels/image.h and Keras.
#include "data/augment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/image.h"
#include "tests/images.h"

namespace {

struct Point {
    double x, y;
};

Point mapped(const Augmentation& how, double x, double y) {
    const auto& t = how.transform;
    return {t[0] * x + t[1] * y + t[2], t[3] * x + t[4] * y + t[5]};
}

}  // namespace

TEST(Order, is_a_permutation_of_its_own) {
    for (const size_t n : {1, 2, 33, 1000}) {
        std::vector<uint32_t> sorted = order(1, 2, n);
        std::sort(sorted.begin(), sorted.end());
        for (size_t i = 0; i < n; ++i) ASSERT_EQ(sorted[i], i);
    }
    EXPECT_EQ(order(1, 2, 100), order(1, 2, 100));
    EXPECT_NE(order(1, 2, 100), order(1, 3, 100));
    EXPECT_NE(order(2, 2, 100), order(1, 2, 100));
    // Where element 0 goes is spread evenly: 2,000 epochs over 10 places, 200 expected, deviation 13; 70 is five of
    // them.
    std::vector<int> places(10);
    for (uint64_t epoch = 0; epoch < 2000; ++epoch) {
        const std::vector<uint32_t> one = order(7, epoch, 10);
        ++places[size_t(std::find(one.begin(), one.end(), 0u) - one.begin())];
    }
    for (const int count : places) EXPECT_NEAR(count, 200, 70);
}

// The seed's promise outlives a compiler: these numbers must not change.
TEST(Order, known_values) { EXPECT_EQ(order(20, 0, 8), (std::vector<uint32_t>{2, 3, 7, 1, 6, 5, 0, 4})); }

constexpr AugmentRanges kKeras = {.flip = 0.5, .rotate = 40, .shear = 0.2, .shift = 0.2, .zoom = 0.2};
constexpr AugmentRanges kCrop = {.flip = 0.5, .crop = 0.5, .brightness = 0.2, .contrast = 0.2};

TEST(Augment, none_is_the_identity) {
    const Augmentation how = augmentation({}, {.seed = 1, .epoch = 2, .sample = 3}, 64, 64);
    EXPECT_EQ(how.transform, (std::array<float, 6>{1, 0, 0, 0, 1, 0}));
    EXPECT_EQ(how.color, (std::array<float, 2>{1, 0}));
    EXPECT_EQ(augmentation({}, {}, 64, 32).transform, (std::array<float, 6>{2, 0, 0, 0, 2, 0}));
}

TEST(Augment, depends_on_its_key_alone) {
    std::set<float> values;
    for (const AugmentRanges& recipe : {kCrop, kKeras}) {
        const Augmentation how = augmentation(recipe, {.seed = 1, .epoch = 2, .sample = 3}, 64, 64);
        EXPECT_EQ(how.transform, augmentation(recipe, {.seed = 1, .epoch = 2, .sample = 3}, 64, 64).transform);
        for (const AugmentKey key : {AugmentKey{1, 2, 3}, {1, 2, 4}, {1, 3, 2}, {2, 1, 3}, {3, 2, 1}})
            values.insert(augmentation(recipe, key, 64, 64).transform[0]);
    }
    EXPECT_EQ(values.size(), 10u);
}

TEST(Augment, ranges) {
    int flips = 0;
    double largest_angle = 0, largest_shift = 0, smallest_zoom = 9, largest_zoom = 0;
    for (uint64_t sample = 0; sample < 2000; ++sample) {
        const Augmentation how = augmentation(kKeras, {.seed = 5, .epoch = 0, .sample = sample}, 200, 100);
        const Point o = mapped(how, 50, 50), x = mapped(how, 51, 50), y = mapped(how, 50, 51);
        // Without the flip the matrix is a rotation times zooms; one step of the result is two pixels of the image.
        const double determinant = (x.x - o.x) * (y.y - o.y) - (x.y - o.y) * (y.x - o.x);
        flips += determinant < 0;
        largest_angle = std::max(largest_angle, std::fabs(std::atan2(y.x - o.x, y.y - o.y)));
        const double zoom_y = std::hypot(y.x - o.x, y.y - o.y) / 2;
        smallest_zoom = std::min(smallest_zoom, zoom_y);
        largest_zoom = std::max(largest_zoom, zoom_y);
        largest_shift = std::max(largest_shift, std::hypot(o.x - 100, o.y - 100) / 200);
    }
    EXPECT_NEAR(flips, 1000, 120);  // five standard deviations
    const double degree = 3.14159265 / 180;
    EXPECT_LE(largest_angle, 40.01 * degree);
    EXPECT_GE(largest_angle, 39 * degree);
    EXPECT_GE(smallest_zoom, 0.799);
    EXPECT_LE(smallest_zoom, 0.81);
    EXPECT_LE(largest_zoom, 1.201);
    EXPECT_GE(largest_zoom, 1.19);
    EXPECT_LE(largest_shift, std::sqrt(2) * 0.2 + 1e-6);
    EXPECT_GE(largest_shift, 0.25);
    for (uint64_t sample = 0; sample < 500; ++sample) {
        const Augmentation how = augmentation(kCrop, {.seed = 5, .epoch = 0, .sample = sample}, 100, 100);
        // A crop stays inside the image and keeps at least half of it.
        const Point corner = mapped(how, 0, 0), opposite = mapped(how, 100, 100);
        for (const double u : {corner.x, corner.y, opposite.x, opposite.y})
            EXPECT_NEAR(std::clamp(u, 0.0, 100.0), u, 1e-3);
        EXPECT_GE(std::fabs((corner.x - opposite.x) * (corner.y - opposite.y)),
                  0.43 * 100 * 100);  // clipped sides lose some
        EXPECT_NEAR(how.color[0], 1, 0.45);
        EXPECT_LE(how.color[0] * 128 + how.color[1], 128 * 1.2 + 0.01) << "contrast moved the middle grey";
    }
}

// The product of Keras' four matrices and the flip, multiplied out by hand for one draw, in rows and columns.
TEST(Augment, keras_matrix) {
    for (uint64_t sample = 0; sample < 20; ++sample) {
        const Augmentation how = augmentation(kKeras, {.seed = 3, .epoch = 1, .sample = sample}, 100, 100);
        const Point o = mapped(how, 50, 50), x = mapped(how, 51, 50), y = mapped(how, 50, 51);
        // d(row_in, col_in)/d(row_out) = zoom_row * (cos t, sin t): the first column of rotation * shear * zoom.
        const double zoom_row = std::hypot(y.y - o.y, y.x - o.x), t = std::atan2(y.x - o.x, y.y - o.y);
        // d/d(col_out) = +-zoom_col * (-cos t sin s - sin t cos s, -sin t sin s + cos t cos s) = +-zoom_col *
        // (-sin(t+s), cos(t+s))
        const double sign = (x.x - o.x) * std::cos(t) - (x.y - o.y) * std::sin(t) > 0 ? 1 : -1;
        const double t_and_s = std::atan2(-sign * (x.y - o.y), sign * (x.x - o.x));
        EXPECT_LE(std::fabs(t_and_s - t), 0.2001 * 3.14159265 / 180) << "shear is in degrees";
        EXPECT_GE(zoom_row, 0.799);
    }
}

TEST(Augment, a_flip_is_a_mirror) {
    const Image image = sample_image(16, 16);
    // A mirror about the centre in the convention of kernels/image.h: u = -x + 16.
    const float transform[6] = {-1, 0, 16, 0, 1, 0}, color[2] = {1, 0};
    std::vector<float> mirrored(16 * 16 * 3);
    compute(Cpu{.threads = 1, .scratch = {}}, ImageBatch<float>{.n = 1,
                                                                .h = 16,
                                                                .w = 16,
                                                                .out_h = 16,
                                                                .out_w = 16,
                                                                .out_c = 3,
                                                                .normalize = {{1, 1, 1}, {0, 0, 0}},
                                                                .images = image.rgb.data(),
                                                                .transform = transform,
                                                                .color = color,
                                                                .y = mirrored.data()});
    const Image want = turned(image, 2);
    for (size_t i = 0; i < mirrored.size(); ++i) ASSERT_FLOAT_EQ(mirrored[i], want.rgb[i]);
}
