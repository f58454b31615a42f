// `tundra detect` against the entries that the MegaDetector package itself writes in its classic mode (tests/golden/yolo).
//
// The package's own tests allow 0.005 in confidence and 0.001 in coordinates; digits are cut, so one unit in the last place
// may differ: the test wants that, and prints how many entries have the very same digits.
#include <cmath>

#include "app/detect_job.h"
#include "tests/golden.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

double distance(const json& a, const json& b) {
    double worst = 0;
    for (size_t k = 0; k < 4; ++k) worst = std::max(worst, std::abs(a.at("bbox")[k].get<double>() - b.at("bbox")[k].get<double>()));
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

TEST(GoldenMegadetector, ClassicEntries) {
    GoldenCount count;
    size_t same = 0, all = 0;
    std::string pattern = (fs::temp_directory_path() / "tundra-megadetector-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    const fs::path folder = pattern;
    for (const auto& entry : fs::directory_iterator(golden_folder("yolo"))) {
        if (!exists(entry.path() / "expected.json")) continue;
        const json expected = golden_json(entry.path() / "expected.json");
        for (const auto& [name, picture] : expected.at("images").items()) {
            if (!picture.contains("megadetector")) {
                count.refuse("a picture without the package's result");
                continue;
            }
            SCOPED_TRACE(name);
            DetectJob job;
            job.pictures = {(entry.path() / picture.at("file").get<std::string>()).string()};
            job.model = (entry.path() / "model.pt").string();
            job.out = (folder / (name + ".json")).string();
            job.image_size = picture.at("letterbox").at("new_shape");
            job.device = "cpu";
            ASSERT_TRUE(detect(job).finished);
            const json images = golden_json(job.out).at("images");
            ASSERT_EQ(images.size(), 1u);
            const json &found = images[0].at("detections"),
                       &wanted = picture.at("megadetector").at("classic").at("detections_sorted_by_confidence");
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

}  // namespace
