// What the two stop signals do, seen from outside through exit codes.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "train/signals.h"

namespace {

TEST(Signals, TheFirstLeavesANote) {
    StopSignals signals;
    EXPECT_EQ(signals.received(), 0);
    EXPECT_EQ(signals.exit_code(), 0);
    raise(SIGTERM);
    EXPECT_EQ(signals.received(), SIGTERM);
    EXPECT_EQ(signals.exit_code(), 143);
}

TEST(Signals, EveryRunStartsWithoutANote) {
    {
        StopSignals signals;
        raise(SIGINT);
        EXPECT_EQ(signals.exit_code(), 130);
    }
    EXPECT_EQ(StopSignals().received(), 0);
}

TEST(Signals, TheSecondEndsTheProgram) {
    auto twice = [](int first, int second) {
        StopSignals signals;
        raise(first);
        raise(second);
        _exit(0);
    };
    EXPECT_EXIT(twice(SIGINT, SIGINT), testing::ExitedWithCode(130), "");
    EXPECT_EXIT(twice(SIGINT, SIGTERM), testing::ExitedWithCode(143), "");
}

TEST(Signals, TheUsualMeaningReturnsAfterwards) {
    auto after = [] {
        { StopSignals signals; }
        raise(SIGTERM);
        _exit(0);
    };
    EXPECT_EXIT(after(), testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
