// The image generator: same bytes from the same seed, exact boxes, the promised folders, EXIF and COCO files.
#include "app/synth/synth.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/detect/result_file.h"
#include "app/synth/plan.h"
#include "base/csv.h"
#include "base/error.h"
#include "data/exif.h"

namespace {

namespace fs = std::filesystem;

// A folder of its own that goes away with the test.
struct TemporaryFolder {
    fs::path path;
    TemporaryFolder() {
        std::string pattern = (fs::temp_directory_path() / "synth_XXXXXX").string();
        path = mkdtemp(pattern.data());
    }
    ~TemporaryFolder() { fs::remove_all(path); }
};

SynthOptions small(const fs::path& out, SynthTask task = SynthTask::quality) {
    return {.out = out, .task = task, .images = 60, .width = 160, .height = 120, .seed = 7, .cameras = 4, .threads = 2};
}

std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Relative path to content, of every file below.
std::map<std::string, std::string> contents(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file()) files[fs::relative(entry.path(), folder).string()] = bytes_of(entry.path());
    return files;
}

Exif exif_of(const std::string& bytes) {
    return read_exif({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

}  // namespace

TEST(Synth, BytesDependOnTheSeedAlone) {
    for (SynthTask task : {SynthTask::quality, SynthTask::detect, SynthTask::species, SynthTask::survey}) {
        const TemporaryFolder one, four, other;
        SynthOptions options = small(one.path, task);
        options.threads = 1;
        synthesize(options);
        options.out = four.path;
        options.threads = 4;
        synthesize(options);
        EXPECT_EQ(contents(one.path), contents(four.path));
        options.out = other.path;
        options.seed = 8;
        synthesize(options);
        std::set<std::string> seen;
        for (const auto& [name, bytes] : contents(one.path)) seen.insert(bytes);
        for (const auto& [name, bytes] : contents(other.path))
            EXPECT_EQ(seen.contains(bytes), name == "sites.csv" || name == "deployments.csv") << name;
    }
}

TEST(Synth, QualityFoldersAreBalancedAndBurstsStayTogether) {
    const TemporaryFolder folder;
    int calls = 0, last = 0;
    const SynthOptions options = small(folder.path);
    const SynthSummary summary = synthesize(options, [&](int done, int total) {
        ++calls;
        EXPECT_EQ(done, last + 1);
        EXPECT_EQ(total, 60);
        last = done;
    });
    EXPECT_EQ(summary.images, 60);
    EXPECT_EQ(calls, 60);
    std::map<std::string, int> counts;
    for (const auto& [name, bytes] : contents(folder.path)) ++counts[fs::path(name).parent_path().string()];
    const std::map<std::string, int> expected{{"train/bad", 21},      {"train/good", 21}, {"validation/bad", 3},
                                              {"validation/good", 3}, {"test/bad", 6},    {"test/good", 6}};
    EXPECT_EQ(counts, expected);

    std::map<int, std::set<std::string>> splits_of_burst;
    std::map<std::string, std::set<int>> cameras;
    for (const Shot& shot : plan_shots(options).shots) {
        splits_of_burst[shot.burst].insert(shot.split);
        cameras[shot.split].insert(shot.site);
        EXPECT_EQ(shot.label == "good", shot.blemish.spoil == Spoil::none);
    }
    for (const auto& [burst, splits] : splits_of_burst) EXPECT_EQ(splits.size(), 1u) << "burst " << burst;
    int unseen = 0;
    for (int camera : cameras["test"])
        unseen += !cameras["train"].contains(camera) && !cameras["validation"].contains(camera);
    EXPECT_GE(unseen, 1);
}

TEST(Synth, OddCountsAddUp) {
    for (int images : {10, 11, 97})
        for (SynthTask task : {SynthTask::quality, SynthTask::detect, SynthTask::species, SynthTask::survey}) {
            SynthOptions options = small("unused", task);
            options.images = images;
            const ShotPlan plan = plan_shots(options);
            EXPECT_EQ(plan.shots.size(), size_t(images));
            std::set<std::string> names;
            for (const Shot& shot : plan.shots) names.insert(shot.label + "/" + shot.name);
            EXPECT_EQ(names.size(), plan.shots.size());
        }
}

TEST(Synth, ExifSaysWhenAndWhichCamera) {
    const TemporaryFolder folder;
    const SynthOptions options = small(folder.path, SynthTask::species);
    synthesize(options);
    for (const Shot& shot : plan_shots(options).shots) {
        const Exif exif = exif_of(bytes_of(folder.path / shot.split / shot.label / shot.name));
        const SynthSite site = make_site(shot.site, options.seed);
        EXPECT_EQ(exif.date, exif_date(shot.seconds));
        EXPECT_EQ(exif_seconds(exif.date), shot.seconds);
        EXPECT_EQ(exif.make, site.make);
        EXPECT_EQ(exif.model, site.model);
        EXPECT_EQ(exif.serial, site.serial);
    }
}

TEST(Synth, BurstsAreSecondsApart) {
    const ShotPlan plan = plan_shots({.out = "unused", .task = SynthTask::detect, .images = 200});
    std::map<int, std::pair<int64_t, int64_t>> span;
    std::map<int, bool> inhabited;
    for (const Shot& shot : plan.shots) {
        auto [at, fresh] = span.try_emplace(shot.burst, shot.seconds, shot.seconds);
        at->second = {std::min(at->second.first, shot.seconds), std::max(at->second.second, shot.seconds)};
        inhabited[shot.burst] = !shot.subjects.empty();
    }
    for (const auto& [burst, times] : span)
        EXPECT_LE(times.second - times.first, inhabited[burst] ? 10 : 900) << "burst " << burst;
}

TEST(Synth, BoxesAreTheExtentOfWhatIsSeen) {
    // A lone subject: the image differs from the empty one inside the box, and beyond it only by the shadow below.
    const Scene scene(make_site(1, 3), 320, 240);
    Moment moment{.day = 172, .hour = 12};
    for (int kind = 0; kind < kKinds; ++kind)
        for (float z : {4.0f, 9.0f}) {
            const Subject subject{.kind = static_cast<Kind>(kind), .x = 0.3f, .z = z, .stride = 1, .key = 11};
            const Cutout cutout = cut_out(subject, scene, moment);
            int left = 1000, top = 1000, right = 0, bottom = 0;
            for (int y = cutout.area.top; y < cutout.area.bottom; ++y)
                for (int x = cutout.area.left; x < cutout.area.right; ++x)
                    if (cutout.alpha[cutout.index(x, y)] >= kSeen) {
                        left = std::min(left, x), right = std::max(right, x + 1);
                        top = std::min(top, y), bottom = std::max(bottom, y + 1);
                    }
            Raster image = scene.draw(moment);
            const Raster empty = image;
            const std::vector<Placed> placed = draw_subjects(image, {subject}, scene, moment);
            ASSERT_EQ(placed.size(), 1u) << name_of(subject.kind) << " at " << z;
            const Bounds box = placed[0].box;
            EXPECT_EQ(box.left, left);
            EXPECT_EQ(box.top, top);
            EXPECT_EQ(box.right, right);
            EXPECT_EQ(box.bottom, bottom);
            // Above the box nothing changed but the faintest of edges.
            for (int y = 0; y < box.top - 2; ++y)
                for (int x = 0; x < image.width; ++x) ASSERT_EQ(image.at(x, y).g, empty.at(x, y).g);
            // Near means large.
            EXPECT_GT(box.bottom - box.top, int(0.5f * height_of(subject.kind) * scene.pixels_per_metre(z)));
        }
}

TEST(Synth, WhatIsHiddenHasNoBox) {
    const Scene scene(make_site(1, 3), 320, 240);
    const Moment moment{.day = 172, .hour = 12};
    const Subject near{.kind = Kind::snowmobile, .x = 0, .z = 4, .key = 1},
        far{.kind = Kind::ptarmigan, .x = 0.05f, .z = 5, .key = 2};
    Raster image = scene.draw(moment);
    const Bounds alone = draw_subjects(image, {near}, scene, moment).at(0).box;
    Raster both = scene.draw(moment);
    const std::vector<Placed> placed = draw_subjects(both, {near, far}, scene, moment);
    ASSERT_EQ(placed.size(), 1u);
    EXPECT_EQ(placed[0].kind, Kind::snowmobile);
    EXPECT_EQ(placed[0].box.left, alone.left);
    for (size_t i = 0; i < both.pixels.size(); ++i) ASSERT_EQ(both.pixels[i].g, image.pixels[i].g);
}

TEST(Synth, CocoFilesAreWhole) {
    const TemporaryFolder folder;
    SynthOptions options = small(folder.path, SynthTask::detect);
    options.images = 120;
    const SynthSummary summary = synthesize(options);
    std::map<std::string, nlohmann::json> files;
    for (const char* name : {"", "_train", "_validation", "_test"})
        files[name] = nlohmann::json::parse(bytes_of(folder.path / (std::string("annotations") + name + ".json")));
    EXPECT_EQ(files[""]["images"].size(), 120u);
    EXPECT_EQ(files["_train"]["images"].size(), 84u);
    EXPECT_EQ(files["_validation"]["images"].size(), 12u);
    EXPECT_EQ(files["_test"]["images"].size(), 24u);
    EXPECT_EQ(files[""]["annotations"].size(), size_t(summary.boxes));
    EXPECT_EQ(files["_train"]["annotations"].size() + files["_validation"]["annotations"].size() +
                  files["_test"]["annotations"].size(),
              size_t(summary.boxes));
    std::set<int> used;
    for (const auto& [name, coco] : files) {
        ASSERT_EQ(coco["categories"].size(), 3u);
        EXPECT_EQ(coco["categories"][0]["name"], "animal");
        EXPECT_EQ(coco["categories"][1]["name"], "person");
        EXPECT_EQ(coco["categories"][2]["name"], "vehicle");
        std::set<int> images, boxes;
        for (const auto& image : coco["images"]) {
            EXPECT_TRUE(images.insert(image["id"].get<int>()).second);
            EXPECT_TRUE(fs::is_regular_file(folder.path / image["file_name"].get<std::string>()));
            EXPECT_EQ(image["width"], 160);
            EXPECT_EQ(image["height"], 120);
        }
        for (const auto& box : coco["annotations"]) {
            EXPECT_TRUE(boxes.insert(box["id"].get<int>()).second);
            EXPECT_TRUE(images.contains(box["image_id"].get<int>()));
            used.insert(box["category_id"].get<int>());
            const int x = box["bbox"][0], y = box["bbox"][1], w = box["bbox"][2], h = box["bbox"][3];
            EXPECT_GE(x, 0);
            EXPECT_GE(y, 0);
            EXPECT_GT(w, 0);
            EXPECT_GT(h, 0);
            EXPECT_LE(x + w, 160);
            EXPECT_LE(y + h, 120);
            EXPECT_EQ(box["area"], w * h);
        }
    }
    EXPECT_EQ(used, (std::set<int>{1, 2, 3}));
}

TEST(Synth, SpeciesImagesShowTheirSpecies) {
    SynthOptions options = small("unused", SynthTask::species);
    const ShotPlan plan = plan_shots(options);
    std::map<int, Scene> scenes;
    for (const Shot& shot : plan.shots) {
        const Scene& scene = scenes.try_emplace(shot.site, plan.sites[size_t(shot.site)], 160, 120).first->second;
        const std::vector<Placed> placed = render_shot(scene, shot).placed;
        if (shot.label == "empty")
            EXPECT_TRUE(placed.empty());
        else {
            ASSERT_FALSE(placed.empty()) << shot.label << " " << shot.name;
            EXPECT_EQ(name_of(placed[0].kind), shot.label);
        }
    }
}

TEST(Synth, NonsenseIsRefused) {
    const TemporaryFolder folder;
    for (auto spoil : std::vector<void (*)(SynthOptions&)>{
             [](SynthOptions& o) { o.images = 0; }, [](SynthOptions& o) { o.width = 10; },
             [](SynthOptions& o) { o.height = 100000; }, [](SynthOptions& o) { o.cameras = 1; },
             [](SynthOptions& o) { o.jpeg_quality = 0; }, [](SynthOptions& o) { o.out = ""; }}) {
        SynthOptions options = small(folder.path);
        spoil(options);
        try {
            synthesize(options);
            ADD_FAILURE() << "accepted";
        } catch (const Error& error) {
            EXPECT_EQ(error.fault, Fault::usage);
        }
    }
}

// 0.4 s.
TEST(Synth, ASeasonHasEveryTroubleAndItsTruth) {
    const TemporaryFolder folder;
    const fs::path images = folder.path / "images";
    SynthOptions options = small(folder.path, SynthTask::survey);
    options.images = 240;
    synthesize(options);
    const std::vector<CsvRow> truth = parse_csv(bytes_of(folder.path / "truth.csv"), "truth.csv");
    std::map<std::string, std::set<std::string>> fauna, clocks, boxes_of_rocks;  // by site, by camera, by camera
    std::set<std::string> seen, faults, labels;
    std::map<std::string, std::set<std::string>> images_of_burst;
    for (size_t i = 1; i < truth.size(); ++i) {
        const std::vector<std::string>& f = truth[i].fields;
        ASSERT_EQ(f.size(), 14u);
        const int64_t time = exif_seconds(f[3]), clock = exif_seconds(f[4]);
        clocks[f[2]].insert(std::to_string(clock - time));
        EXPECT_EQ(f[0].substr(0, 13), f[1] + "/" + f[2] + "/");
        EXPECT_EQ(exif_seconds(exif_of(bytes_of(images / f[0])).date), clock);
        EXPECT_EQ(f[6] == "good", f[7].empty());
        seen.insert(f[0]), faults.insert(f[7]), labels.insert(f[8]);
        if (f[9] == "animal") fauna[f[1]].insert(f[8]);
        if (f[9] == "rock" && std::stod(f[10]) > 0 && std::stod(f[10]) + std::stod(f[12]) < 1)
            boxes_of_rocks[f[2]].insert(f[10] + " " + f[11] + " " + f[12] + " " + f[13]);
        images_of_burst[f[5]].insert(f[0]);
    }
    EXPECT_EQ(seen.size(), 240u);
    EXPECT_GE(faults.size(), 5u);
    for (const char* label : {"", "rock", "person", "reindeer", "raven"}) EXPECT_TRUE(labels.contains(label)) << label;
    const std::vector<CsvRow> sites = parse_csv(bytes_of(folder.path / "sites.csv"), "sites.csv");
    ASSERT_EQ(sites.size(), 3u);
    for (size_t i = 1; i < sites.size(); ++i) {
        const std::string& classes = sites[i].fields[3];
        EXPECT_EQ(std::ranges::count(classes, '|'), 2) << classes;
        for (const std::string& species : fauna[sites[i].fields[0]])
            EXPECT_NE(classes.find(species), std::string::npos) << species;
    }
    ASSERT_EQ(clocks.size(), 4u);
    for (const auto& [camera, errors] : clocks) {
        EXPECT_EQ(errors.size(), 1u) << camera;
        EXPECT_EQ(*errors.begin() == "0", camera != "cam04") << camera;
    }
    EXPECT_EQ(boxes_of_rocks.size(), 3u);
    size_t bursts = 0;
    for (const auto& [burst, names] : images_of_burst) bursts += names.size() > 1;
    EXPECT_GT(bursts, 20u);

    const ResultFile detector = read_results(folder.path / "detector.json");
    EXPECT_EQ(detector.images.size(), 240u);
    for (const auto& [name, entry] : detector.images) EXPECT_TRUE(fs::exists(images / name));
}
