// Seasons, weather, lens and subjects by chance.
#include "app/synth/cast.h"

#include <array>

namespace {

// Snow lies from October to May; its depth differs from week to week.
float snow_on(int day, Rng& rng) {
    const float winter = smooth_step(272, 330, float(day)) + 1 - smooth_step(118, 165, float(day));
    return winter <= 0 ? 0.0f : saturate(winter * rng.uniform(0.5f, 0.92f) + 0.05f * rng.normal());
}

float autumn_on(int day) { return smooth_step(222, 250, float(day)); }

float wilt_on(int day) { return std::max(smooth_step(262, 290, float(day)), 1 - smooth_step(150, 182, float(day))); }

// How often each Spoil ruins an image.
constexpr std::array<float, kSpoils> kMishaps{0, 20, 10, 18, 10, 18, 14, 10};

}  // namespace

void cast_weather(Moment& moment, Rng& rng) {
    moment.snow = snow_on(moment.day, rng);
    moment.autumn = autumn_on(moment.day);
    moment.wilt = wilt_on(moment.day);
    moment.cloud = rng.chance(0.3f) ? 1.0f : rng.uniform();
    moment.visibility = rng.chance(0.25f) ? rng.uniform(60, 250) : rng.uniform(2e3f, 3e4f);
    if (moment.snow > 0.15f && rng.chance(0.3f)) moment.snowfall = rng.uniform(0.08f, 0.6f);
    moment.weather = rng.bits();
}

Spoil cast_mishap(Rng& rng) { return static_cast<Spoil>(rng.weighted(kMishaps)); }

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

Subject cast_subject(Kind kind, const SynthSite& site, const Moment& moment, Rng rng) {
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

void cast_party(std::vector<Subject>& party, Kind kind, const SynthSite& site, const Moment& moment, Rng rng) {
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
