// Labels of other programs: COCO Camera Traps, Timelapse's CSV, and the example package of Camtrap DP. 0.2 s.
#include "data/label_source.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/csv.h"
#include "base/error.h"
#include "data/box_dataset.h"
#include "tests/images.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const DatasetOptions kWhole{.validation = 0, .test = 0, .for_training = false};

std::string refusal(const std::string& path,
                    Dataset (*open)(const std::string&, const DatasetOptions&) = open_dataset) {
    try {
        open(path, kWhole);
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, Fault::usage);
        return error.what();
    }
    return "accepted";
}

std::string notes(const Dataset& data) {
    std::string text;
    for (const std::string& note : data.notes) text += note + "\n";
    return text;
}

std::map<std::string, std::string> classes_by_name(const Dataset& data) {
    std::map<std::string, std::string> result;
    for (const Sample& sample : data.samples) result[sample.name] = data.classes[sample.label];
    return result;
}

void expect_part(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\n  has no: " << part;
}

// The example, and an image for each medium in its folder media.
void copy_example(const TemporaryFolder& folder) {
    const fs::path example = fs::path(TUNDRA_TESTS) / "data/camtrap-dp/example";
    fs::copy(example, folder.path, fs::copy_options::recursive);
    std::ifstream in(example / "media.csv", std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const CsvTable media(text, "media.csv", Fault::usage);
    for (size_t i = 0; i < media.size(); ++i)
        folder.write("media/" + media.at(i, "fileName"), jpeg_of(sample_image(40, 80)));
}

}  // namespace

TEST(Labels, CocoCameraTrapsWithIdsOfEitherKind) {
    for (const bool texts : {false, true}) {
        const TemporaryFolder folder;
        json coco{{"images", json::array()},
                  {"annotations", json::array()},
                  {"categories",
                   {{{"id", 0}, {"name", "empty"}}, {{"id", 3}, {"name", "fox"}}, {{"id", 10}, {"name", "hare"}}}}};
        const auto id = [&](int number) { return texts ? json(std::to_string(number)) : json(number); };
        const char* names[] = {"one", "two", "three", "four", "five"};
        for (int i = 0; i < 5; ++i) {
            folder.write(std::string("images/site/") + names[i] + ".jpg", jpeg_of(sample_image(40, 80)));
            coco["images"].push_back({{"id", id(i)},
                                      {"file_name", std::string("site\\") + names[i] + ".jpg"},
                                      {"location", 7},
                                      {"datetime", "2024-05-06 07:08:09"},
                                      {"seq_id", "s"}});
        }
        const auto add = [&](int image, int category) {
            // Some exporters write one id as a number and refer to it with a text.
            coco["annotations"].push_back({{"id", "a" + std::to_string(coco["annotations"].size())},
                                           {"image_id", std::to_string(image)},
                                           {"category_id", category},
                                           {"bbox", {1, 2, 10, 10}}});
        };
        add(0, 3), add(0, 3), add(0, 0);  // "empty" beside a fox is no class of its own
        add(1, 10), add(2, 3), add(2, 10), add(3, 0);
        const std::string file = folder.write("labels.json", text_content(coco.dump()));
        const Dataset data = open_dataset(file, kWhole);
        EXPECT_EQ(classes_by_name(data), (std::map<std::string, std::string>{{"images/site/one.jpg", "fox"},
                                                                             {"images/site/two.jpg", "hare"},
                                                                             {"images/site/four.jpg", "empty"}}));
        EXPECT_EQ(data.samples[0].camera + data.samples[0].sequence, "7s");
        EXPECT_EQ(data.samples[0].time, 1714979289);
        expect_part(notes(data), "1 images show several classes and were left out (first: site/three.jpg)");
        expect_part(notes(data), "1 images have no annotation and were left out (first: site/five.jpg)");
        EXPECT_EQ(open_box_dataset(file, kWhole).samples.size(), 5u);
    }
}

TEST(Labels, CocoThatContradictsItself) {
    const TemporaryFolder folder;
    const auto with = [&](const char* text) { return refusal(folder.write("labels.json", text_content(text))); };
    expect_part(with(R"({"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2, "category_id": 1}],
                         "categories": [{"id": 1, "name": "fox"}]})"),
                "its image_id is not listed");
    expect_part(with(R"({"images": [{"id": 1, "file_name": "a"}, {"id": "1", "file_name": "b"}], "annotations": [],
                         "categories": []})"),
                "image id 1 occurs twice");
    expect_part(with(R"({"images": [{"id": 1, "file_name": "a"}], "annotations": [], "categories": []})"),
                "no images that can be used (1 images have no annotation");
    expect_part(with(R"({"detection_categories": {}, "images": []})"), "holds the results of a detector");
    expect_part(with("{"), "is not JSON");
}

TEST(Labels, TimelapseLeavesOutWhatNobodyLabelled) {
    const TemporaryFolder folder;
    for (const char* name : {"north/cam 1/a.jpg", "north/cam 1/b.jpg", "south/c.jpg", "d.jpg", "south/e.jpg"})
        folder.write(name, jpeg_of(sample_image(40, 80)));
    const std::string file = folder.write(
        "TimelapseData.csv",
        text_content(
            "RootFolder,File,RelativePath,DateTime,DeleteFlag,Site,Camera,Species,Count\n"
            "shots,a.jpg,north\\cam 1,2024-05-06 07:08:09,false,n,1,fox,1\nshots,b.jpg,north/cam 1,,false,n,1,hare,2\n"
            "shots,c.jpg,south,,true,s,,fox,1\nshots,d.jpg,,,false,,,hare,1\nshots,e.jpg,south,,false,s,,,0\n"));
    const Dataset data = open_dataset(file, kWhole);
    EXPECT_EQ(classes_by_name(data),
              (std::map<std::string, std::string>{
                  {"north/cam 1/a.jpg", "fox"}, {"north/cam 1/b.jpg", "hare"}, {"d.jpg", "hare"}}));
    EXPECT_EQ(data.samples[1].camera, "n/1");
    expect_part(notes(data), "1 images are flagged for deletion and were left out (first: c.jpg)");
    expect_part(notes(data), "1 images have no label and were left out (first: e.jpg)");
}

TEST(Labels, TheExampleOfCamtrapDpWithItsBoxes) {
    const TemporaryFolder folder;
    copy_example(folder);
    for (const fs::path& path : {folder.path, folder.path / "datapackage.json"}) {
        const Dataset boxes = open_box_dataset(path.string(), kWhole);
        EXPECT_EQ(boxes.classes, (std::vector<std::string>{"animal", "person", "vehicle"}));
        size_t number = 0;
        for (const Sample& sample : boxes.samples) {
            number += sample.boxes.size();
            EXPECT_EQ(sample.camera == "62c200a9", !sample.boxes.empty()) << sample.name;
            if (sample.name.ends_with("RCNX0021.JPG")) {
                EXPECT_EQ(sample.boxes, (std::vector<TrueBox>{{0, 0.32325f, 0.46962f, 0.2744f, 0.25189f}}));
            }
        }
        EXPECT_EQ(number, 20u);
        EXPECT_EQ(boxes.samples.size(), 23u);  // 20 with a box, 3 blank; people without a box are left out
        expect_part(notes(boxes), "20 boxes were made by a machine");
        expect_part(notes(boxes), "2 images have an observation without a box and were left out");
        const Dataset labels = open_dataset(path.string(), kWhole);
        EXPECT_EQ(labels.classes, (std::vector<std::string>{"Ardea", "blank", "human"}));
        EXPECT_EQ(labels.samples.size(), 25u);
        EXPECT_EQ(labels.samples[0].time >= 0, true);
        EXPECT_FALSE(labels.samples[0].sequence.empty());
    }
    fs::remove(folder.path / "media/20210531082535-RCNX0021.JPG");
    const std::string said = notes(open_box_dataset(folder.path.string(), kWhole));
    expect_part(said, "1 images are on the network only and were left out");
    expect_part(said, "19 boxes were made by a machine");
}

TEST(Labels, PackagesThatCannotBeRead) {
    const TemporaryFolder folder;
    copy_example(folder);
    const std::string path = folder.path.string();
    const auto replace = [&](const char* file, const std::string& from, const std::string& to) {
        std::ifstream in(folder.path / file, std::ios::binary);
        std::string text{std::istreambuf_iterator<char>(in), {}};
        const std::string whole = text;
        text.replace(text.find(from), from.size(), to);
        folder.write(file, text_content(text));
        const std::string said = refusal(path, open_box_dataset);
        folder.write(file, text_content(whole));
        return said;
    };
    expect_part(replace("datapackage.json", "\"media.csv\"", "[\"media.csv.gz\"]"), "unpack or download it");
    expect_part(replace("datapackage.json", "\"name\": \"observations\"", "\"name\": \"seen\""),
                "has no table 'observations'");
    expect_part(replace("datapackage.json", "{", "["), "is not a data package");
    expect_part(replace("observations.csv", "0.32325", "\"0,3\""), "bboxX '0,3' is not a number");
    expect_part(replace("media.csv", "mediaID", "id"), "has no column 'mediaID'");
    // Tables may be divided.
    std::ifstream in(folder.path / "media.csv", std::ios::binary);
    const std::string media{std::istreambuf_iterator<char>(in), {}};
    const size_t head = media.find('\n') + 1, half = media.find('\n', media.size() / 2) + 1;
    folder.write("media2.csv", text_content(media.substr(0, head) + media.substr(half)));
    folder.write("media.csv", text_content(media.substr(0, half)));
    EXPECT_EQ(replace("datapackage.json", "\"media.csv\"", "[\"media.csv\", \"media2.csv\"]"), "accepted");
}
