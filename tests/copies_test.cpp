// Copies with blurred people: what may be seen, what stays as it was, what is not copied. 0.1 s.
#include "app/export/copies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "data/exif.h"
#include "data/image.h"
#include "data/jpeg_writer.h"
#include "tests/images.h"

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

class Copies : public testing::Test {
protected:
    Copies() {
        std::vector<uint8_t> noise(size_t(160) * 240 * 3);
        uint32_t state = 1;
        for (uint8_t& v : noise) v = uint8_t((state = state * 1664525 + 1013904223) >> 24);
        Exif exif{.date = "2024:05:06 07:08:09", .make = "CAM", .orientation = 1};
        for (const char* name : {"a/person.jpg", "a/fox.jpg", "b/far.JPG", "b/cut.jpg"})
            folder_.write(std::string("images/") + name, encode_jpeg(noise.data(), 160, 240, {}, &exif));
        folder_.write("images/b/shot.png", jpeg_of(sample_image(40, 80)));
        fs::resize_file(folder_.path / "images/b/cut.jpg", 9000);
        const auto add = [&](const char* file, const char* category, double confidence, std::vector<double> box) {
            results_["images"].push_back(
                {{"file", file}, {"detections", {{{"category", category}, {"conf", confidence}, {"bbox", box}}}}});
        };
        results_ = {{"images", Json::array()},
                    {"detection_categories", {{"1", "animal"}, {"2", "person"}, {"3", "vehicle"}}},
                    {"info", {{"format_version", "1.6"}}}};
        add("a/person.jpg", "2", 0.9, {0.25, 0.25, 0.25, 0.5});
        add("a/fox.jpg", "1", 0.9, {0.25, 0.25, 0.25, 0.5});
        add("b/far.JPG", "2", 0.06, {0.9, 0.9, 0.2, 0.2});
        add("b/cut.jpg", "2", 0.9, {0.1, 0.1, 0.2, 0.2});
        add("b/shot.png", "2", 0.9, {0.1, 0.1, 0.2, 0.2});
        add("b/gone.jpg", "1", 0.9, {0.1, 0.1, 0.2, 0.2});
        results_["images"].push_back(
            {{"file", "b/bad.jpg"}, {"failure", "image access failure"}, {"detections", nullptr}});
        options_ = {
            .source = folder_.path / "results.json", .out = folder_.path / "out", .images = "", .blur = {"person"}};
    }
    CopySummary copy() {
        folder_.write("results.json", text_content(results_.dump()));
        return write_copies(options_, nullptr);
    }
    std::string refusal() {
        try {
            copy();
        } catch (const Error& e) {
            EXPECT_EQ(e.fault, Fault::usage) << e.what();
            return e.what();
        }
        return "accepted";
    }

    TemporaryFolder folder_;
    Json results_;
    CopyOptions options_;
};

// How much neighbouring pixels of a region differ: much in noise, little in blocks of one colour.
double roughness(const Image& image, size_t left, size_t top, size_t right, size_t bottom) {
    double sum = 0;
    for (size_t y = top; y < bottom; ++y)
        for (size_t x = left; x + 1 < right; ++x)
            sum += std::abs(int(image.rgb[(y * image.w + x) * 3]) - int(image.rgb[(y * image.w + x + 1) * 3]));
    return sum / double((bottom - top) * (right - left));
}

}  // namespace

TEST_F(Copies, PeopleAreBlurredAndTheRestIsCopiedByteByByte) {
    std::map<std::string, std::string> before;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path / "images"))
        if (entry.is_regular_file()) before[entry.path().string()] = bytes_of(entry.path());
    const CopySummary made = copy();
    EXPECT_EQ(made.copied, 4u);
    EXPECT_EQ(made.blurred, 3u);
    EXPECT_EQ(made.left_out, 3u);
    for (const auto& [path, bytes] : before) EXPECT_EQ(bytes_of(path), bytes) << "an original has changed";
    EXPECT_EQ(bytes_of(options_.out / "a/fox.jpg"), bytes_of(folder_.path / "images/a/fox.jpg"));
    const Image person = read_image((options_.out / "a/person.jpg").string()).image;
    ASSERT_EQ(person.w, 240u);
    EXPECT_LT(roughness(person, 56, 36, 124, 124), 6);  // the box and its margin
    EXPECT_GT(roughness(person, 130, 0, 240, 160), 20);
    const Image far = read_image((options_.out / "b/far.JPG").string()).image;
    EXPECT_LT(roughness(far, 216, 144, 240, 160), 6);
    const std::string bytes = bytes_of(options_.out / "a/person.jpg");
    const Exif exif = read_exif({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
    EXPECT_EQ(exif.date + exif.make, "2024:05:06 07:08:09CAM");
    EXPECT_TRUE(fs::exists(options_.out / "b/shot.png.jpg"));
    const std::string list = bytes_of(options_.out / "not_copied.csv");
    for (const char* name : {"b/cut.jpg,", "b/gone.jpg,", "b/bad.jpg,"})
        EXPECT_NE(list.find(name), std::string::npos) << list;
    for (const char* name : {"b/cut.jpg", "b/gone.jpg", "b/bad.jpg"}) EXPECT_FALSE(fs::exists(options_.out / name));
    EXPECT_EQ(made.notes.size(), 1u);
}

// JSON has "%E4" for a byte that is not UTF-8; the file and its copy have the byte.
TEST_F(Copies, NamesThatAreNotUtf8) {
    fs::rename(folder_.path / "images/a/person.jpg", folder_.path / "images/a/\xe4%20.jpg");
    for (Json& image : results_["images"])
        if (image["file"] == "a/person.jpg") image["file"] = "a/%E4%20.jpg";
    fs::rename(folder_.path / "images/a/fox.jpg", folder_.path / "images/a/%E4.jpg");
    for (Json& image : results_["images"])
        if (image["file"] == "a/fox.jpg") image["file"] = "a/%E4.jpg";  // its own name
    EXPECT_EQ(copy().copied, 4u);
    EXPECT_EQ(bytes_of(options_.out / "a/%E4.jpg"), bytes_of(folder_.path / "images/a/%E4.jpg"));
    EXPECT_TRUE(fs::exists(options_.out / "a/\xe4%20.jpg"));
}

TEST_F(Copies, BadInputIsNamed) {
    options_.blur = {"persons"};
    EXPECT_NE(refusal().find("--blur persons"), std::string::npos);
    options_.blur = {"person"};
    options_.out = folder_.path / "images/copies";
    EXPECT_NE(refusal().find("lies inside the folder of the images"), std::string::npos);
    options_.out = folder_.path / "images";
    EXPECT_NE(refusal().find("lies inside the folder of the images"), std::string::npos);
    options_.out = folder_.path;
    EXPECT_NE(refusal().find("is not empty"), std::string::npos);
    options_.out = folder_.path / "out";
    options_.images = (folder_.path / "elsewhere").string();
    EXPECT_NE(refusal().find("name their folder with --images"), std::string::npos);
}
