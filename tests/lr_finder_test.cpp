// The range test on curves whose answer is known.
#include "train/lr_finder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace {

constexpr LrFinderOptions kPlain = {.first = 1e-6, .last = 1, .steps = 121, .smoothing = 0};

// Feeds loss(log10(rate)) until the finder has enough.
template <class Loss>
LrFinder run(const LrFinderOptions& options, Loss loss) {
    LrFinder finder(options);
    while (finder.add(loss(std::log10(finder.next_learning_rate())))) {
    }
    return finder;
}

TEST(LrFinder, RatesGrowByAConstantFactor) {
    LrFinder finder = run(kPlain, [](double) { return 1.0; });
    ASSERT_EQ(finder.points().size(), 121u);
    EXPECT_DOUBLE_EQ(finder.points().front().learning_rate, 1e-6);
    EXPECT_NEAR(finder.points()[20].learning_rate, 1e-5, 1e-17);  // 20 points per factor of ten
    EXPECT_NEAR(finder.points().back().learning_rate, 1, 1e-12);
}

TEST(LrFinder, ThreeReadingsOfOneCurve) {
    // Flat at 2.5, falls from 1e-5 to 1e-2 as a half cosine, then up; steepest half way at 10^-3.5, lowest at 1e-2.
    LrFinder finder = run(kPlain, [](double x) {
        if (x < -5) return 2.5;
        if (x < -2) return 1.5 + std::cos(M_PI * (x + 5) / 3);
        return 0.5 + 0.2 * (x + 2);
    });
    LrSuggestion s = finder.suggest();
    EXPECT_NEAR(std::log10(s.steepest), -3.5, 0.051);
    EXPECT_NEAR(std::log10(s.valley), -3.5, 0.051);
    EXPECT_NEAR(std::log10(s.minimum_tenth), -3, 0.051);
}

TEST(LrFinder, ValleyIsNotTheSteepestWhereTheDescentIsUneven) {
    // A slow fall over four decades and a cliff at its end: the middle of the descent lies on the slope.
    LrFinder finder = run(kPlain, [](double x) {
        return x < -1 ? 3 - 0.2 * (x + 6) : x < -0.8 ? 2 - 5 * (x + 1) : 1 + (x + 0.8);
    });
    LrSuggestion s = finder.suggest();
    EXPECT_NEAR(std::log10(s.steepest), -0.9, 0.11);
    EXPECT_LT(s.valley, s.steepest / 30);
}

TEST(LrFinder, SmoothingIsCorrectedForItsStart) {
    LrFinder finder({.first = 1e-6, .last = 1, .steps = 60, .smoothing = 0.9});
    finder.add(2);
    finder.add(1);
    EXPECT_DOUBLE_EQ(finder.points()[0].smooth, 2);
    EXPECT_NEAR(finder.points()[1].smooth, (0.9 * 0.2 + 0.1) / 0.19, 1e-12);
}

TEST(LrFinder, EndsWhenTheLossIsFourTimesTheBest) {
    LrFinder finder(kPlain);
    EXPECT_TRUE(finder.add(2));
    EXPECT_TRUE(finder.add(1));
    EXPECT_TRUE(finder.add(4));
    EXPECT_FALSE(finder.add(4.01));
    EXPECT_THROW(finder.add(1), Error);
}

TEST(LrFinder, EndsAtTheFirstLossThatIsNotFinite) {
    for (double loss : {double(NAN), double(INFINITY)}) {
        LrFinder finder(kPlain);
        EXPECT_TRUE(finder.add(2));
        EXPECT_FALSE(finder.add(loss));
        EXPECT_EQ(finder.points().size(), 1u);
    }
}

TEST(LrFinder, SaysWhyThereIsNoSuggestion) {
    LrFinder finder = run(kPlain, [](double x) { return x < -5.1 ? 1.0 : double(NAN); });
    ASSERT_EQ(finder.points().size(), 18u);
    try {
        finder.suggest();
        FAIL() << "18 points must not do";
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, Fault::usage);
        EXPECT_NE(std::string(error.what()).find("20 are needed"), std::string::npos) << error.what();
    }
    EXPECT_THROW(LrFinder({.first = 0}), Error);
    EXPECT_THROW(LrFinder({.first = 1, .last = 0.1}), Error);
    EXPECT_THROW(LrFinder({.steps = 49}), Error);
}

}  // namespace
