// Detection of many pictures: the journal after kills, byte-identical files, update, shards and merge, bad files, memory.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "app/detect_job.h"
#include "data/jpeg_writer.h"
#include "engine/hash.h"
#include "engine/require.h"
#include "tests/golden.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Boxes that follow from the pixels and from nothing else.
std::vector<std::vector<Box>> stub(std::span<const uint8_t> pictures, size_t h, size_t w) {
    std::vector<std::vector<Box>> result;
    for (size_t at = 0; at < pictures.size(); at += h * w * 3) {
        Hash hash;
        hash.add(std::as_bytes(pictures.subspan(at, h * w * 3)));
        std::mt19937_64 random(hash.value());
        std::vector<Box>& boxes = result.emplace_back();
        for (size_t i = random() % 4; i > 0; --i) {
            const float x = float(random() % w), y = float(random() % h);
            boxes.push_back({x, y, x + 40, y + 30, float(i) / 4 - 0.001f, int(random() % 3)});
        }
    }
    return result;
}

std::string model() { return (golden_folder("yolo") / "yolov5_p6_tiny/model.pt").string(); }

std::string content(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in.good()) << path;
    return {std::istreambuf_iterator<char>(in), {}};
}
// But for the completion time.
std::string comparable(const fs::path& path) {
    std::string text = content(path);
    const size_t at = text.find("\"detection_completion_time\":\"");
    EXPECT_NE(at, text.npos);
    return text.erase(at, 29 + 19);
}

class DetectRunTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "tundra-detect-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { fs::remove_all(folder_); }

    // Pictures of two sizes in two folders.
    void make_pictures(size_t n, const std::string& prefix = "p") {
        std::mt19937 random(7);
        for (size_t i = 0; i < n; ++i) {
            const size_t h = i % 3 ? 48 : 64, w = i % 3 ? 64 : 48;
            std::vector<uint8_t> rgb(h * w * 3);
            for (uint8_t& v : rgb) v = uint8_t(random() % 64 + 3 * i);
            const fs::path path = folder_ / "in" / (i % 2 ? "a" : "b");
            fs::create_directories(path);
            write_jpeg((path / fmt::format("{}{:03}.jpg", prefix, i)).string(), rgb.data(), h, w);
        }
    }
    DetectJob job(const std::string& out) const {
        DetectJob j;
        j.pictures = {(folder_ / "in").string()};
        j.model = model();
        j.out = (folder_ / out).string();
        j.image_size = 64;
        j.batch = 2;
        j.threads = 2;
        j.network = stub;
        return j;
    }
    fs::path folder_;
};

TEST_F(DetectRunTest, FileIsAsTheFormatWantsIt) {
    make_pictures(7);
    std::ofstream(folder_ / "in" / "a" / "broken.jpg") << "no picture";
    std::ofstream(folder_ / "in" / "a" / "film.mp4") << "no picture";
    std::string notes;
    DetectJob j = job("r.json");
    j.note = [&](const std::string& text) { notes += text + "\n"; };
    const DetectOutcome outcome = detect(j);
    EXPECT_TRUE(outcome.finished);
    EXPECT_EQ(outcome.counts.done, 8u);
    EXPECT_EQ(outcome.counts.failed, 1u);
    EXPECT_NE(notes.find("1 videos"), notes.npos) << notes;
    EXPECT_NE(notes.find("not_a_picture"), notes.npos) << notes;
    EXPECT_FALSE(fs::exists(folder_ / "r.json.journal"));

    const json file = json::parse(content(folder_ / "r.json"));
    EXPECT_EQ(file["info"]["format_version"], "1.6");
    EXPECT_EQ(file["info"]["detector"], "model.pt");
    EXPECT_EQ(file["detection_categories"], (json{{"1", "animal"}, {"2", "person"}, {"3", "vehicle"}}));
    ASSERT_EQ(file["images"].size(), 8u);
    std::string last;
    for (const json& image : file["images"]) {
        const std::string name = image["file"];
        EXPECT_LT(last, name);
        EXPECT_TRUE(name.starts_with("a/") || name.starts_with("b/")) << name;
        last = name;
        if (name == "a/broken.jpg") {
            EXPECT_EQ(image["failure"], "image access failure");
            EXPECT_TRUE(image["detections"].is_null());
            continue;
        }
        double before = 1;
        for (const json& d : image["detections"]) {
            EXPECT_TRUE(d["conf"].is_number_float());
            EXPECT_LE(d["conf"].get<double>(), before);
            before = d["conf"];
            for (const json& v : d["bbox"]) EXPECT_TRUE(v.is_number_float() && v >= 0 && v <= 1) << d;
        }
    }
}

TEST_F(DetectRunTest, KilledRunsEndInTheSameBytes) {
    make_pictures(40);
    const DetectJob whole = job("whole.json");
    ASSERT_TRUE(detect(whole).finished);
    DetectJob slow = job("killed.json");
    size_t kills = 0, torn = 0, answered = 0;
    for (size_t round = 0; round < 100 && !fs::exists(slow.out); ++round) {
        const size_t steps = 1 + round % 5;  // dies while this picture is with the network
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            size_t calls = 0;
            slow.batch = 1;
            slow.network = [&](std::span<const uint8_t> p, size_t h, size_t w) {
                if (++calls > steps) kill(getpid(), SIGKILL);
                return stub(p, h, w);
            };
            detect(slow);
            _exit(0);
        }
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        if (WIFSIGNALED(status)) {
            ++kills;
            const std::string journal = content(slow.out + ".journal");
            answered += steps;
            EXPECT_EQ(size_t(std::ranges::count(journal, '\n')), 1 + answered);  // all that the network had answered
            if (round % 2) {  // a kill within a write
                std::ofstream(slow.out + ".journal", std::ios::app) << "0123456789abcdef {\"file\":\"a/p0";
                ++torn;
            }
        } else {
            ASSERT_EQ(WEXITSTATUS(status), 0);
        }
    }
    printf("%zu kills, %zu torn lines\n", kills, torn);
    EXPECT_GT(kills, 5u);
    EXPECT_EQ(comparable(slow.out), comparable(whole.out));
}

TEST_F(DetectRunTest, JournalOfOtherSettingsIsRefused) {
    make_pictures(4);
    DetectJob j = job("r.json");
    j.progress = [](const DetectCounts& counts, size_t) { return counts.done < 2; };
    EXPECT_FALSE(detect(j).finished);
    EXPECT_FALSE(fs::exists(j.out));
    j.progress = {};
    j.threshold = 0.1f;
    EXPECT_THROW(detect(j), Error);
    j.threshold = 0.005f;
    const DetectOutcome outcome = detect(j);
    EXPECT_TRUE(outcome.finished);
    EXPECT_GE(outcome.counts.resumed, 2u);
}

TEST_F(DetectRunTest, BatchesAndThreadsDoNotShow) {
    make_pictures(20);
    detect(job("a.json"));
    DetectJob other = job("b.json");
    other.batch = 5;
    other.threads = 7;
    detect(other);
    EXPECT_EQ(comparable(folder_ / "a.json"), comparable(folder_ / "b.json"));
}

TEST_F(DetectRunTest, UpdateAddsOnlyNewPictures) {
    make_pictures(6);
    detect(job("old.json"));
    make_pictures(10, "q");
    detect(job("all.json"));
    DetectJob update = job("new.json");
    update.update = (folder_ / "old.json").string();
    const DetectOutcome outcome = detect(update);
    EXPECT_EQ(outcome.pictures, 10u);
    EXPECT_EQ(outcome.kept, 6u);
    EXPECT_EQ(comparable(folder_ / "new.json"), comparable(folder_ / "all.json"));
}

TEST_F(DetectRunTest, ShardsMergeToTheWholeAndGapsAreNoticed) {
    make_pictures(11);
    detect(job("whole.json"));
    std::vector<std::string> parts;
    for (size_t i = 1; i <= 3; ++i) {
        DetectJob shard = job(fmt::format("{}.json", i));
        shard.shard = fmt::format("{}/3", i);
        detect(shard);
        parts.push_back(shard.out);
    }
    EXPECT_EQ(merge_results(parts, folder_ / "merged.json"), 11u);
    const json merged = json::parse(content(folder_ / "merged.json")), whole = json::parse(content(folder_ / "whole.json"));
    EXPECT_EQ(merged["images"], whole["images"]);
    EXPECT_EQ(merged["detection_categories"], whole["detection_categories"]);
    EXPECT_THROW(merge_results({parts[0], parts[2]}, folder_ / "x.json"), Error);
    EXPECT_THROW(merge_results({parts[0], parts[0], parts[1], parts[2]}, folder_ / "x.json"), Error);
    EXPECT_THROW(merge_results({(folder_ / "whole.json").string()}, folder_ / "x.json"), Error);
    EXPECT_FALSE(fs::exists(folder_ / "x.json"));
    for (const char* bad : {"0/3", "4/3", "1", "a/b", "1/3x"}) EXPECT_THROW(parse_shard(bad), Error) << bad;
}

TEST_F(DetectRunTest, OtherFormats) {
    make_pictures(5);
    DetectJob j = job("r.csv");
    detect(j);
    const std::string csv = content(folder_ / "r.csv");
    EXPECT_TRUE(csv.starts_with("file,failure,category,confidence,"));
    EXPECT_NE(csv.find("\na/p001.jpg,,"), csv.npos) << csv;
    j = job("coco.json");
    j.format = "coco";
    detect(j);
    for (const json& row : json::parse(content(folder_ / "coco.json"))) {
        EXPECT_TRUE(row.at("category_id").is_number_integer());
        EXPECT_LE(row.at("bbox")[0].get<double>() + row["bbox"][2].get<double>(), 64.1);
    }
}

TEST_F(DetectRunTest, CopiesAndCrops) {
    make_pictures(5);
    DetectJob j = job("r.json");
    j.pictures_out = {.render = folder_ / "render", .crops = folder_ / "crops", .threshold = 0.01};
    const DetectOutcome outcome = detect(j);
    size_t copies = 0, crops = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "render")) copies += entry.path().extension() == ".jpg";
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "crops")) {
        if (entry.path().extension() != ".jpg") continue;
        ++crops;
        const Decoded crop = read_picture(entry.path().string());
        EXPECT_TRUE(crop.usable() && crop.picture.h == crop.picture.w) << entry.path();
    }
    EXPECT_EQ(copies, 5u);
    EXPECT_GT(crops, 0u);
    EXPECT_LE(crops, outcome.detections);  // boxes without area give none
}

size_t resident_bytes() {
    size_t pages = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> pages >> resident;
    return resident * size_t(sysconf(_SC_PAGESIZE));
}

// Links to the same files, so that the number of pictures grows and nothing else does.
TEST_F(DetectRunTest, MemoryDoesNotGrowWithPictures) {
    make_pictures(200);
    const fs::path sources = folder_ / "sources";
    fs::rename(folder_ / "in", sources);
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(sources))
        if (entry.is_regular_file()) files.push_back(entry.path());
    std::ranges::sort(files);
    size_t peak[2] = {}, counts[2] = {1000, 10000}, made = 0;
    for (size_t round = 0; round < 2; ++round) {
        fs::create_directories(folder_ / "in");
        for (; made < counts[round]; ++made)
            fs::create_symlink(files[made % files.size()], folder_ / "in" / fmt::format("{:06}.jpg", made));
        DetectJob j = job(fmt::format("r{}.json", round));
        j.progress = [&](const DetectCounts&, size_t) {
            peak[round] = std::max(peak[round], resident_bytes());
            return true;
        };
        ASSERT_EQ(detect(j).counts.failed, 0u);
    }
    printf("resident: %.1f MB at %zu pictures, %.1f MB at %zu\n", double(peak[0]) / 1e6, counts[0], double(peak[1]) / 1e6, counts[1]);
    // Names and offsets, 200 bytes each at most; decoding itself takes some 100 KB per picture.
    EXPECT_LT(peak[1], peak[0] + 200 * (counts[1] - counts[0]) + (1 << 20));
}

}  // namespace
