// What the two stop signals do, seen from outside through exit codes.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <csignal>

#include "base/signals.h"

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

// A closing terminal sends SIGHUP, and so does its shell: neither may cut the save short.
TEST(Signals, TheTerminalGoesAway) {
    StopSignals signals;
    raise(SIGHUP);
    raise(SIGHUP);
    EXPECT_EQ(signals.received(), SIGHUP);
    EXPECT_EQ(signals.exit_code(), 75);
}

TEST(Signals, NohupIsRespected) {
    auto ignored = [] {
        std::signal(SIGHUP, SIG_IGN);
        {
            StopSignals signals;
            raise(SIGHUP);
            if (signals.received()) _exit(1);
        }
        raise(SIGHUP);
        _exit(0);
    };
    EXPECT_EXIT(ignored(), testing::ExitedWithCode(0), "");
}

TEST(Signals, TheUsualMeaningReturnsAfterwards) {
    auto after = [] {
        { StopSignals signals; }
        raise(SIGTERM);
        _exit(0);
    };
    EXPECT_EXIT(after(), testing::KilledBySignal(SIGTERM), "");
}

// A handler on the stack that it interrupts corrupts what oneDNN's generated code keeps there.
TEST(Signals, TheHandlerHasAStackOfItsOwn) {
    stack_t before = {}, during = {}, after = {};
    sigaltstack(nullptr, &before);
    {
        StopSignals signals;
        for (const int signal : {SIGINT, SIGTERM}) {
            struct sigaction action = {};
            sigaction(signal, nullptr, &action);
            EXPECT_TRUE(action.sa_flags & SA_ONSTACK) << signal;
        }
        sigaltstack(nullptr, &during);
        EXPECT_FALSE(during.ss_flags & SS_DISABLE);
        EXPECT_GE(during.ss_size, size_t(1) << 16);  // AVX-512 registers alone take kilobytes of it
        raise(SIGINT);
        EXPECT_EQ(signals.received(), SIGINT);
    }
    sigaltstack(nullptr, &after);
    EXPECT_EQ(after.ss_sp, before.ss_sp);
    EXPECT_EQ(after.ss_flags, before.ss_flags);
}

}  // namespace
