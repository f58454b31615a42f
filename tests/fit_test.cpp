// How an image becomes a square, and what decoding a JPEG at reduced size costs in accuracy.
#include "data/fit.h"

#include "tests/images.h"

TEST(Fit, same_size_is_a_copy) {
    const Image image = sample_image(12, 12);
    for (const FitMode mode : {FitMode::stretch, FitMode::crop}) {
        FileContent rgb(12 * 12 * 3);
        fit_image(image, {.size = 12, .mode = mode, .filter = Filter::antialias, .shorter = 12}, rgb.data());
        EXPECT_EQ(rgb, image.rgb);
    }
}

TEST(Fit, crop_takes_the_middle) {
    const Image image = sample_image(10, 21);
    FileContent rgb(10 * 10 * 3);
    fit_image(image, {.size = 10, .mode = FitMode::crop, .filter = Filter::nearest, .shorter = 10}, rgb.data());
    for (size_t i = 0; i < 10; ++i)
        for (size_t j = 0; j < 30; ++j)  // (21 - 10) / 2 = 5.5 rounds to 6
            ASSERT_EQ(rgb[i * 30 + j], image.rgb[i * 63 + 6 * 3 + j]);
}

TEST(Fit, slivers_and_dots) {
    for (const auto& [h, w] : {std::pair<size_t, size_t>{1, 1}, {1, 500}, {500, 1}, {3, 2}, {1, 65000}})
        for (const FitMode mode : {FitMode::stretch, FitMode::crop})
            for (const Filter filter : {Filter::antialias, Filter::linear, Filter::nearest}) {
                FileContent rgb(33 * 33 * 3);
                fit_image(sample_image(h, w), {.size = 33, .mode = mode, .filter = filter}, rgb.data());
            }
}

TEST(Fit, reduced_jpeg_decode_is_exact_enough) {
    for (const unsigned seed : {0u, 1u, 2u}) {
        Image image = sample_image(960, 1280, seed);
        for (size_t i = 0; i < image.rgb.size(); i += 3)  // grass: detail that a wrong reduction would alias
            image.rgb[i + 1] = uint8_t(std::min(255, image.rgb[i + 1] + int((i / 3 * 2654435761u) >> 28)));
        const FileContent file = jpeg_of(image, {.quality = 90});
        for (const size_t size : {64, 128, 224}) {
            const Fit fit{.size = size};
            const Decoded reduced = decode_image(file, options_for(fit)), full = decode_image(file);
            ASSERT_LT(reduced.image.h, full.image.h);
            FileContent a(size * size * 3), b(a.size());
            fit_image(reduced.image, fit, a.data());
            fit_image(full.image, fit, b.data());
            const Difference d = difference(a, b);
            EXPECT_LT(d.mean, 0.2);
            EXPECT_LE(d.largest, 6);
        }
    }
    EXPECT_EQ(options_for({.size = 64, .filter = Filter::nearest}).enough_h, 0u);
}
