// Where results go and what is in them: names of earlier files, ids, stale copies, outputs that cannot be, drives that
// go away. Below 3 s.
#include "app/detect/earlier.h"
#include "app/detect/image_outputs.h"
#include "base/error.h"
#include "base/file.h"
#include "tests/detect_fixture.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Results : public DetectTest {
protected:
    static Error refused(const DetectJob& j) {
        try {
            detect(j);
        } catch (const Error& e) {
            EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
            return e;
        }
        ADD_FAILURE() << "accepted";
        return {Fault::runtime, ""};
    }
    std::vector<std::string> names(const fs::path& file) const {
        std::vector<std::string> names;
        const json found = results(file);
        for (const json& image : found["images"]) names.push_back(image["file"]);
        return names;
    }
};

TEST_F(Results, earlier_names_in_other_spellings) {
    make_images(6);
    detect(job("old.json"));
    const json old = results(folder_ / "old.json");
    const auto update = [&](const std::function<std::string(std::string)>& change, const std::string& base = "") {
        json changed = old;
        for (json& image : changed["images"]) image["file"] = change(image["file"]);
        changed["info"]["custom_metadata"]["tundra"]["damaged_pictures"] = {change("a/p001.jpg")};
        std::ofstream(folder_ / "changed.json") << changed;
        DetectJob j = job("new.json");
        j.update = (folder_ / "changed.json").string();
        j.base = base;
        EXPECT_EQ(detect(j).kept, 6u);
        EXPECT_EQ(results(folder_ / "new.json")["info"]["custom_metadata"]["tundra"]["damaged_pictures"],
                  json::array({base.empty() ? "a/p001.jpg" : "in/a/p001.jpg"}));
        return names(folder_ / "new.json");
    };
    const std::vector<std::string> same = names(folder_ / "old.json");
    EXPECT_EQ(update([&](const std::string& n) { return (folder_ / "in" / n).string(); }), same);
    fs::create_directory_symlink(folder_ / "in", folder_ / "link");
    EXPECT_EQ(update([&](const std::string& n) { return (folder_ / "link" / n).string(); }), same);
    EXPECT_EQ(update([](std::string n) { return std::ranges::replace(n, '/', '\\'), n; }), same);
    EXPECT_EQ(update([](const std::string& n) { return "./" + n; }), same);
    EXPECT_EQ(update([](const std::string& n) { return "in/" + n; }), same) << "written with the base one level higher";
    EXPECT_EQ(update([](const std::string& n) { return "in\\" + n; }), same);
    EXPECT_EQ(update([&](const std::string& n) { return (folder_ / "in" / n).string(); }, folder_.string()).size(), 6u);

    // Names that fit nothing: said, and no image is there twice.
    json strange = old;
    for (json& image : strange["images"]) image["file"] = "C:/other/" + image["file"].get<std::string>();
    std::ofstream(folder_ / "strange.json") << strange;
    DetectJob j = job("new2.json");
    j.update = (folder_ / "strange.json").string();
    const Error error = refused(j);
    EXPECT_EQ(error.fault, Fault::usage);
    EXPECT_NE(std::string(error.what()).find("none of its 6 images"), std::string::npos) << error.what();
    // The same image under two names.
    json twice = old;
    twice["images"].push_back(twice["images"][0]);
    twice["images"].back()["file"] = (folder_ / "in" / twice["images"][0]["file"].get<std::string>()).string();
    std::ofstream(folder_ / "strange.json") << twice;
    EXPECT_EQ(refused(j).fault, Fault::damaged);
    for (const json& wrong : {json{{"category", "1"}, {"conf", 1.5}, {"bbox", {0, 0, 1, 1}}},
                              json{{"category", "1"}, {"conf", 0.5}, {"bbox", {10, 10, 50, 50}}}}) {
        json changed = old;
        changed["images"][0]["detections"] = {wrong};
        std::ofstream(folder_ / "strange.json") << changed;
        EXPECT_EQ(refused(j).fault, Fault::damaged) << wrong;
    }
}

// Boxes of another detector are moved a little; each takes the classes of the one that it covers best.
TEST_F(Results, classes_come_from_the_box_in_the_same_place) {
    const auto box = [](float x, float w, ClassScores classes = {}) {
        return Detection{.category = 1, .confidence = 0.9f, .x = x, .y = 0.2f, .w = w, .h = 0.3f, .classes = classes};
    };
    const ImageResult given{
        .file = "a",
        .detections = {box(0.12f, 0.2f, {{0, 0.9f}}), box(0.1f, 0.2f, {{1, 0.8f}}), box(0.1f, 0.2f, {{2, 0.7f}}),
                       box(0.6f, 0.1f, {{3, 0.6f}}), box(0.8f, 0.2f)}};
    ImageResult result{.file = "a",
                       .detections = {box(0.105f, 0.2f), box(0.6f, 0.19f), box(0.6f, 0.21f), box(0.8f, 0.2f)}};
    take_classes(given, result);
    EXPECT_EQ(result.detections[0].classes, (ClassScores{{1, 0.8f}}));  // of two in the same place the first
    EXPECT_EQ(result.detections[1].classes, (ClassScores{{3, 0.6f}}));  // IoU 0.53
    EXPECT_TRUE(result.detections[2].classes.empty());                  // IoU 0.48
    EXPECT_TRUE(result.detections[3].classes.empty());
}

TEST_F(Results, ids_of_coco_tell_all_images_apart) {
    const Image shot = with_magenta(48, 64, {10, 10, 20, 20});
    for (const char* name : {"cam1/0012.jpg", "cam2/0012.jpg", "cam2/12.png", "cam2/13.jpg", "x/fox.jpg"})
        temporary_.write(std::string("in/") + name,
                         fs::path(name).extension() == ".png" ? png_of(shot) : jpeg_of(shot));
    DetectJob j = job("ids.json");
    j.format = "coco";
    j.network = at_once(magenta_network);
    detect(j);
    std::set<std::string> ids;
    for (const json& row : json::parse(content(j.out))) ids.insert(row["image_id"].dump());
    EXPECT_EQ(ids, (std::set<std::string>{"\"cam1/0012.jpg\"", "\"cam2/0012.jpg\"", "\"cam2/12.png\"", "13",
                                          "\"x/fox.jpg\""}));
}

TEST_F(Results, files_that_cannot_be_the_output) {
    make_images(2);
    fs::create_directory(folder_ / "folder");
    const fs::path image = *fs::recursive_directory_iterator(folder_ / "in/a");
    temporary_.write("list.json", text_content("[\"" + image.string() + "\"]"));
    for (const std::string& out : {std::string("folder"), std::string("folder/"), std::string("missing/r.json"),
                                   image.lexically_relative(folder_).string()}) {
        bool seen = false;
        DetectJob j = job(out);
        j.network = at_once([&](auto p, size_t h, size_t w) { return seen = true, stub(p, h, w); });
        EXPECT_EQ(refused(j).fault, Fault::usage) << out;
        EXPECT_FALSE(seen) << out;
    }
    for (const char* out : {"", "-", "/dev/null", "/dev/stdout"}) {
        DetectJob j = job("x");
        j.out = out;
        EXPECT_EQ(refused(j).fault, Fault::usage) << out;
    }
    DetectJob j = job("list.json");
    for (const std::string at : {"", "@"}) {
        j.images = {at + (folder_ / "list.json").string()};
        EXPECT_EQ(refused(j).fault, Fault::usage) << "the list itself";
    }
    EXPECT_TRUE(fs::is_character_file("/dev/null"));
    EXPECT_EQ(result_format("", "R.CSV"), ResultFormat::csv);
    EXPECT_EQ(result_format("", "r.Json"), ResultFormat::megadetector);
    for (const char* other : {"r.jsonl", "r.TSV", "r.json.gz", "r.xlsx"})
        EXPECT_THROW(result_format("", other), Error) << other;
    EXPECT_THROW(result_format("coco", "r.csv"), Error);
    EXPECT_THROW(result_format("csv", "r.json"), Error);
    EXPECT_EQ(result_format("csv", "r.txt"), ResultFormat::csv);
    EXPECT_THROW(merge_results({(folder_ / "list.json").string()}, folder_ / "list.json"), Error);
}

TEST_F(Results, crops_of_an_earlier_run_do_not_mix_with_new_ones) {
    make_images(6);
    DetectJob j = job("r.json");
    j.outputs = {.crops = folder_ / "crops", .threshold = 0.01};
    j.progress = [](const DetectCounts& counts, size_t) { return counts.done < 3; };
    EXPECT_FALSE(detect(j).finished);
    j.progress = {};
    EXPECT_TRUE(detect(j).finished) << "its own crops are no obstacle";
    const Error error = refused(j);
    EXPECT_EQ(error.fault, Fault::usage);
    EXPECT_NE(std::string(error.what()).find("--crops"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("holds files"), std::string::npos);
    DetectJob more = job("more.json");
    more.outputs = j.outputs;
    more.update = j.out;
    std::string notes;
    more.note = [&](const std::string& text) { notes += text + "\n"; };
    EXPECT_TRUE(detect(more).finished);
    EXPECT_NE(notes.find("holds files already, which stay"), std::string::npos) << notes;
}

// Of all images at once; a single one that is missing is a result.
TEST_F(Results, a_drive_that_goes_away) {
    make_images(30);
    detect(job("whole.json"));
    DetectJob j = job("r.json");
    j.machine.threads = 1;
    size_t seen = 0;
    j.network = at_once([&](auto p, size_t h, size_t w) {
        if (++seen == 3) fs::rename(folder_ / "in", folder_ / "away");
        return stub(p, h, w);
    });
    const Error error = refused(j);
    EXPECT_EQ(error.fault, Fault::environment) << error.what();
    EXPECT_NE(std::string(error.what()).find("still there"), std::string::npos) << error.what();
    EXPECT_FALSE(fs::exists(j.out));
    EXPECT_EQ(content(j.out + ".journal").find("failure"), std::string::npos);
    EXPECT_EQ(refused(j).fault, Fault::environment) << "still away";
    fs::create_directory(folder_ / "in");  // an empty mount point
    EXPECT_EQ(refused(j).fault, Fault::environment);
    fs::remove(folder_ / "in");
    fs::rename(folder_ / "away", folder_ / "in");
    j.network = at_once(stub);
    EXPECT_TRUE(detect(j).finished);
    EXPECT_EQ(comparable(j.out), comparable(folder_ / "whole.json"));
}

}  // namespace
