// Groups of images that belong together, and the warnings.
#include "data/bursts.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "base/error.h"

namespace {

using Groups = std::vector<std::vector<uint32_t>>;

constexpr int64_t kBurstSeconds = 60;
constexpr int64_t kLongestInterval = 3600;  // of time-lapse; after an hour the light has changed
constexpr size_t kFewestIntervals = 10;

const char* const kAdvice = "use --split-by camera, or give the parts (folders train, val and test, or a column split)";

bool has_moment(const Sample& sample) { return sample.time >= 0 || !sample.sequence.empty(); }

std::string names_in_two_parts(const Dataset& data, const std::vector<uint32_t>& group) {
    const Sample& first = data.samples[group[0]];
    for (const uint32_t i : group)
        if (data.samples[i].part != first.part)
            return fmt::format("{} in {}, {} in {}", first.name, part_name(first.part), data.samples[i].name,
                               part_name(data.samples[i].part));
    return "";
}

// The interval in seconds at which a camera took images, bursts aside; 0 if there is none.
int64_t interval_of(const std::vector<Sample>& samples, const std::vector<uint32_t>& of_camera) {
    std::map<int64_t, size_t> gaps;
    size_t number = 0;
    for (size_t i = 1; i < of_camera.size(); ++i) {
        const int64_t before = samples[of_camera[i - 1]].time, gap = samples[of_camera[i]].time - before;
        if (before < 0 || gap <= kBurstSeconds) continue;
        ++gaps[gap];
        ++number;
    }
    for (const auto& [gap, exactly] : gaps) {
        size_t alike = exactly;  // clocks drift
        for (const int64_t beside : {gap - 1, gap + 1})
            if (gaps.contains(beside)) alike += gaps.at(beside);
        if (gap <= kLongestInterval && alike >= kFewestIntervals && alike * 5 >= number) return gap;
    }
    return 0;
}

void warn_of_time_lapse(const Dataset& data, const std::vector<uint32_t>& all, std::vector<std::string>& warnings) {
    std::vector<uint32_t> sorted = all;
    std::ranges::stable_sort(sorted, {}, [&](uint32_t i) { return data.samples[i].time; });
    std::map<std::string, std::vector<uint32_t>> cameras;
    for (const uint32_t i : sorted) cameras[data.samples[i].camera].push_back(i);
    size_t regular = 0;
    std::string first;
    for (const auto& [camera, images] : cameras)
        if (const int64_t interval = interval_of(data.samples, images); interval && regular++ == 0)
            first = fmt::format("'{}', every {} s", camera, interval);
    if (regular)
        warnings.push_back(
            fmt::format("{} cameras took images at a fixed interval (time-lapse; first: {}): neighbours "
                        "show the same scene and may lie in train and in validation; {}",
                        regular, first, kAdvice));
}

void warn_of_one_burst(const Dataset& data, const Groups& bursts, size_t images, std::vector<std::string>& warnings) {
    const auto longest = std::ranges::max_element(bursts, {}, [](const auto& burst) { return burst.size(); });
    if (longest == bursts.end() || longest->size() < 2 * kFewestIntervals || longest->size() * 10 < images) return;
    const Sample& first = data.samples[(*longest)[0]];
    warnings.push_back(
        fmt::format("{} of {} images follow each other without a gap of {} s (time-lapse? first: {}): "
                    "they are one burst, which lies in {} as a whole",
                    longest->size(), images, kBurstSeconds, first.name, part_name(first.part)));
}

}  // namespace

std::vector<std::vector<uint32_t>> groups_of(const std::vector<Sample>& samples, std::vector<uint32_t> numbers,
                                             SplitBy by) {
    std::ranges::stable_sort(numbers, [&](uint32_t a, uint32_t b) {
        const int order = samples[a].camera.compare(samples[b].camera);
        if (order != 0) return order < 0;
        return std::tie(samples[a].sequence, samples[a].time) < std::tie(samples[b].sequence, samples[b].time);
    });
    Groups groups;
    const Sample* before = nullptr;
    for (const uint32_t i : numbers) {
        const Sample& sample = samples[i];
        bool together = before && before->camera == sample.camera;
        if (by == SplitBy::camera)
            together = together && !sample.camera.empty();
        else if (!sample.sequence.empty())
            together = together && before->sequence == sample.sequence;
        else
            together = together && before->sequence.empty() && before->time >= 0 &&
                       sample.time - before->time <= kBurstSeconds;
        if (!together) groups.emplace_back();
        groups.back().push_back(i);
        before = &sample;
    }
    return groups;
}

std::vector<std::string> split_warnings(const Dataset& data, SplitBy by, bool made) {
    std::vector<std::string> warnings;
    std::vector<uint32_t> all(data.samples.size());
    std::iota(all.begin(), all.end(), 0);
    const Groups bursts = groups_of(data.samples, all, SplitBy::sequence);
    const auto count = [&](auto&& what) { return size_t(std::ranges::count_if(data.samples, what)); };
    const size_t undated = count([](const Sample& s) { return !has_moment(s); });
    const size_t nowhere = count([](const Sample& s) { return s.camera.empty(); });
    if (made && by == SplitBy::sequence && undated)
        warnings.push_back(
            fmt::format("{} of {} images have no date: their bursts cannot be told apart, and images of "
                        "one may lie in train and in validation; {}",
                        undated, all.size(), kAdvice));
    if (made && by == SplitBy::camera && nowhere)
        warnings.push_back(
            fmt::format("{} of {} images name no camera (folder CLASS/CAMERA, column camera, EXIF): "
                        "each counts as a separate camera, and images of one may lie in train and in "
                        "validation",
                        nowhere, all.size()));
    if (made && by == SplitBy::sequence) {
        warn_of_one_burst(data, bursts, all.size(), warnings);
        warn_of_time_lapse(data, all, warnings);
    }
    size_t torn = 0;
    std::string first;
    for (const std::vector<uint32_t>& burst : bursts)
        if (const std::string names = names_in_two_parts(data, burst); !names.empty() && torn++ == 0) first = names;
    if (torn)
        warnings.push_back(
            fmt::format("{} bursts lie in several parts (first: {}): validation and test metrics are too "
                        "optimistic",
                        torn, first));
    return warnings;
}
