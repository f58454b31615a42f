// Casts seasons, weather, animals and mishaps for every burst.
#include "app/synth/plan.h"

#include <fmt/format.h>

#include <array>
#include <chrono>

#include "app/synth/cast.h"
#include "app/synth/develop.h"
#include "app/synth/survey.h"

namespace {

constexpr std::array<const char*, 3> kSplits{"train", "validation", "test"};
constexpr int64_t kDay = 86400;

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

Moment cast_moment(Spoil spoil, Rng rng) {
    Moment moment;
    choose_time(moment, spoil, rng);
    cast_weather(moment, rng);
    moment.shift = {rng.normal() * 0.011f, rng.normal() * 0.011f};
    return moment;
}

std::vector<Subject> cast_subjects(SynthTask task, const std::string& label, const SynthSite& site,
                                   const Moment& moment, Rng rng) {
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

}  // namespace

std::string strip_text(const Shot& shot, const SynthSite& site) {
    std::string date = exif_date(shot.seconds);
    date[4] = date[7] = '-';
    const int warm = int(9 - 20 * shot.moment.snow + 6 * std::sin((shot.moment.hour - 9) * 0.26f));
    return fmt::format("{} {}*C {}", date, warm, site.make);
}

namespace {

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
        const SynthSite& site = plan_.sites[size_t(number)];
        const bool good = group.label != "bad";
        const Spoil mishap = cast_mishap(rng);
        const Spoil spoil = good ? Spoil::none : mishap;
        Moment moment = cast_moment(mishap, rng.split(1));
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
    if (options.task == SynthTask::survey) {
        plan_season(options, plan);
        return plan;
    }
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
