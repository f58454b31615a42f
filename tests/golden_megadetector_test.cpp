// `tundra detect` against the entries that the MegaDetector package itself writes in its classic mode
// (tests/golden/yolo, yolo11).
//
// The package's own tests allow 0.005 in confidence and 0.001 in coordinates; digits are cut, so one unit in the last
// place may differ: the test wants that, and prints how many entries have the very same digits.
#include <cmath>

#include "base/safetensors.h"
#include "models/yolov5_start.h"
#include "tests/detect_fixture.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

double distance(const json& a, const json& b) {
    double worst = 0;
    for (size_t k = 0; k < 4; ++k)
        worst = std::max(worst, std::abs(a.at("bbox")[k].get<double>() - b.at("bbox")[k].get<double>()));
    return worst;
}

// Every detection of `a` has its own like in `b`.
void expect_in(const json& a, const json& b) {
    std::vector<bool> used(b.size());
    for (const json& d : a) {
        bool found = false;
        for (size_t i = 0; i < b.size() && !found; ++i) {
            found = !used[i] && d.at("category") == b[i].at("category") && distance(d, b[i]) <= 0.001 &&
                    std::abs(d.at("conf").get<double>() - b[i].at("conf").get<double>()) <= 0.005;
            if (found) used[i] = true;
        }
        EXPECT_TRUE(found) << d;
    }
}

// With the newest release of ultralytics that the case knows, if it is a case of that package.
json classic_entries(const json& image) {
    json entries = image.at("megadetector").at("classic").at("detections_sorted_by_confidence");
    const json others = image.value("megadetector_with_other_versions", json::object());
    for (const auto& [release, other] : others.items())
        entries = other.at("classic").value("detections_sorted_by_confidence", entries);
    return entries;
}

void check_folder(const char* kind) {
    GoldenCount count;
    size_t same = 0, all = 0;
    std::string pattern = (fs::temp_directory_path() / "tundra-megadetector-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    const fs::path folder = pattern;
    for (const auto& entry : fs::directory_iterator(golden_folder(kind))) {
        if (!exists(entry.path() / "expected.json")) continue;
        const json expected = golden_json(entry.path() / "expected.json");
        for (const auto& [name, image] : expected.at("images").items()) {
            if (!image.contains("megadetector")) {
                count.refuse("an image without the package's result");
                continue;
            }
            SCOPED_TRACE(name);
            DetectJob job;
            job.images = {(entry.path() / image.at("file").get<std::string>()).string()};
            job.model = (entry.path() / "model.pt").string();
            job.out = (folder / (entry.path().filename().string() + "_" + name + ".json")).string();
            job.image_size = image.at("letterbox").at("new_shape");
            job.machine.device = "cpu";
            ASSERT_TRUE(detect(job).finished);
            const json images = golden_json(job.out).at("images");
            ASSERT_EQ(images.size(), 1u);
            const json found = images[0].at("detections"), wanted = classic_entries(image);
            EXPECT_EQ(found.size(), wanted.size());
            expect_in(found, wanted);
            expect_in(wanted, found);
            for (size_t i = 0; i < std::min(found.size(), wanted.size()); ++i)
                same += found[i].at("conf") == wanted[i].at("conf") && found[i].at("bbox") == wanted[i].at("bbox");
            all += wanted.size();
            count.check();
        }
    }
    printf("%zu of %zu detections have the same digits\n", same, all);
    fs::remove_all(folder);
}

TEST(GoldenMegadetector, ClassicEntries) { check_folder("yolo"); }
TEST(GoldenMegadetector, ClassicEntriesWithoutAnchors) { check_folder("yolo11"); }

// The network's frames for an image of 40 x 64, as MegaDetector 10.0.28 with yolov5 7.0.14 makes them in classic mode.
using MegadetectorFrames = DetectTest;

TEST_F(MegadetectorFrames, StatedSizesAndWantedSizes) {
    temporary_.write("in/a.jpg", jpeg_of({.h = 40, .w = 64, .rgb = std::vector<uint8_t>(40 * 64 * 3, 99)}));
    struct Case {
        bool p6;
        size_t stated, wanted, h, w;  // the size that the file states, 0: none; the size asked for, 0: none; the frame
    };
    for (const Case& c : {Case{false, 640, 0, 416, 640},
                          {false, 640, 1280, 800, 1280},
                          {false, 0, 0, 832, 1280},
                          {false, 0, 640, 448, 640},
                          {false, 0, 608, 416, 608},
                          {false, 1280, 640, 448, 640},
                          {true, 0, 0, 832, 1280},
                          {true, 1280, 640, 448, 640}}) {
        SCOPED_TRACE(fmt::format("p6 {}, states {}, asked for {}", c.p6, c.stated, c.wanted));
        DetectorModel model{.file_name = "m", .config = yolov5_config(c.p6, 0.33, 0.125, 1), .classes = {"animal"}};
        if (c.stated) model.image_size = c.stated;
        model.state = initialize_yolov5(model.config, 5);
        const fs::path file = folder_ / "m.safetensors";
        write_detector(file, model);
        if (!c.stated) {
            const SafetensorsFile whole = SafetensorsFile::parse(read_file(file), file.string());
            std::map<std::string, std::string> metadata = whole.metadata();
            ASSERT_EQ(metadata.erase("megadetector_info.json"), 1u);
            write_safetensors(file, whole.tensors(), metadata);
        }
        size_t h = 0, w = 0;
        DetectJob j = job("frames.json");
        j.model = file.string();
        j.image_size = c.wanted;
        j.network = at_once([&](std::span<const uint8_t> images, size_t height, size_t width) {
            h = height, w = width;
            return stub(images, height, width);
        });
        ASSERT_TRUE(detect(j).finished);
        EXPECT_EQ(std::pair(h, w), std::pair(c.h, c.w));
        fs::remove(j.out);
    }
}

}  // namespace
