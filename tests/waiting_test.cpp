// Threads that wait for each other spin long on quiet processors and sleep where others want them. About one second.
#include "engine/waiting.h"

#include <gtest/gtest.h>
#include <omp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <thread>

namespace {

double cpu_seconds() {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

void region() {
#pragma omp parallel num_threads(2)
    asm volatile("" ::: "memory");
}

// Processor time of a second thread that waits for work and has none, ten times for 10 ms.
double spent_waiting() {
    const double start = cpu_seconds();
    for (int i = 0; i < 10; ++i) {
        region();
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return cpu_seconds() - start;
}

class WaitingTest : public testing::Test {
protected:
    void SetUp() override {
        if (omp_get_num_procs() < 2) GTEST_SKIP() << "one processor";
        if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) GTEST_SKIP() << "a policy is set";
#if defined(__clang__)
        GTEST_SKIP() << "another OpenMP than GNU's";
#endif
    }
};

TEST_F(WaitingTest, SecondTeamMakesTheFirstSleep) {
    Waiting waiting(2);
    const double spinning = spent_waiting();
    waiting.set_short(true);
    EXPECT_TRUE(waiting.is_short());
    const double sleeping = spent_waiting();
    waiting.set_short(false);
    const double again = spent_waiting();
    printf("%.1f ms spinning, %.1f ms sleeping, %.1f ms afterwards\n", 1e3 * spinning, 1e3 * sleeping, 1e3 * again);
    EXPECT_GT(spinning, 3 * sleeping);
    EXPECT_GT(again, 3 * sleeping);
}

TEST_F(WaitingTest, OthersThatWantTheProcessorsAreNoticed) {
    std::vector<pid_t> others;
    for (int i = 0; i < 2 * omp_get_num_procs(); ++i)
        if (others.push_back(fork()); others.back() == 0)
            for (alarm(30);;) asm volatile("");
    Waiting waiting(omp_get_num_procs());
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!waiting.is_short() && std::chrono::steady_clock::now() < end) {
        waiting.adapt();
        region();
    }
    EXPECT_TRUE(waiting.is_short());
    for (const pid_t other : others) kill(other, SIGKILL), waitpid(other, nullptr, 0);
}

}  // namespace
