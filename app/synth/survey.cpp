// Casts a season camera by camera, and writes what is true of it.
#include "app/synth/survey.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <tuple>

#include "app/detect/result_file.h"
#include "app/synth/cast.h"
#include "base/error.h"

namespace {

constexpr int64_t kDay = 86400, kNewYear = 20089 * kDay;  // 2025-01-01
constexpr int kFirstDay = 232, kDays = 75;                // 21 August to 4 November: autumn, nights, the first snow
constexpr int64_t kReset = 17532 * kDay;                  // 2018-01-01, where a clock without battery starts
constexpr int kAnimals = 5;
constexpr float kSpoiled = 0.12f;  // of the bursts

std::string site_name(int camera) { return fmt::format("site{:02}", camera / 2 + 1); }
std::string camera_name(int camera) { return fmt::format("cam{:02}", camera + 1); }
int64_t season_start() { return kNewYear + kFirstDay * kDay; }
int64_t clock_error(const SynthOptions& options, int camera) {
    return camera == options.cameras - 1 ? kReset - season_start() : 0;
}

// Every site lacks two species; how common the others are differs as well.
std::array<float, kAnimals> fauna(const SynthOptions& options, int site) {
    Rng rng = Rng(options.seed).split(0xfa00a + uint64_t(site));
    std::array<float, kAnimals> often;
    for (float& one : often) one = rng.uniform(0.3f, 1);
    often[size_t(site % kAnimals)] = often[size_t((site + 2) % kAnimals)] = 0;
    return often;
}

// One to three things per camera that never move; on every fourth camera none.
std::vector<Subject> rocks_of(const SynthOptions& options, const SynthSite& site) {
    const std::array<int, 4> numbers{2, 1, 0, 3};
    Rng rng = Rng(options.seed).split(0x90c4 + uint64_t(site.number));
    const int number = numbers[size_t(site.number % 4)];
    std::vector<Subject> rocks;
    for (int i = 0; i < number; ++i) {
        Subject rock{.kind = Kind::rock, .key = rng.bits()};
        rock.z = std::max(2.5f * site.mount, rng.uniform(3.5f, 7));
        rock.x = (-0.35f + 0.7f * (float(i) + rng.uniform(0.2f, 0.8f)) / float(number)) * rock.z / site.focal;
        rock.heading = rng.chance(0.5f) ? 1.0f : -1.0f;
        rock.size = rng.uniform(0.8f, 1.3f);
        rocks.push_back(rock);
    }
    return rocks;
}

struct Event {
    int64_t start = 0;  // true time
    int frames = 1;
    Moment moment;
    Blemish blemish;
    std::vector<Subject> party;
    Rng rng{0};
};

void choose_party(Event& event, const std::array<float, kAnimals>& often, const SynthSite& site) {
    constexpr std::array<float, 4> shares{42, 42, 10, 6};  // nothing, animals, people, vehicles
    Rng rng = event.rng.split(1);
    const size_t draw = rng.weighted(shares);
    if (draw == 0) return;
    Kind kind = static_cast<Kind>(rng.weighted(often));
    if (draw == 2) kind = Kind::person;
    if (draw == 3) kind = event.moment.snow > 0.4f ? Kind::snowmobile : Kind::atv;
    cast_party(event.party, kind, site, event.moment, rng.split(2));
    // Nobody answers for animals of a few pixels: they come as near as a sixteenth of the image's height.
    for (Subject& one : event.party)
        if (const float farthest = site.focal * 1.33f * height_of(kind) * 16; one.z > farthest) {
            one.x *= farthest / one.z;
            one.z = farthest;
        }
}

// When it happens, and what spoils it.
void choose_moment(Event& event, Spoil mishap) {
    const int64_t since = event.start - kNewYear;
    Rng rng = event.rng.split(3);
    event.moment.day = int(since / kDay);
    event.moment.hour = float(since % kDay) / 3600;
    cast_weather(event.moment, rng);
    if (mishap == Spoil::dark && !is_night(event.moment)) mishap = Spoil::blurred;  // a flash fails at night only
    event.blemish = cast_blemish(mishap, false, event.rng.split(4));
    spoil_moment(event.moment, event.blemish);
}

// The bursts of a camera: each has a part of the season for itself; one in four is followed by another of the same
// visit, minutes later.
std::vector<Event> plan_events(const SynthOptions& options, const SynthSite& site, int images) {
    const std::array<float, kAnimals> often = fauna(options, site.number / 2);
    Rng rng = Rng(options.seed).split(0x5ea50 + uint64_t(site.number));
    std::vector<int> frames, visits;  // per burst: its images, and the visit that it belongs to
    for (int left = images, visit = -1; left > 0; left -= frames.back()) {
        frames.push_back(std::min(left, 1 + rng.below(4)));
        if (visit < 0 || !rng.chance(0.25f)) ++visit;
        visits.push_back(visit);
    }
    std::vector<Event> events;
    for (size_t i = 0; i < frames.size(); ++i) {
        const double slot = double(kDays * kDay) / (visits.back() + 1);
        Event event;
        event.frames = frames[i];
        event.rng = rng.split(i + 1);
        const bool again = i > 0 && visits[i] == visits[i - 1] && !events.back().party.empty();
        const Spoil mishap = rng.chance(kSpoiled) ? cast_mishap(rng) : Spoil::none;
        const float when = rng.uniform();
        const double offset = i > 0 && visits[i] == visits[i - 1] ? double(events.back().start - season_start()) +
                                                                        std::min(slot / 8, 180 + 600.0 * when)
                                                                  : slot * (visits[i] + 0.6 * when);
        event.start = season_start() + int64_t(offset);
        choose_moment(event, mishap);
        if (again) {  // the same animals, which walked on
            const Subject& first = events.back().party[0];
            cast_party(event.party, first.kind, site, event.moment, event.rng.split(5));
            for (Subject& one : event.party) one.z = std::min(one.z, first.z * 1.3f);
        } else {
            choose_party(event, often, site);
        }
        events.push_back(std::move(event));
    }
    std::ranges::stable_sort(events, {}, &Event::start);
    return events;
}

class Table {  // CSV without fields that need quotes
public:
    Table(std::filesystem::path path, const char* head) : path_(std::move(path)), file_(path_, std::ios::binary) {
        file_ << head << '\n';
    }
    template <class... Values>
    void row(fmt::format_string<Values...> format, Values&&... values) {
        file_ << fmt::format(format, std::forward<Values>(values)...) << '\n';
    }
    void close() {
        file_.close();
        if (!file_) fail(Fault::environment, "{}: cannot be written", path_.string());
    }

private:
    std::filesystem::path path_;
    std::ofstream file_;
};

std::string iso_date(int64_t seconds) {
    std::string date = exif_date(seconds);
    date[4] = date[7] = '-';
    return date;
}

const char* category_name(Kind kind) {
    constexpr std::array<const char*, 3> names{"animal", "person", "vehicle"};
    return kind == Kind::rock ? "rock" : names[size_t(category_of(kind))];
}

std::string image_name(const Shot& shot) { return shot.split.substr(7) + "/" + shot.label + "/" + shot.name; }

// Boxes of a detector are a few pixels off, and a rock is not always one.
ImageResult detector_answer(const SynthOptions& options, const Shot& shot, const std::vector<Placed>& placed) {
    ImageResult result{.file = image_name(shot)};
    Rng rng = Rng(shot.noise).split(7);
    std::vector<Box> boxes;
    for (const Placed& one : placed) {
        const bool rock = one.kind == Kind::rock, bad = shot.blemish.spoil != Spoil::none;
        const float seen = rng.uniform(), score = rng.uniform();
        const auto near = [&](int at, int size) { return float(at) + float(size) * rng.uniform(-0.012f, 0.012f); };
        const int w = one.box.right - one.box.left, h = one.box.bottom - one.box.top;
        const Box box{.x1 = std::max(0.0f, near(one.box.left, w)),
                      .y1 = std::max(0.0f, near(one.box.top, h)),
                      .x2 = std::min(float(options.width), near(one.box.right, w)),
                      .y2 = std::min(float(options.height), near(one.box.bottom, h)),
                      .score = rock ? 0.15f + 0.6f * score : 0.55f + 0.43f * score,
                      .category = category_of(one.kind)};
        if (seen < (rock ? 0.7f : 1.0f) * (bad ? 0.33f : 1.0f)) boxes.push_back(box);
    }
    std::ranges::stable_sort(boxes, std::ranges::greater{}, &Box::score);
    result.detections = detections_of(boxes, size_t(options.height), size_t(options.width));
    return result;
}

void write_truth(const SynthOptions& options, const ShotPlan& plan, const std::vector<std::vector<Placed>>& placed) {
    Table truth(options.out / "truth.csv",
                "image,site,camera,time,clock,sequence,quality,fault,label,category,x,y,width,height");
    for (size_t i = 0; i < plan.shots.size(); ++i) {
        const Shot& shot = plan.shots[i];
        const bool good = shot.blemish.spoil == Spoil::none;
        const std::string image =
            fmt::format("{},{},{},{},{},{},{},{}", image_name(shot), site_name(shot.site), camera_name(shot.site),
                        iso_date(shot.seconds - shot.fast), iso_date(shot.seconds), shot.burst, good ? "good" : "bad",
                        good ? "" : name_of(shot.blemish.spoil));
        if (placed[i].empty()) truth.row("{},,,,,,", image);
        for (const Placed& one : placed[i]) {
            const double w = options.width, h = options.height;
            truth.row("{},{},{},{:.5f},{:.5f},{:.5f},{:.5f}", image, name_of(one.kind), category_name(one.kind),
                      one.box.left / w, one.box.top / h, (one.box.right - one.box.left) / w,
                      (one.box.bottom - one.box.top) / h);
        }
    }
    truth.close();
}

void write_places(const SynthOptions& options) {
    Table sites(options.out / "sites.csv", "site,latitude,longitude,classes");
    Table deployments(options.out / "deployments.csv",
                      "deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd,cameraID");
    const auto date = [](int64_t seconds) {
        std::string text = iso_date(seconds);
        text[10] = 'T';
        return text + "Z";
    };
    for (int camera = 0; camera < options.cameras; ++camera) {
        const int site = camera / 2;
        const double latitude = 70.1 + 0.031 * site, longitude = 29.3 + 0.057 * (site % 7);
        if (camera % 2 == 0) {
            const std::array<float, kAnimals> often = fauna(options, site);
            std::string species;
            for (int i = 0; i < kAnimals; ++i)
                if (often[size_t(i)] > 0) species += (species.empty() ? "" : "|") + std::string(name_of(Kind(i)));
            sites.row("{},{:.5f},{:.5f},{}", site_name(camera), latitude, longitude, species);
        }
        deployments.row("{0}/{1},{0},{2:.5f},{3:.5f},{4},{5},{1}", site_name(camera), camera_name(camera), latitude,
                        longitude, date(season_start()), date(season_start() + kDays * kDay));
    }
    sites.close();
    deployments.close();
}

}  // namespace

void plan_season(const SynthOptions& options, ShotPlan& plan) {
    int burst = 0;
    for (const SynthSite& site : plan.sites) {
        const int images = options.images / options.cameras + (site.number < options.images % options.cameras);
        const std::vector<Subject> rocks = rocks_of(options, site);
        int number = 0;
        for (const Event& event : plan_events(options, site, images)) {
            Rng rng = event.rng.split(6);
            const float pace = rng.uniform(1, 4), exposure = std::exp(0.18f * rng.normal());
            const float tone = std::exp(0.05f * rng.normal());
            ++burst;
            for (int frame = 0; frame < event.frames; ++frame) {
                const float later = float(int(pace * float(frame)));
                Shot shot{.split = "images/" + site_name(site.number),
                          .label = camera_name(site.number),
                          .name = fmt::format("IMG_{:04}.JPG", ++number),
                          .site = site.number,
                          .burst = burst,
                          .frame = frame,
                          .seconds = 0,
                          .fast = clock_error(options, site.number),
                          .moment = event.moment,
                          .blemish = event.blemish,
                          .subjects = moved(event.party, later),
                          .exposure = exposure * std::exp(0.05f * rng.normal()),
                          .tone = tone,
                          .strip = "",
                          .noise = rng.bits()};
                shot.seconds = event.start + int64_t(later) + shot.fast;
                shot.subjects.insert(shot.subjects.end(), rocks.begin(), rocks.end());
                shot.moment.hour += later / 3600;
                shot.moment.instant = shot.noise;
                if (site.make != "FJELLCAM") shot.strip = strip_text(shot, site);
                plan.shots.push_back(std::move(shot));
            }
        }
    }
}

void write_season(const SynthOptions& options, const ShotPlan& plan, const std::vector<std::vector<Placed>>& placed) {
    write_truth(options, plan, placed);
    write_places(options);
    const ResultHead head{.categories = {{"1", "animal"}, {"2", "person"}, {"3", "vehicle"}},
                          .info = {{"detector", "tundra synth"}, {"detection_completion_time", "2025-11-05 12:00:00"}}};
    write_results(options.out / "detector.json", ResultFormat::megadetector, head, {},
                  {.count = plan.shots.size(),
                   .at = [&](size_t i) { return ResultEntry(detector_answer(options, plan.shots[i], placed[i])); }});
}
