// Casts seasons, weather, animals and mishaps for every burst.
#include "app/synth/plan.h"

#include <fmt/format.h>

#include <array>
#include <chrono>

#include "app/synth/develop.h"

namespace {

constexpr std::array<const char*, 3> kSplits{"train", "validation", "test"};
// How often each Spoil ruins an image.
constexpr std::array<float, kSpoils> kMishaps{0, 20, 10, 18, 10, 18, 14, 10};
constexpr int64_t kDay = 86400;

// Snow lies from October to May; its depth differs from week to week.
float snow_on(int day, Rng& rng) {
    const float winter = smooth_step(272, 330, float(day)) + 1 - smooth_step(118, 165, float(day));
    return winter <= 0 ? 0.0f : saturate(winter * rng.uniform(0.5f, 0.92f) + 0.05f * rng.normal());
}

float autumn_on(int day) { return smooth_step(222, 250, float(day)); }

float wilt_on(int day) { return std::max(smooth_step(262, 290, float(day)), 1 - smooth_step(150, 182, float(day))); }

// A day and an hour at which the mishap can happen. The good images are dated the same way, as if the mishap had
// only just been avoided, so that season and hour do not tell the classes apart.
void choose_time(Moment& moment, Spoil spoil, Rng& rng) {
    const bool cold = spoil == Spoil::snowed || spoil == Spoil::iced;
    for (int attempt = 0; attempt < 200; ++attempt) {
        moment.day = rng.below(365);
        moment.hour = rng.uniform(0, 24);
        const bool night = is_night(moment);
        if (spoil == Spoil::dark && !night) continue;
        if (spoil != Spoil::dark && night && rng.chance(0.6f)) continue;
        if (cold && moment.day > 150 && moment.day < 270) continue;
        break;
    }
}

Moment cast_weather(Spoil spoil, Rng rng) {
    Moment moment;
    choose_time(moment, spoil, rng);
    moment.snow = snow_on(moment.day, rng);
    moment.autumn = autumn_on(moment.day);
    moment.wilt = wilt_on(moment.day);
    moment.cloud = rng.chance(0.3f) ? 1.0f : rng.uniform();
    moment.visibility = rng.chance(0.25f) ? rng.uniform(60, 250) : rng.uniform(2e3f, 3e4f);
    if (moment.snow > 0.15f && rng.chance(0.3f)) moment.snowfall = rng.uniform(0.08f, 0.6f);
    moment.weather = rng.bits();
    moment.shift = {rng.normal() * 0.011f, rng.normal() * 0.011f};
    return moment;
}

Blemish cast_blemish(Spoil spoil, bool spare_lens, Rng rng) {
    Blemish blemish{.spoil = spoil, .strength = rng.uniform(), .key = rng.bits()};
    if (spoil == Spoil::none && !spare_lens) {
        if (rng.chance(0.08f)) blemish.lens_snow = rng.uniform(0.02f, 0.07f);
        if (rng.chance(0.10f)) blemish.lens_drops = 1 + rng.below(4);
    }
    if (rng.chance(0.2f)) blemish.softness = rng.uniform(0.0006f, 0.0018f);
    return blemish;
}

Kind cast_animal(Rng& rng) {
    constexpr std::array<float, 5> often{40, 20, 12, 12, 16};
    return static_cast<Kind>(rng.weighted(often));
}

Subject cast_subject(Kind kind, const Site& site, const Moment& moment, Rng rng) {
    Subject subject{.kind = kind, .key = rng.bits()};
    const float tall = height_of(kind), closest = std::max(1.5f, 2.2f * site.mount);
    // Far animals are as common as near ones: uniform in the logarithm of the distance, up to about 12 pixels of 480.
    const float farthest = std::max(closest * 2.5f, site.focal * 640 * tall / 12);
    const float in_sight = is_night(moment) ? 1.8f * site.flash_reach : 1.2f * moment.visibility;
    subject.z = closest * std::pow(std::max(1.0f, std::min({farthest, 60.0f, in_sight}) / closest), rng.uniform());
    if (tall > 1) subject.z = std::max(subject.z, 3.0f);
    subject.x = rng.uniform(-0.44f, 0.44f) * subject.z / site.focal;
    subject.heading =
        (rng.chance(0.5f) ? 1.0f : -1.0f) * (rng.chance(0.7f) ? rng.uniform(0.85f, 1) : rng.uniform(0.5f, 0.85f));
    subject.size = rng.uniform(0.85f, 1.12f);
    subject.stride = rng.uniform(0, 6.28f);
    subject.head = rng.chance(0.4f) ? rng.uniform(0, 0.15f) : rng.uniform(0.75f, 1);
    subject.winter = moment.snow > 0.35f;
    if (kind == Kind::raven && rng.chance(0.35f)) subject.aloft = rng.uniform(0.5f, 3);
    return subject;
}

void cast_party(std::vector<Subject>& party, Kind kind, const Site& site, const Moment& moment, Rng rng) {
    const Subject first = cast_subject(kind, site, moment, rng.split(1));
    party.push_back(first);
    const int more = kind == Kind::reindeer                           ? rng.below(4)
                     : kind == Kind::ptarmigan || kind == Kind::raven ? rng.below(3)
                                                                      : 0;
    for (int i = 0; i < more; ++i) {
        Subject next = cast_subject(kind, site, moment, rng.split(uint64_t(i) + 2));
        next.z = std::max(2.2f * site.mount, first.z * rng.uniform(0.85f, 1.6f));
        party.push_back(next);
    }
    if (category_of(kind) == 2) {
        Subject rider = first;
        rider.kind = Kind::person;
        rider.riding = true;
        rider.size = first.size;
        rider.z = first.z - 0.001f;
        rider.key = rng.bits();
        party.push_back(rider);
    }
}

std::vector<Subject> cast_subjects(SynthTask task, const std::string& label, const Site& site, const Moment& moment,
                                   Rng rng) {
    std::vector<Subject> party;
    const Kind vehicle = moment.snow > 0.4f ? Kind::snowmobile : Kind::atv;
    if (task == SynthTask::quality) {
        if (rng.chance(0.4f))
            cast_party(party, cast_animal(rng), site, moment, rng.split(1));
        else if (rng.chance(0.08f))
            cast_party(party, rng.chance(0.6f) ? Kind::person : vehicle, site, moment, rng.split(1));
    } else if (task == SynthTask::detect) {
        constexpr std::array<float, 4> often{15, 50, 18, 17};
        const size_t draw = rng.weighted(often);
        if (draw == 1) cast_party(party, cast_animal(rng), site, moment, rng.split(1));
        if (draw == 2) cast_party(party, Kind::person, site, moment, rng.split(1));
        if (draw == 3) cast_party(party, vehicle, site, moment, rng.split(1));
        if (draw != 0 && rng.chance(0.2f))
            cast_party(party, rng.chance(0.6f) ? cast_animal(rng) : Kind::person, site, moment, rng.split(2));
    } else if (label != "empty") {
        Kind kind = Kind::reindeer;
        for (int i = 0; i < kKinds; ++i)
            if (label == name_of(static_cast<Kind>(i))) kind = static_cast<Kind>(i);
        Subject subject = cast_subject(kind, site, moment, rng.split(1));
        // An image with a label shows its animal well: an eighth to half of the height, near the middle.
        subject.z = std::max(2.2f * site.mount, site.focal * 1.33f * height_of(kind) / rng.uniform(0.13f, 0.5f));
        subject.x = rng.uniform(-0.28f, 0.28f) * subject.z / site.focal;
        subject.aloft = std::min(subject.aloft, 0.3f * subject.z);
        party.push_back(subject);
    }
    return party;
}

// The subjects `seconds` after the start of their burst.
std::vector<Subject> moved(std::vector<Subject> party, float seconds) {
    for (Subject& subject : party) {
        const bool resting = subject.head < 0.2f;
        const float speed = subject.riding || category_of(subject.kind) == 2 ? 1.5f
                            : resting                                        ? 0.05f
                                                                             : 0.35f * height_of(subject.kind);
        subject.x += subject.heading * speed * seconds;
        subject.stride += (resting ? 0.3f : 2.2f) * seconds;
    }
    return party;
}

std::string strip_text(const Shot& shot, const Site& site) {
    std::string date = exif_date(shot.seconds);
    date[4] = date[7] = '-';
    const int warm = int(9 - 20 * shot.moment.snow + 6 * std::sin((shot.moment.hour - 9) * 0.26f));
    return fmt::format("{} {}*C {}", date, warm, site.make);
}

struct Group {
    size_t split;
    std::string label;
    int count;
};

std::vector<Group> divide(const SynthOptions& options) {
    std::vector<std::string> labels{""};
    if (options.task == SynthTask::quality) labels = {"bad", "good"};
    if (options.task == SynthTask::species) labels = {"empty", "fox", "hare", "ptarmigan", "raven", "reindeer"};
    const int validation = options.images / 10, test = options.images / 5;
    const std::array<int, 3> sizes{options.images - validation - test, validation, test};
    std::vector<Group> groups;
    for (size_t split = 0; split < 3; ++split)
        for (size_t i = 0; i < labels.size(); ++i) {
            const int share = sizes[split] / int(labels.size()), rest = sizes[split] % int(labels.size());
            groups.push_back({split, labels[i], share + (int(i) < rest ? 1 : 0)});
        }
    return groups;
}

class Planner {
public:
    Planner(const SynthOptions& options, ShotPlan& plan)
        : options_(options), plan_(plan), unseen_(std::max(1, options.cameras / 6)) {}

    void burst(const Group& group, int room, bool unseen, Rng rng) {
        const int seen = options_.cameras - unseen_;
        const int number = unseen ? seen + rng.below(unseen_) : rng.below(seen);
        const Site& site = plan_.sites[size_t(number)];
        const bool good = group.label != "bad";
        const auto mishap = static_cast<Spoil>(rng.weighted(kMishaps));
        const Spoil spoil = good ? Spoil::none : mishap;
        Moment moment = cast_weather(mishap, rng.split(1));
        const Blemish blemish = cast_blemish(spoil, options_.task == SynthTask::detect, rng.split(2));
        const std::vector<Subject> party = cast_subjects(options_.task, group.label, site, moment, rng.split(3));
        const float pace = party.empty() ? 300 : rng.uniform(1, 4);
        const std::array<float, 3> lengths{party.empty() ? 60.0f : 35.0f, 25, 25};
        const int frames = std::min(room, 1 + int(rng.weighted(lengths)));
        int64_t start = 20089 * kDay + moment.day * kDay + int64_t(moment.hour * 3600);  // day 20089: 2025-01-01
        if (party.empty()) start -= start % 300;
        const float exposure = std::exp(0.18f * rng.normal()), tone = std::exp(0.05f * rng.normal());
        const bool strip = site.make != "FJELLCAM";
        ++bursts_;
        for (int frame = 0; frame < frames; ++frame) {
            const float later = float(int(pace * float(frame)));
            Shot shot{.split = kSplits[group.split],
                      .label = group.label,
                      .name = "",
                      .site = number,
                      .burst = bursts_,
                      .frame = frame,
                      .seconds = start + int64_t(later),
                      .moment = moment,
                      .blemish = blemish,
                      .subjects = moved(party, later),
                      .exposure = exposure * std::exp(0.05f * rng.normal()),
                      .tone = tone,
                      .strip = "",
                      .noise = rng.bits()};
            if (options_.task == SynthTask::species)  // the labelled subject stays in the image
                for (Subject& subject : shot.subjects)
                    subject.x = std::clamp(subject.x, -0.3f * subject.z / site.focal, 0.3f * subject.z / site.focal);
            shot.moment.hour += later / 3600;
            shot.moment.instant = shot.noise;
            spoil_moment(shot.moment, blemish);
            if (strip) shot.strip = strip_text(shot, site);
            plan_.shots.push_back(std::move(shot));
        }
    }

private:
    const SynthOptions& options_;
    ShotPlan& plan_;
    int unseen_, bursts_ = 0;
};

}  // namespace

std::string exif_date(int64_t seconds_1970) {
    using namespace std::chrono;
    const sys_seconds when{seconds(seconds_1970)};
    const year_month_day date(floor<days>(when));
    const hh_mm_ss time(when - floor<days>(when));
    return fmt::format("{:04}:{:02}:{:02} {:02}:{:02}:{:02}", int(date.year()), unsigned(date.month()),
                       unsigned(date.day()), time.hours().count(), time.minutes().count(), time.seconds().count());
}

ShotPlan plan_shots(const SynthOptions& options) {
    ShotPlan plan;
    for (int i = 0; i < options.cameras; ++i) plan.sites.push_back(make_site(i, options.seed));
    Planner planner(options, plan);
    const Rng base = Rng(options.seed).split(0xb0057);
    uint64_t stream = 0;
    for (const Group& group : divide(options))
        for (int made = 0; made < group.count;) {
            const bool unseen = group.split == 2 && made < group.count / 2;
            const size_t before = plan.shots.size();
            planner.burst(group, (unseen ? group.count / 2 : group.count) - made, unseen, base.split(stream++));
            made += int(plan.shots.size() - before);
        }
    // Camera by camera, so that few scenes have to be kept; numbered like a camera numbers its files.
    std::stable_sort(plan.shots.begin(), plan.shots.end(), [](const Shot& a, const Shot& b) {
        return std::tuple(a.site, a.seconds) < std::tuple(b.site, b.seconds);
    });
    int number = 0;
    for (size_t i = 0; i < plan.shots.size(); ++i) {
        Shot& shot = plan.shots[i];
        number = i > 0 && plan.shots[i - 1].site == shot.site ? number + 1 : 1;
        std::string date = exif_date(shot.seconds).substr(0, 10);
        date.erase(std::remove(date.begin(), date.end(), ':'), date.end());
        shot.name = fmt::format("cam{:02}_{}_{:04}.jpg", shot.site + 1, date, number);
    }
    return plan;
}

SynthImage render_shot(const Scene& scene, const Shot& shot) {
    SynthImage result;
    Raster image = scene.draw(shot.moment);
    result.placed = draw_subjects(image, shot.subjects, scene, shot.moment);
    const Light light = light_of(shot.moment, scene.site());
    spoil_image(image, shot.blemish, shot.moment, light);
    result.rgb = develop(
        image,
        {.exposure = shot.exposure, .grey = light.infrared, .tone = shot.tone, .strip = shot.strip, .key = shot.noise});
    if (!shot.strip.empty()) {
        const int end = scene.height() - strip_height(scene.height());
        for (Placed& placed : result.placed) placed.box.bottom = std::min(placed.box.bottom, end);
        std::erase_if(result.placed, [](const Placed& placed) { return placed.box.empty(); });
    }
    return result;
}
