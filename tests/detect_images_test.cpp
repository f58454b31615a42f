// What whole detections make of images: tiles and their seams, orientations, and every kind of bad file or name.
#include <sys/stat.h>

#include "base/error.h"
#include "engine/program.h"
#include "tests/detect_fixture.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class DetectImages : public DetectTest {
protected:
    DetectJob magenta_job(const std::string& out) const {
        DetectJob j = job(out);
        j.network = at_once(magenta_network);
        return j;
    }
    // The one detection of an image, in its pixels.
    static ImageRegion only_area(const json& image, size_t h, size_t w) {
        EXPECT_EQ(image["detections"].size(), 1u) << image;
        if (image["detections"].empty()) return {};
        const std::vector<double> box = image["detections"][0]["bbox"];
        const auto pixels = [](double v, size_t side) { return size_t(std::lround((v + 0.5e-4) * double(side))); };
        return {pixels(box[1], h), pixels(box[0], w), pixels(box[3], h), pixels(box[2], w)};
    }
};

TEST(Tiles, CoverTheImageAndOverlap) {
    for (const auto& [h, w, side, overlap] : {std::tuple(3000, 4000, 1280, 0.5),
                                              {1280, 1280, 1280, 0.5},
                                              {1281, 90, 1280, 0.5},
                                              {50, 2000, 640, 0.2},
                                              {700, 700, 640, 0.0},
                                              {1920, 2560, 640, 0.9}}) {
        const std::vector<ImageRegion> areas = regions_of(size_t(h), size_t(w), size_t(side), overlap);
        ASSERT_EQ(areas[0].h, size_t(h));
        ASSERT_EQ(areas[0].w, size_t(w));
        if (h <= side && w <= side) {
            EXPECT_EQ(areas.size(), 1u);
            continue;
        }
        std::vector<int> seen_x(size_t(w), 0), seen_y(size_t(h), 0);
        for (size_t i = 1; i < areas.size(); ++i) {
            const ImageRegion& a = areas[i];
            EXPECT_EQ(a.h, size_t(std::min(h, side)));
            EXPECT_EQ(a.w, size_t(std::min(w, side)));
            ASSERT_LE(a.top + a.h, size_t(h));
            ASSERT_LE(a.left + a.w, size_t(w));
            if (a.top == 0) std::for_each_n(&seen_x[a.left], a.w, [](int& v) { ++v; });
            if (a.left == 0) std::for_each_n(&seen_y[a.top], a.h, [](int& v) { ++v; });
        }
        EXPECT_GE(std::ranges::min(seen_x), 1);
        EXPECT_GE(std::ranges::min(seen_y), 1);
    }
    // 4000 x 3000: six columns and four rows beside the whole.
    EXPECT_EQ(regions_of(3000, 4000, 1280, 0.5).size(), 1u + 6 * 4);
}

TEST(Tiles, PartsGiveWayToWholes) {
    const auto box = [](float x1, float y1, float x2, float y2, float score, int category = 0) {
        return Box{x1, y1, x2, y2, score, category};
    };
    // A part that scores better; a part of another class; a whole one with too small a score to count.
    std::vector<Box> found = merged_boxes(
        {{box(0, 0, 100, 100, 0.5f)}, {box(50, 0, 100, 100, 0.8f), true}, {box(60, 0, 100, 90, 0.3f, 1), true}}, 0.45f);
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].x1, 0);
    EXPECT_EQ(found[0].score, 0.8f);
    EXPECT_EQ(found[1].category, 1);
    found = merged_boxes({{box(0, 0, 100, 100, 0.1f)}, {box(50, 0, 100, 100, 0.8f), true}}, 0.6f);
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].x1, 50);
    // Not cut: a small animal before a large one stays.
    EXPECT_EQ(merged_boxes({{box(0, 0, 100, 100, 0.5f)}, {box(50, 50, 80, 80, 0.8f)}}, 0.45f).size(), 2u);
    // The usual rule between tiles: more overlap than allowed is one, of the better score; others and other classes
    // stay.
    found = merged_boxes(
        {{box(0, 0, 10, 10, 0.5f)}, {box(0, 0, 10, 9, 0.6f)}, {box(0, 0, 10, 10, 0.4f, 2)}, {box(8, 0, 18, 10, 0.2f)}},
        0.45f);
    ASSERT_EQ(found.size(), 3u);
    EXPECT_EQ(found[0].y2, 9);
    EXPECT_EQ(merged_boxes({{box(0, 0, 1, 1, 0.5f)}, {box(5, 5, 6, 6, 0.6f)}}, 0.45f, 1).size(), 1u);
}

TEST_F(DetectImages, AnObjectOnASeamIsFoundOnce) {
    std::map<std::string, ImageRegion> planted;
    for (size_t i = 0; i < 60; ++i) {
        const ImageRegion where{5 + (i * 13) % 120, 5 + (i * 37) % 165, 18, 22};  // a cut one would score best
        const std::string name = fmt::format("{:02}.png", i);
        planted[name] = where;
        temporary_.write("in/" + name, png_of(with_magenta(150, 200, where)));
    }
    // Larger than a tile, and in no tile as a whole; an image smaller than a tile; one that is as high as a tile.
    temporary_.write("in/large.png", png_of(with_magenta(150, 200, {20, 30, 110, 150})));
    temporary_.write("in/small.png", png_of(with_magenta(40, 60, {10, 20, 12, 16})));
    temporary_.write("in/flat.png", png_of(with_magenta(64, 200, {10, 90, 20, 30})));
    DetectJob j = magenta_job("r.json");
    j.tile = 64;
    j.machine.batch = 3;
    ASSERT_TRUE(detect(j).finished);
    const json file = results(j.out);
    EXPECT_EQ(file["info"]["custom_metadata"]["tundra"]["tile"], 64);
    EXPECT_EQ(file["info"]["custom_metadata"]["tundra"]["tile_overlap"], 0.5);
    for (const auto& [name, where] : planted) {
        const ImageRegion found = only_area(image(file, name), 150, 200);
        EXPECT_EQ(std::tuple(found.top, found.left, found.h, found.w),
                  std::tuple(where.top, where.left, where.h, where.w))
            << name;
    }
    const ImageRegion large = only_area(image(file, "large.png"), 150, 200);
    EXPECT_NEAR(double(large.left), 30, 4);
    EXPECT_NEAR(double(large.w), 150, 7);
    const ImageRegion flat = only_area(image(file, "flat.png"), 64, 200);
    EXPECT_EQ(std::tuple(flat.top, flat.left, flat.h, flat.w), std::tuple(10u, 90u, 20u, 30u));
    only_area(image(file, "small.png"), 40, 60);

    // Batches, threads and a stop in between do not show.
    DetectJob other = magenta_job("o.json");
    other.tile = 64;
    other.machine.batch = 1, other.machine.threads = 5;
    other.progress = [](const DetectCounts& counts, size_t) { return counts.done < 20; };
    EXPECT_FALSE(detect(other).finished);
    other.progress = {};
    EXPECT_GE(detect(other).counts.resumed, 20u);
    EXPECT_EQ(comparable(other.out), comparable(j.out));
    // An image no larger than a tile is seen as without tiles.
    DetectJob plain = magenta_job("p.json");
    plain.images = {(folder_ / "in/small.png").string()};
    detect(plain);
    EXPECT_EQ(image(results(plain.out), "small.png"), image(file, "small.png"));
}

TEST_F(DetectImages, TilesWithCropsAndCopies) {
    for (size_t i = 0; i < 4; ++i)
        temporary_.write(fmt::format("in/{}.png", i), png_of(with_magenta(150, 200, {20 * i, 30 * i + 10, 18, 22})));
    DetectJob j = magenta_job("r.json");
    j.tile = 64;
    j.outputs = {.render = folder_ / "boxes", .crops = folder_ / "crops", .threshold = 0.2};
    ASSERT_TRUE(detect(j).finished);
    for (size_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(read_image((folder_ / "boxes" / fmt::format("{}.png.jpg", i)).string()).usable());
        const Decoded crop = read_image((folder_ / "crops" / fmt::format("{}.png_1.jpg", i)).string());
        ASSERT_TRUE(crop.usable());
        ASSERT_EQ(crop.image.h, 26u);  // the longer side and a tenth of it on both sides
        const uint8_t* middle = &crop.image.rgb[(13 * 26 + 13) * 3];
        EXPECT_TRUE(middle[0] > 200 && middle[1] < 60 && middle[2] > 200) << "crop " << i << " shows something else";
        EXPECT_FALSE(fs::exists(folder_ / "crops" / fmt::format("{}.png_2.jpg", i)));
    }
}

// Images that show the same when they are turned as their EXIF says.
TEST_F(DetectImages, EveryOrientation) {
    const ImageRegion where{48, 24, 32, 56};
    const Image upright = with_magenta(128, 192, where);
    for (int orientation = 1; orientation <= 8; ++orientation) {
        Image stored = upright;
        // turned(x, o) undoes o: 6 and 8 undo each other, the others themselves.
        stored = turned(std::move(stored), orientation == 6 ? 8 : orientation == 8 ? 6 : orientation);
        const Exif exif{.date = "2024:07:31 13:05:59", .orientation = orientation};
        temporary_.write(fmt::format("in/{}.jpg", orientation), jpeg_of(stored, {.full_chroma = true}, &exif));
    }
    DetectJob j = magenta_job("r.json");
    j.image_size = 192;
    j.entry = {.size = true, .date = true};
    ASSERT_TRUE(detect(j).finished);
    const json file = results(j.out);
    for (int orientation = 1; orientation <= 8; ++orientation) {
        const json entry = image(file, fmt::format("{}.jpg", orientation));
        EXPECT_EQ(entry["width"], 192) << orientation;
        EXPECT_EQ(entry["height"], 128) << orientation;
        EXPECT_EQ(entry["datetime"], "2024:07:31 13:05:59");
        const ImageRegion found = only_area(entry, 128, 192);
        EXPECT_EQ(std::tuple(found.top, found.left, found.h, found.w),
                  std::tuple(where.top, where.left, where.h, where.w))
            << orientation;
    }
}

TEST_F(DetectImages, EveryKindOfFileAndName) {
    const Image shot = with_magenta(96, 128, {20, 30, 24, 32});
    const FileContent jpeg = jpeg_of(shot);
    FileContent cut(jpeg.begin(), jpeg.begin() + ptrdiff_t(jpeg.size() * 2 / 3));
    temporary_.write("in/good.JPG", jpeg);
    temporary_.write("in/cut.jpg", cut);
    temporary_.write("in/empty.jpg", {});
    temporary_.write("in/text.jpg", text_content("no image"));
    temporary_.write("in/header.jpg", {jpeg.begin(), jpeg.begin() + 20});
    temporary_.write("in/directory.jpg/inside.jpg", jpeg);
    temporary_.write("in/.hidden.jpg", jpeg);
    temporary_.write("in/film.mp4", text_content("film"));
    temporary_.write("in/webp.webp", text_content("RIFF1234WEBPVP8 "));
    temporary_.write("in/f\xc3\xbc\xe2\x82\xac \xf0\x9f\xa6\x8a, \"q\"/a'b.jpg", jpeg);
    temporary_.write("in/latin\xfc.jpg", jpeg);
    temporary_.write("in/latin\xfd.jpg", jpeg);
    temporary_.write("in/line\nbreak.jpg", jpeg);
    FileContent samples(96 * 128 * 4), wide;
    for (size_t i = 0; i < samples.size(); ++i)
        samples[i] = uint8_t(i % 4 == 3 ? 255 : 255 - shot.rgb[i / 4 * 3 + i % 4]);
    temporary_.write("in/cmyk.jpg", jpeg_of_samples(samples, 96, 128, TJPF_CMYK, TJSAMP_444));
    for (const uint8_t v : shot.rgb) wide.insert(wide.end(), {v, v});
    temporary_.write("in/sixteen.png", png_of({.w = 128, .h = 96, .depth = 16, .colour = 2, .rows = wide}));
    fs::create_symlink(folder_ / "nowhere.jpg", folder_ / "in" / "gone.jpg");
    fs::create_symlink(folder_ / "in", folder_ / "in" / "loop");
    ASSERT_EQ(mkfifo((folder_ / "in" / "pipe.jpg").c_str(), 0600), 0);

    std::string notes;
    DetectJob j = magenta_job("r.json");
    j.image_size = 128;
    j.note = [&](const std::string& text) { notes += text + "\n"; };
    const DetectOutcome outcome = detect(j);
    ASSERT_TRUE(outcome.finished);
    EXPECT_EQ(outcome.counts.done, 15u);
    EXPECT_EQ(outcome.counts.failed, 6u);
    EXPECT_EQ(outcome.counts.damaged, 1u);
    EXPECT_NE(notes.find("1 videos"), notes.npos) << notes;
    EXPECT_NE(notes.find("1 images do not end in .jpg"), notes.npos) << notes;
    const json file = results(j.out);
    for (const char* name : {"empty.jpg", "text.jpg", "header.jpg", "webp.webp", "gone.jpg", "pipe.jpg"})
        EXPECT_EQ(image(file, name)["failure"], "image access failure") << name;
    for (const char* name :
         {"good.JPG", "cut.jpg", "directory.jpg/inside.jpg", "f\xc3\xbc\xe2\x82\xac \xf0\x9f\xa6\x8a, \"q\"/a'b.jpg",
          "latin%FC.jpg", "latin%FD.jpg", "line\nbreak.jpg", "sixteen.png"})
        EXPECT_EQ(image(file, name)["detections"].size(), 1u) << name;
    EXPECT_TRUE(image(file, "cmyk.jpg")["failure"].is_null());
    EXPECT_EQ(file["info"]["custom_metadata"]["tundra"]["damaged_pictures"], json::array({"cut.jpg"}));

    // The same in the other formats, and from a list that also names what is not there.
    j = magenta_job("r.csv");
    detect(j);
    const std::string csv = content(j.out);
    EXPECT_EQ(size_t(std::ranges::count(csv, '\n')), 1 + 15 + 1u) << csv;  // one name holds a line break
    EXPECT_NE(csv.find("\nempty.jpg,image access failure,,,,,,\n"), csv.npos) << csv;
    temporary_.write("list.txt", text_content("\xef\xbb\xbf" + (folder_ / "in/good.JPG").string() + "\r\n" +
                                              (folder_ / "in/missing.jpg").string() + "\n\n"));
    j = magenta_job("l.json");
    j.images = {"@" + (folder_ / "list.txt").string()};
    EXPECT_EQ(detect(j).counts.failed, 1u);
    EXPECT_EQ(image(results(j.out), "missing.jpg")["failure"], "image access failure");
    // A pattern, and an argument that is not there.
    j = magenta_job("g.json");
    j.images = {(folder_ / "in/*.[jJ][pP][gG]").string(), (folder_ / "in/*.mp4").string()};
    notes.clear();
    j.note = [&](const std::string& text) { notes += text + "\n"; };
    detect(j);
    EXPECT_NE(notes.find("1 videos"), notes.npos) << notes;
    j.images = {(folder_ / "in/nothing.jpg").string()};
    EXPECT_THROW(detect(j), Error);
}

TEST_F(DetectImages, EarlierFilesOfOtherProgramsAreChecked) {
    make_images(3);
    detect(job("good.json"));
    const json good = results(folder_ / "good.json");
    const auto update = [&](const json& old) {
        std::ofstream(folder_ / "old.json") << old;
        DetectJob j = job("new.json");
        j.update = (folder_ / "old.json").string();
        try {
            detect(j);
            results(j.out);
            fs::remove(j.out);
            return 0;
        } catch (const Error& error) {
            EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
            return int(error.fault);
        }
    };
    EXPECT_EQ(update(good), 0);
    json old = good;
    old["info"].erase("custom_metadata");
    old["images"][0] = {{"file", "a/gone.jpg"},
                        {"detections", {{{"category", "1"}, {"conf", 1}, {"bbox", {0, 0, 1, 1}}}}}};
    old["images"][1] = {{"file", "a/bad.jpg"}, {"failure", "inference failure"}, {"detections", json::array()}};
    EXPECT_EQ(update(old), 0);  // whole numbers and a list beside a failure are put right
    for (const auto& [change, code] : std::vector<std::pair<std::function<void(json&)>, int>>{
             {[](json& f) { f["info"]["detector"] = "other.pt"; }, 2},
             {[](json& f) { f["info"]["detector"] = 7; }, 4},
             {[](json& f) { f["images"][0]["detections"] = 3; }, 4},
             {[](json& f) { f["images"][0]["detections"] = json::array({1}); }, 4},
             {[](json& f) {
                  f["images"][0]["detections"] = {{{"category", "9"}, {"conf", 0.5}, {"bbox", {0, 0, 1, 1}}}};
              },
              4},
             {[](json& f) { f["images"][0].erase("file"); }, 4},
             {[](json& f) { f["images"].push_back(f["images"][0]); }, 4},
             {[](json& f) {
                  f["detection_categories"] = {{"1", 5}};
              },
              4},
             {[](json& f) { f.erase("images"); }, 4},
             {[](json& f) { f = json::array(); }, 4}}) {
        json changed = good;
        change(changed);
        EXPECT_EQ(update(changed), code) << changed;
    }
}

}  // namespace
