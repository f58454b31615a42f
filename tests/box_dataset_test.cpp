// Both kinds of labels, and every way in which they can be wrong.
#include "data/box_dataset.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "app/synth/synth.h"
#include "base/error.h"
#include "tests/images.h"

namespace {

using nlohmann::json;

class BoxDataset : public testing::Test {
protected:
    BoxDataset() {
        for (const char* name : {"a.jpg", "b.jpg", "c.jpg", "d.jpg"})
            folder_.write(name, jpeg_of(sample_image(40, 80)));
        coco_ = {{"images", json::array()},
                 {"annotations", json::array()},
                 {"categories",
                  {{{"id", 7}, {"name", "person"}}, {{"id", 2}, {"name", "animal"}}, {{"id", 0}, {"name", "empty"}}}}};
        for (const char* name : {"a", "b", "c", "d"})
            coco_["images"].push_back({{"id", name},
                                       {"file_name", std::string(name) + ".jpg"},
                                       {"width", 160},
                                       {"height", 80},
                                       {"location", "cam"},
                                       {"seq_id", 3}});
        add("a", 2, {16, 8, 32, 16});
        add("b", 7, {0, 0, 160, 80});
        add("c", 2, {16, 8, 32, 16});
    }
    void add(const char* image, int category, json box) {
        coco_["annotations"].push_back({{"id", coco_["annotations"].size()},
                                        {"image_id", image},
                                        {"category_id", category},
                                        {"bbox", std::move(box)}});
    }
    std::string refusal(const std::string& path) {
        try {
            open_box_dataset(path, {.validation = 0, .test = 0});
        } catch (const Error& error) {
            EXPECT_EQ(error.fault, Fault::usage);
            return error.what();
        }
        return "accepted";
    }
    std::string refusal() { return refusal(folder_.write("labels.json", text_content(coco_.dump()))); }
    Dataset opened() {
        return open_box_dataset(folder_.write("labels.json", text_content(coco_.dump())), {.validation = 0, .test = 0});
    }
    void says(const std::string& text, const std::string& part) {
        EXPECT_NE(text.find(part), std::string::npos) << text << "\n  has no: " << part;
    }
    std::string notes(const Dataset& data) {
        std::string text;
        for (const std::string& note : data.notes) text += note + "\n";
        return text;
    }

    TemporaryFolder folder_;
    json coco_;
};

TEST_F(BoxDataset, CocoWithIdsOfAnyKind) {
    const Dataset data = opened();
    EXPECT_EQ(data.classes, (std::vector<std::string>{"animal", "person"}));  // by id; "empty" has no boxes
    ASSERT_EQ(data.samples.size(), 4u);
    // 160 x 80 in the file, 80 x 40 on disk: a copy made smaller
    EXPECT_EQ(data.samples[0].boxes, (std::vector<TrueBox>{{0, 0.1f, 0.1f, 0.2f, 0.2f}}));
    EXPECT_EQ(data.samples[1].boxes.at(0).category, 1u);
    EXPECT_TRUE(data.samples[3].boxes.empty());
    EXPECT_EQ(data.samples[0].w, 80u);
    EXPECT_EQ(data.box_counts(Part::train), (std::vector<size_t>{2, 1}));
    says(notes(data), "3 boxes to train on; 1 training images are empty");
    EXPECT_EQ(data.samples[0].camera, "cam");
}

TEST_F(BoxDataset, FingerprintKnowsTheBoxes) {
    const std::string before = opened().fingerprint.hash;
    EXPECT_EQ(opened().fingerprint.hash, before);
    coco_["annotations"][0]["bbox"][0] = 17;
    EXPECT_NE(opened().fingerprint.hash, before);
}

TEST_F(BoxDataset, OdditiesAreCounted) {
    add("a", 2, {150, 70, 20, 20});  // reaches beyond
    add("a", 2, {200, 10, 20, 20});  // outside
    add("a", 2, {10, 10, 0, 5});     // no area
    add("c", 2, {16, 8, 32, 16});    // again
    add("d", 2, nullptr);            // a label without a box
    coco_["annotations"].push_back(
        {{"id", 99}, {"image_id", "a"}, {"category_id", 2}, {"bbox", {1, 1, 9, 9}}, {"iscrowd", 1}});
    coco_["annotations"].push_back(
        {{"id", 98}, {"image_id", "a"}, {"category_id", 2}, {"bbox", {2, 2, 9, 9}}, {"iscrowd", true}});
    coco_["annotations"].push_back({{"id", 99}, {"image_id", "a"}, {"category_id", 0}});
    coco_["images"].push_back({{"id", "gone"}, {"file_name", "gone.jpg"}});
    coco_["images"].push_back({{"id", "turned"}, {"file_name", "turned.jpg"}, {"width", 40}, {"height", 80}});
    folder_.write("turned.jpg", jpeg_of(sample_image(40, 80)));
    const Dataset data = opened();
    ASSERT_EQ(data.samples.size(), 3u);
    EXPECT_EQ(data.samples[0].boxes.size(), 2u);
    const std::string text = notes(data);
    for (const char* part :
         {"1 boxes reach beyond their image and were cut (first: ",
          "1 boxes lie outside of their image and were left out", "1 boxes have no area and were left out",
          "1 boxes occur twice and count once", "2 boxes are around crowds", "1 annotation ids occur twice",
          "1 images have a label but no box and were left out (first: ", "d.jpg",
          "1 images do not exist and were left out", "gone.jpg",
          "1 images have a different shape than their labels say"})
        says(text, part);
}

TEST_F(BoxDataset, WrongCocoIsRefusedInOneLine) {
    const json good = coco_;
    const auto with = [&](auto change) {
        coco_ = good;
        change(coco_);
        const std::string text = refusal();
        EXPECT_EQ(text.find('\n'), text.npos) << text;
        return text;
    };
    says(with([&](json& c) { c["annotations"][1]["category_id"] = 9; }),
         "labels.json: annotation 1: category 9 is not in the list");
    says(with([&](json& c) { c["annotations"][1]["image_id"] = "z"; }), "annotation 1: image \"z\" is not listed");
    says(with([&](json& c) {
             c["annotations"][1]["bbox"] = {1, 2, 3};
         }),
         "annotation 1: bbox [1,2,3] is not four numbers");
    says(with([&](json& c) { c["annotations"][1]["bbox"] = {1, 2, "3", 4}; }), "is not four numbers");
    says(with([&](json& c) { c["annotations"][1]["bbox"] = {1, 2, nullptr, 4}; }), "is not four numbers");
    says(with([&](json& c) { c["annotations"][1]["bbox"] = {1, 2, -3, 4}; }), "has a negative side");
    says(with([&](json& c) {
             for (json& a : c["annotations"]) a["bbox"] = {0.2, 0.2, 0.5, 0.6};
         }),
         "all boxes lie within the first pixel");
    says(with([&](json& c) { c["images"][1]["id"] = "a"; }), "image id \"a\" occurs twice");
    says(with([&](json& c) { c["images"][1]["file_name"] = "a.jpg"; }), "a.jpg occurs twice");
    says(with([&](json& c) { c["images"][1].erase("file_name"); }), "has no id or no file_name");
    says(with([&](json& c) { c["images"][1]["width"] = -5; }), "negative size");
    says(with([&](json& c) { c["categories"][1]["id"] = 7; }), "category id 7 occurs twice");
    says(with([&](json& c) { c["categories"][1]["name"] = "person"; }), "two categories are called 'person'");
    says(with([&](json& c) { c.erase("categories"); }), "has no list \"categories\"");
    says(with([&](json& c) { c["annotations"] = json::array(); }), "no boxes to train on");
    says(with([&](json& c) {
             for (json& i : c["images"]) i["file_name"] = "no/" + i["file_name"].get<std::string>();
         }),
         "none of its images exist; the first would be");
    says(with([&](json& c) {
             c["detection_categories"] = {{"1", "animal"}};
         }),
         "holds the results of a detector, not labels");
    says(with([&](json& c) { c = json::array({{{"image_id", 1}}}); }), "is a list of COCO results");
    says(refusal(folder_.write("labels.json", text_content("{\"images\": [NaN]}"))), "is not JSON");
    says(refusal(folder_.write("labels.json", text_content("{\"annotations\": [{\"bbox\": [1e999, 2, 3, 4]}]}"))),
         "labels.json");
    says(refusal((folder_.path / "nowhere").string()), "no such file or folder");
}

TEST_F(BoxDataset, SeveralFilesAreTheParts) {
    const json good = coco_;
    coco_["images"] = {good["images"][0], good["images"][1]};
    coco_["annotations"] = {good["annotations"][0], good["annotations"][1]};
    folder_.write("labels_train.json", text_content(coco_.dump()));
    coco_["images"] = {good["images"][2]};
    coco_["annotations"] = {good["annotations"][2]};
    folder_.write("labels_val2024.json", text_content(coco_.dump()));
    const Dataset data = open_box_dataset(folder_.path.string());
    EXPECT_EQ(data.part(Part::train).size(), 2u);
    EXPECT_EQ(data.part(Part::validation).size(), 1u);
    folder_.write("other_validation.json", text_content(coco_.dump()));
    says(refusal(folder_.path.string()), "both look like the validation part");
}

TEST_F(BoxDataset, ImagesOfASequenceStayTogether) {
    for (int i = 0; i < 200; ++i) {
        const std::string name = "s" + std::to_string(i) + ".jpg";
        folder_.write(name, jpeg_of(sample_image(40, 80)));
        coco_["images"].push_back({{"id", i},
                                   {"file_name", name},
                                   {"width", 160},
                                   {"height", 80},
                                   {"location", "cam"},
                                   {"seq_id", 100 + i / 5}});
        if (i % 3)
            coco_["annotations"].push_back(
                {{"id", 1000 + i}, {"image_id", i}, {"category_id", 2}, {"bbox", {1, 1, 20, 20}}});
    }
    const Dataset data =
        open_box_dataset(folder_.write("labels.json", text_content(coco_.dump())), {.validation = 0.3, .test = 0.1});
    std::map<std::string, std::set<Part>> parts;
    for (const Sample& s : data.samples) parts[s.sequence].insert(s.part);
    for (const auto& [sequence, seen] : parts) EXPECT_EQ(seen.size(), 1u) << sequence;
    EXPECT_GT(data.part(Part::validation).size(), 30u);
}

TEST_F(BoxDataset, WhatSynthWrites) {
    synthesize({.out = folder_.path / "synth",
                .task = SynthTask::detect,
                .images = 40,
                .width = 160,
                .height = 120,
                .seed = 2,
                .cameras = 4});
    const Dataset data = open_box_dataset((folder_.path / "synth").string());
    EXPECT_EQ(data.classes, (std::vector<std::string>{"animal", "person", "vehicle"}));
    EXPECT_EQ(data.samples.size(), 40u);
    EXPECT_GT(data.part(Part::test).size(), 3u);
    for (const Sample& s : data.samples) EXPECT_TRUE(s.w == 160 && s.h == 120 && s.time > 0 && !s.camera.empty());
}

TEST_F(BoxDataset, YoloLabels) {
    folder_.write("y/images/train/cam1/a.jpg", jpeg_of(sample_image(40, 80)));
    folder_.write("y/images/train/cam1/b.jpg", jpeg_of(sample_image(40, 80)));
    folder_.write("y/images/val/c.jpg", jpeg_of(sample_image(40, 80)));
    folder_.write("y/labels/train/cam1/a.txt",
                  text_content("1 0.5 0.5 0.2 0.4\r\n\n0 0.1 0.1 0.1 0.1 0.2 0.1 0.2 0.3\n1 0.95 0.5 0.2 0.4"));
    folder_.write("y/labels/val/c.txt", text_content(""));
    folder_.write("y/classes.txt", text_content("animal\nperson\n"));
    Dataset data = open_box_dataset((folder_.path / "y").string());
    ASSERT_EQ(data.samples.size(), 3u);
    ASSERT_EQ(data.samples[0].boxes.size(), 3u);
    EXPECT_EQ(data.samples[0].boxes[0].category, 1u);
    EXPECT_FLOAT_EQ(data.samples[0].boxes[0].x, 0.4f);
    EXPECT_FLOAT_EQ(data.samples[0].boxes[0].y, 0.3f);
    EXPECT_FLOAT_EQ(data.samples[0].boxes[1].h, 0.2f);  // around the outline
    EXPECT_EQ(data.samples[0].camera, "cam1");
    EXPECT_EQ(data.part(Part::validation).size(), 1u);
    says(notes(data), "1 images have no label file and count as empty");
    says(notes(data), "1 outlines count as the boxes around them");
    says(notes(data), "1 boxes reach beyond their image and were cut");

    const auto with = [&](const std::string& line) {
        folder_.write("y/labels/val/c.txt", text_content("0 0.5 0.5 0.1 0.1\n" + line));
        return refusal((folder_.path / "y").string());
    };
    says(with("2 0.5 0.5 0.1 0.1"), "c.txt:2: '2 0.5 0.5 0.1 0.1' has class 2; there are 2 names");
    says(with("0.5 0.5 0.5 0.1 0.1"), "has class 0.5");
    says(with("-1 0.5 0.5 0.1 0.1"), "has class -1");
    says(with("0 0.5 0.5 0.1"), "is not class, centre x");
    says(with("0 0.5 nan 0.1 0.1"), "does not consist of numbers");
    says(with("0 0.5 0,5 0.1 0.1"), "does not consist of numbers");
    says(with("0 0.5 0.5 -0.1 0.1"), "has a negative side");
    says(with("0 320 240 100 100"), "is not in shares");
    says(refusal((folder_.path / "y/images").string()), "holds neither COCO JSON nor data.yaml nor classes.txt");
    std::filesystem::remove_all(folder_.path / "y/labels");
    says(refusal((folder_.path / "y").string()), "no label files found");
}

TEST_F(BoxDataset, LabelsBesideTheirImages) {
    // Folders above the data set may be called images, and so may those with labels beside.
    folder_.write("images/set/classes.txt", text_content("animal\n"));
    for (const char* name : {"images/set/images/b", "images/set/images/cam2/c", "images/loose/a"}) {
        folder_.write(std::string(name) + ".jpg", jpeg_of(sample_image(40, 80)));
        folder_.write(std::string(name) + ".txt", text_content("0 0.5 0.5 0.2 0.2\n"));
    }
    folder_.write("images/loose/classes.txt", text_content("animal\n"));
    folder_.write("labels/loose/a.txt", text_content(""));
    folder_.write("labels/set/images/b.txt", text_content(""));
    folder_.write("images/set/labels/cam2/c.txt", text_content("0 0.5 0.5 0.4 0.2\n"));
    const auto boxes = [&](const std::string& set) {
        std::vector<float> widths;
        const Dataset data = open_box_dataset(set, {.validation = 0, .test = 0});
        for (const Sample& s : data.samples)
            for (const TrueBox& b : s.boxes) widths.push_back(b.w);
        return widths;
    };
    EXPECT_EQ(boxes((folder_.path / "images/set").string()), (std::vector<float>{0.2f, 0.4f}))
        << "the one in labels counts more";
    EXPECT_EQ(boxes((folder_.path / "images/loose").string()).size(), 1u);
}

TEST_F(BoxDataset, KeyPointsAreNoOutlines) {
    folder_.write("y/images/a.jpg", jpeg_of(sample_image(40, 80)));
    folder_.write("y/images/b.jpg", jpeg_of(sample_image(40, 80)));
    folder_.write("y/classes.txt", text_content("animal\n"));
    const std::string path = (folder_.path / "y").string();
    const auto with = [&](const std::string& a, const std::string& b) {
        folder_.write("y/labels/a.txt", text_content(a));
        folder_.write("y/labels/b.txt", text_content(b));
    };
    const auto box = [&] { return open_box_dataset(path, {.validation = 0, .test = 0}).samples[0].boxes.at(0); };
    const TrueBox expected{0, 0.35f, 0.3f, 0.3f, 0.4f};
    with("0 0.5 0.5 0.3 0.4 0.4 0.4 2 0.6 0.6 1", "0 0.5 0.5 0.3 0.4 0 0 0 0.5 0.5 2\n0 0.2 0.2 0.1 0.1");
    EXPECT_EQ(box(), expected);
    says(notes(open_box_dataset(path)), "2 boxes have key points, which are not used");
    with("0 0.5 0.5 0.3 0.4 0.4 0.4 0.6 0.6", "0 0.5 0.5 0.3 0.4 0.4 0.4 0.6 0.6");
    says(refusal(path), "is a box with key points or an outline, as all lines are");
    with("0 0.5 0.5 0.3 0.4 0.4 0.4 0.6 0.6", "0 0.8 0.8 0.9 0.8 0.9 0.9 0.8 0.9");
    EXPECT_FLOAT_EQ(box().w, 0.3f) << "not all fit: outlines";
    EXPECT_FLOAT_EQ(box().y, 0.4f);
    with("0 0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6", "");
    EXPECT_FLOAT_EQ(box().w, 0.2f) << "a box drawn as an outline";
    with("0 0.4 0.4 0.6 0.4 1.2 0.6", "");
    says(refusal(path), "is not in shares of the image's sides");
    with("0 0.4 0.4 0.6 0.4 64 48", "");
    says(refusal(path), "is not in shares of the image's sides");
#ifdef TUNDRA_YAML
    const auto yaml = [&](const std::string& shape) {
        folder_.write("y/data.yaml", text_content("train: images\nnames: [animal]\nkpt_shape: " + shape + "\n"));
    };
    with("0 0.5 0.5 0.3 0.4 0.4 0.4 0.6 0.6", "");
    yaml("[2, 2]");
    EXPECT_EQ(box(), expected);
    yaml("[0, 0]");
    EXPECT_FLOAT_EQ(box().y, 0.4f);
    yaml("[3, 2]");
    says(refusal(path), "and 6 numbers of key points");
#endif
}

TEST_F(BoxDataset, ReasonsComeWithNoImages) {
    for (json& a : coco_["annotations"]) a.erase("bbox");
    coco_["images"].erase(3);
    says(refusal(), "has no images that can be used (3 images have a label but no box and were left out (first: ");
    coco_["images"][0]["width"] = 40;
    for (json& a : coco_["annotations"]) a["bbox"] = {0, 0, 0, 0};
    says(refusal(), "there are no boxes to train on (2 boxes have no area");
    for (json& i : coco_["images"]) i["width"] = 40;
    says(refusal(), "no images that can be used (3 images have a different shape than their labels say");
}

#ifdef TUNDRA_YAML
TEST_F(BoxDataset, DataYaml) {
    folder_.write("y/train/images/a.jpg", jpeg_of(sample_image(40, 80)));
    folder_.write("y/valid/images/b.jpg", jpeg_of(sample_image(40, 80)));
    folder_.write("y/train/labels/a.txt", text_content("1 0.5 0.5 0.2 0.4"));
    for (const char* names : {"names: ['animal', 'person']", "names:\n  0: animal\n  1: person"}) {
        const std::string yaml = folder_.write(
            "y/data.yaml",
            text_content(std::string("train: ../train/images\nval: valid/images  # there\nnc: 2\n") + names));
        for (const std::string& path : {yaml, (folder_.path / "y").string()}) {
            const Dataset data = open_box_dataset(path);
            EXPECT_EQ(data.classes, (std::vector<std::string>{"animal", "person"}));
            EXPECT_EQ(data.samples.size(), 2u);
            EXPECT_EQ(data.part(Part::validation).size(), 1u);
        }
    }
    const auto opened = [&](const std::string& yaml) {
        folder_.write("y/data.yaml", text_content(yaml));
        return open_box_dataset((folder_.path / "y").string());
    };
    const std::string names = "names: [animal, person]\n";
    Dataset data = opened("train: ../train/images\nval: ../valid/images\ntest: ../test/images\n" + names);
    EXPECT_EQ(data.samples.size(), 2u);
    says(notes(data), "test/images is missing; there are no test images");
    data = opened("path: C:\\data\\set\ntrain: train\\images\nval: /elsewhere/set/valid/images\ntest: ''\n" + names);
    EXPECT_EQ(data.part(Part::train).size(), 1u);
    EXPECT_EQ(data.part(Part::validation).size(), 1u);
    says(notes(data), "data.yaml: val: /elsewhere/set/valid/images is missing, ");
    for (const auto& [gap, message] : {std::pair("{0: a, 2: b}", "names: number 1 has no name"),
                                       std::pair("{1: a, 2: b}", "names: number 0 has no name"),
                                       std::pair("{0: a, 0: b}", "names: number 0 has two names")}) {
        folder_.write("y/data.yaml", text_content(std::string("train: train/images\nnames: ") + gap));
        says(refusal((folder_.path / "y").string()), message);
    }
    folder_.write("y/data.yaml", text_content("train: train/images\nnames: [a"));
    says(refusal((folder_.path / "y").string()), "data.yaml");
    folder_.write("y/data.yaml", text_content("train: elsewhere/images\nnames: [a]"));
    says(refusal((folder_.path / "y").string()), "is missing");
    folder_.write("y/data.yaml", text_content("train: train/images"));
    says(refusal((folder_.path / "y").string()), "has no class names");
    says(notes(opened("train: train/images\nval: valid/images\nnc: 3\n" + names)), "says nc: 3 and names 2 classes");
    // Validation on what was trained on: a folder above, and a link to the same folder.
    std::filesystem::create_directory_symlink("train", folder_.path / "y/link");
    for (const char* parts : {"train: .\nval: valid/images\n", "train: train/images\nval: link/images\n"}) {
        folder_.write("y/data.yaml", text_content(parts + names));
        says(refusal((folder_.path / "y").string()), "occurs twice, also as ");
    }
    for (const auto& [wrong, message] : {std::pair("[animal, animal]", "two classes are called 'animal'"),
                                         std::pair("[animal, '']", "a class has an empty name")}) {
        folder_.write("y/data.yaml", text_content(std::string("train: train/images\nnames: ") + wrong));
        says(refusal((folder_.path / "y").string()), message);
    }
}
#endif

}  // namespace
