// One-cycle learning rate and momentum as pure functions of (step, total), so that a resumed run needs no state.
//
// A curve is a few knots (position, learning rate, momentum) joined by straight lines or half cosines. With
// p = learning_rate (the peak), a = p / div_factor, z = p / final_div, n = total, w = warmup_fraction, and momentum
// opposite to the learning rate (high at a, low at p, high from the end of the way down):
//
//   triangle   (-1, a) (n/2 - 1, p) (n - 1, z)                  lines; the counter of the paper's code starts at 1
//   torch      (0, a) (w*n - 1, p) (n - 1, z)                   cosines or lines; positions are real numbers
//              (0, a) (w*n - 1, p) (2*w*n - 2, a) (n - 1, z)    with three_phase
//              w = 0: from the first step on it falls; w = 1: it rises to the last
//   fastai     (0, a) (w*n, p) (n, z)                           cosines; z is never quite reached
//   smith      (0, a) (u, p) (2u, a) (n - 1, z), u = floor(w*n) lines: equal legs, then the annihilation tail
//
//   half cosine from A to B over t in 0..1: B + (A - B) / 2 * (1 + cos(pi * t))
//
// Celis et al. 2024, https://doi.org/10.1016/j.ecoinf.2024.102578 (triangle); torch.optim.lr_scheduler.OneCycleLR,
// https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html; fastai fit_one_cycle,
// https://docs.fast.ai/callback.schedule.html; Smith 2018, https://arxiv.org/abs/1803.09820
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

enum class Curve { triangle, torch, smith, fastai };

struct ScheduleOptions {
    Curve curve = Curve::torch;
    double learning_rate = 0.1;                // at the peak
    double div_factor = 25, final_div = 25e4;  // of the peak (torch divides its start by final_div_factor = 1e4)
    double warmup_fraction = 0.3;  // share of the steps in which the learning rate grows; triangle: always half
    bool cosine = true;            // torch only
    bool three_phase = false;      // torch only
    bool cycle_momentum = true;
    double momentum_high = 0.95, momentum_low = 0.85;  // beta1 of Adam
    double momentum = 0.9;                             // used if the schedule does not cycle momentum
    // The learning rate is multiplied by a factor that grows in a line from ramp_from to 1 over the first ramp_share of
    // the steps: gradual warm-up, Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.
    double ramp_from = 1, ramp_share = 0;
};

// The numbers of a preset as its source has them: "triangle", "torch", "smith" or "fastai".
ScheduleOptions schedule_preset(std::string_view name, double learning_rate);
std::string_view to_string(Curve);
Curve curve_named(std::string_view name);

struct Knot {
    double position, learning_rate, momentum;
};

struct ScheduleValue {
    double learning_rate, momentum;
};

class Schedule {
public:
    // Errors (usage): an impossible curve, for instance a learning rate that is not positive.
    Schedule(const ScheduleOptions&, size_t total);

    ScheduleValue at(size_t step) const;  // of this optimizer step, 0 <= step < total
    const std::vector<Knot>& knots() const { return knots_; }
    std::string describe() const;  // one line with every number that counts in this run

private:
    ScheduleOptions options_;
    size_t total_;
    std::vector<Knot> knots_;
};
