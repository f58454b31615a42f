// Assigns groups of images that belong together to the parts, class by class.
#include "data/split.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "data/bursts.h"

namespace {

struct Group {
    std::vector<uint32_t> samples;
    uint64_t order = 0;
    std::vector<size_t> per_class;
};

using Groups = std::vector<Group>;

Groups training_groups(const std::vector<Sample>& samples, SplitBy by) {
    std::vector<uint32_t> numbers;
    for (uint32_t i = 0; i < samples.size(); ++i)
        if (samples[i].part == Part::train) numbers.push_back(i);
    Groups groups;
    for (std::vector<uint32_t>& group : groups_of(samples, std::move(numbers), by))
        groups.push_back({.samples = std::move(group), .per_class = {}});
    return groups;
}

struct Deal {
    std::vector<Sample>& samples;
    std::vector<size_t> total, given[2], wanted[2];  // [0] validation, [1] test

    static constexpr Part kParts[2] = {Part::validation, Part::test};

    void give(const Group& group, int which) {
        for (const uint32_t i : group.samples) samples[i].part = kParts[which];
        for (size_t c = 0; c < total.size(); ++c) given[which][c] += group.per_class[c];
    }
    bool welcome(const Group& group, int which) const {
        size_t gain = 0;
        for (size_t c = 0; c < total.size(); ++c)
            gain += std::min(group.per_class[c], wanted[which][c] - std::min(wanted[which][c], given[which][c]));
        return gain * 2 > group.samples.size();
    }
    bool in_train(const Group& group) const { return samples[group.samples[0]].part == Part::train; }

    // The smallest group of class c that is still training data, if giving it up leaves the class most of its images.
    void rescue(const Groups& groups, size_t c, int which, size_t max_images) {
        const Group* smallest = nullptr;
        for (const Group& group : groups)
            if (in_train(group) && group.per_class[c] > 0 && group.per_class[c] <= max_images &&
                (!smallest || group.samples.size() < smallest->samples.size()))
                smallest = &group;
        if (smallest) give(*smallest, which);
    }
};

}  // namespace

void split_samples(std::vector<Sample>& samples, const SplitRequest& request) {
    Groups groups = training_groups(samples, request.by);
    Deal deal{.samples = samples, .total = std::vector<size_t>(request.classes), .given = {}, .wanted = {}};
    for (Group& group : groups) {
        group.per_class.resize(request.classes);
        for (const uint32_t i : group.samples) ++group.per_class[samples[i].label];
        for (size_t c = 0; c < request.classes; ++c) deal.total[c] += group.per_class[c];
        const std::string& name = samples[*std::min_element(group.samples.begin(), group.samples.end())].name;
        group.order = XXH3_64bits_withSeed(name.data(), name.size(), mix(request.seed));
    }
    std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.order < b.order; });
    const double share[2] = {request.validation, request.test};
    for (const int which : {0, 1}) {
        deal.given[which].resize(request.classes);
        for (const size_t total : deal.total) {
            const auto rounded = size_t(std::lround(double(total) * share[which]));
            deal.wanted[which].push_back(which == 0 && share[0] > 0 && total >= 3 ? std::max<size_t>(1, rounded)
                                                                                  : rounded);
        }
    }
    for (const Group& group : groups)
        for (const int which : {1, 0})
            if (deal.welcome(group, which)) {
                deal.give(group, which);
                break;
            }
    for (size_t c = 0; c < request.classes; ++c)
        for (const int which : {0, 1})
            if (share[which] > 0 && deal.given[which][c] == 0)
                deal.rescue(groups, c, which, deal.total[c] / (which == 0 ? 2 : 10));
}
