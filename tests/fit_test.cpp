// How a picture becomes a square, and what decoding a JPEG at reduced size costs in accuracy.
#include "data/fit.h"

#include "tests/images.h"

TEST(Fit, same_size_is_a_copy) {
    const Picture picture = sample_picture(12, 12);
    for (const FitMode mode : {FitMode::stretch, FitMode::crop}) {
        FileContent rgb(12 * 12 * 3);
        fit_picture(picture, {.size = 12, .mode = mode, .filter = Filter::antialias, .shorter = 12}, rgb.data());
        EXPECT_EQ(rgb, picture.rgb);
    }
}

TEST(Fit, crop_takes_the_middle) {
    const Picture picture = sample_picture(10, 21);
    FileContent rgb(10 * 10 * 3);
    fit_picture(picture, {.size = 10, .mode = FitMode::crop, .filter = Filter::nearest, .shorter = 10}, rgb.data());
    for (size_t i = 0; i < 10; ++i)
        for (size_t j = 0; j < 30; ++j)  // (21 - 10) / 2 = 5.5 rounds to 6
            ASSERT_EQ(rgb[i * 30 + j], picture.rgb[i * 63 + 6 * 3 + j]);
}

TEST(Fit, slivers_and_dots) {
    for (const auto& [h, w] : {std::pair<size_t, size_t>{1, 1}, {1, 500}, {500, 1}, {3, 2}, {1, 65000}})
        for (const FitMode mode : {FitMode::stretch, FitMode::crop})
            for (const Filter filter : {Filter::antialias, Filter::linear, Filter::nearest}) {
                FileContent rgb(33 * 33 * 3);
                fit_picture(sample_picture(h, w), {.size = 33, .mode = mode, .filter = filter}, rgb.data());
            }
}

TEST(Fit, reduced_jpeg_decode_is_exact_enough) {
    for (const unsigned seed : {0u, 1u, 2u}) {
        Picture picture = sample_picture(960, 1280, seed);
        for (size_t i = 0; i < picture.rgb.size(); i += 3)  // grass: detail that a wrong reduction would alias
            picture.rgb[i + 1] = uint8_t(std::min(255, picture.rgb[i + 1] + int((i / 3 * 2654435761u) >> 28)));
        const FileContent file = jpeg_of(picture, {.quality = 90});
        for (const size_t size : {64, 128, 224}) {
            const Fit fit{.size = size};
            const Decoded reduced = decode_picture(file, options_for(fit)), full = decode_picture(file);
            ASSERT_LT(reduced.picture.h, full.picture.h);
            FileContent a(size * size * 3), b(a.size());
            fit_picture(reduced.picture, fit, a.data());
            fit_picture(full.picture, fit, b.data());
            const Difference d = difference(a, b);
            EXPECT_LT(d.mean, 0.2);
            EXPECT_LE(d.largest, 6);
        }
    }
    EXPECT_EQ(options_for({.size = 64, .filter = Filter::nearest}).enough_h, 0u);
}
