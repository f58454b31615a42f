// How long the threads of OpenMP spin for each other before they sleep: long on quiet processors, hardly at all where
// other processes want them.
//
// The threads of a team meet after every layer, some thousand times a second. To wake one that sleeps takes about 90
// us, which nearly doubles the time of one image; but a thread that spins for one which has lost its processor to
// another process takes time from both. GNU's OpenMP reads OMP_WAIT_POLICY and GOMP_SPINCOUNT once, when it is loaded,
// and then spins for milliseconds, except while the program has more OpenMP threads than there are processors: then for
// 100 rounds (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html). So while others want the processors,
// this object holds a second team, whose threads do nothing but count. This covers oneDNN's loops as well as ours.
// Measured in docs/performance.md.
#pragma once

#include <chrono>
#include <memory>

class Waiting {
public:
    explicit Waiting(int threads);  // of the team. Leaves all as it is where one of the two variables is set
    ~Waiting();

    // For the thread that leads the team, between layers: looks every 50 ms at how long it has waited for a processor.
    void adapt() {
        if (watches_ && Clock::now() >= next_look_) look();
    }

    void set_short(bool spin_shortly);
    bool is_short() const { return bool(idle_team_); }

private:
    using Clock = std::chrono::steady_clock;
    class IdleTeam;
    void look();

    int threads_;
    bool watches_;
    int schedstat_ = -1;  // of the thread that leads
    Clock::time_point next_look_ = {}, last_look_ = {}, last_busy_ = {};
    double last_delay_ = 0;  // seconds that it was ready to run and did not
    std::unique_ptr<IdleTeam> idle_team_;
};
