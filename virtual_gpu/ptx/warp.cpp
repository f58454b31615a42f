// One warp, from barrier to barrier. Threads that went different ways are groups, each at one instruction; the group
// that is furthest back runs until it reaches the next one, and the two go on as one. That is where nvcc's branches
// meet again, except at operations of the whole warp, where a group waits for the members that the operation names.
#include "warp.h"

#include <algorithm>
#include <bit>

namespace ptx {
namespace {

constexpr auto kBits = [] {
    struct {
        alignas(64) uint32_t bit[32];
    } bits{};
    for (unsigned l = 0; l < 32; ++l) bits.bit[l] = 1u << l;
    return bits;
}();

uint32_t lanes_where(const uint32_t* predicate) {
    uint32_t mask = 0;
    for (unsigned l = 0; l < 32; ++l) mask |= predicate[l] & kBits.bit[l];
    return mask;
}

// Those of `mask` for which the guard holds.
uint32_t guarded(const Warp& w, const Instruction& i, uint32_t mask) {
    if (!i.guard) return mask;
    const uint32_t set = lanes_where(w.at<uint32_t>(i.guard));
    return mask & (i.negated ? ~set : set);
}

constexpr uint32_t kNowhere = ~0u;

// The group that is furthest back among those that can run, after joining those at the same place; and where the next
// is.
Group* furthest_back(Warp& w, uint32_t& next) {
    for (;;) {
        size_t best = w.groups.size();
        next = kNowhere;
        for (size_t g = 0; g < w.groups.size(); ++g) {
            const Group& group = w.groups[g];
            if (group.state != Group::ready) continue;
            if (best == w.groups.size() || group.at < w.groups[best].at) {
                if (best != w.groups.size()) next = w.groups[best].at;
                best = g;
            } else if (group.at == w.groups[best].at) {
                w.groups[best].mask |= group.mask;
                w.groups.erase(w.groups.begin() + long(g));
                next = kNowhere;
                best = w.groups.size();
                g = size_t(-1);  // once more from the start: there are few groups
            } else {
                next = std::min(next, group.at);
            }
        }
        if (best == w.groups.size()) return nullptr;
        return &w.groups[best];
    }
}

// At an operation of several lanes: whether all its members are here. If not, the group waits, or joins those that do.
bool together(Warp& w, Group& group, const Instruction& i) {
    const uint32_t* named = w.at<uint32_t>(i.element[0]);
    const uint32_t members = named[std::countr_zero(group.mask)];
    for (unsigned l = 0; l < 32; ++l)
        if (group.mask >> l & 1 && (named[l] != members || !(members >> l & 1)))
            w.fail(i, "the lanes name different members, or not themselves", l);
    if ((members & w.live) == group.mask) return true;
    for (Group& other : w.groups)
        if (&other != &group && other.state == Group::parked && other.at == group.at) {
            other.mask |= group.mask;
            if ((members & w.live) == other.mask) other.state = Group::ready;
            w.groups.erase(w.groups.begin() + (&group - w.groups.data()));
            return false;
        }
    group.state = Group::parked;
    return false;
}

// Runs the group until it reaches `next`, splits, waits or ends.
void run_group(Warp& w, Group& group, uint32_t next) {
    const Instruction* const code = w.kernel->code.data();
    const uint32_t mask = group.mask;
    const unsigned count = unsigned(std::popcount(mask));
    w.set_mask(mask);
    for (uint32_t at = group.at;;) {
        const Instruction& i = code[at];
        if (i.kind == Kind::collective) {
            group.at = at;
            if (guarded(w, i, mask) != mask) w.fail(i, "an operation of several lanes for some of them only");
            if (!together(w, group, i)) return;
        }
        ++i.counts.executed;
        i.counts.lanes += count;
        switch (i.kind) {
            case Kind::plain:
            case Kind::collective: {
                const uint32_t active = guarded(w, i, mask);
                if (active == mask) {
                    i.run(w, i);
                } else if (active) {
                    w.set_mask(active);
                    i.run(w, i);
                    w.set_mask(mask);
                }
                ++at;
                break;
            }
            case Kind::branch: {
                const uint32_t taken = guarded(w, i, mask);
                if (taken == mask) {
                    at = i.target;
                } else if (taken == 0) {
                    ++at;
                } else {
                    group.at = at + 1, group.mask = mask & ~taken;
                    w.groups.push_back({i.target, taken});
                    return;
                }
                break;
            }
            case Kind::exit: {
                const uint32_t leaving = guarded(w, i, mask);
                w.live &= ~leaving;
                group.at = at + 1, group.mask = mask & ~leaving;
                for (Group& other : w.groups)  // may have waited for these lanes
                    if (other.state == Group::parked) other.state = Group::ready;
                if (!group.mask) w.groups.erase(w.groups.begin() + (&group - w.groups.data()));
                return;
            }
            case Kind::barrier:
                if (guarded(w, i, mask) != mask) w.fail(i, "a barrier for some threads of a warp only");
                group.at = at, group.state = Group::at_barrier;
                return;
        }
        if (at >= next) {
            group.at = at;
            return;
        }
    }
}

}  // namespace

void Warp::set_mask(uint32_t lanes_that_run) {
    mask = lanes_that_run;
    for (unsigned l = 0; l < 32; ++l) lanes[l] = mask & kBits.bit[l] ? ~0u : 0;
}

void Warp::fail(const Instruction& i, const std::string& what, unsigned lane) const {
    const std::string source = kernel->module->source(i);
    const auto triple = [](Dim d) {
        return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
    };
    throw Error(readable(kernel->name) + ": " + what + "; PTX line " + std::to_string(i.line) + ": " +
                std::string(kernel->module->statement(i)) + (source.empty() ? "" : "; " + source) + "; block " +
                triple(block) + " warp " + std::to_string(index) + (lane < 32 ? " lane " + std::to_string(lane) : ""));
}

void run_until_barrier(Warp& w) {
    uint32_t next = kNowhere;
    while (Group* group = furthest_back(w, next)) run_group(w, *group, next);
    for (const Group& group : w.groups)
        if (group.state == Group::parked)
            w.fail(w.kernel->code[group.at], "waits for lanes that never come here",
                   unsigned(std::countr_zero(group.mask)));
}

}  // namespace ptx
