// Detection of many images: the journal after kills, byte-identical files, update, shards and merge, bad files,
// memory.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "app/detect/shard.h"
#include "base/error.h"
#include "tests/detect_fixture.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::atomic<size_t> allocated_bytes{0};

class DetectRunTest : public DetectTest {};

// An exception must not let the child go on as a second test program.
template <class Work>
pid_t in_a_child(const Work& work) {
    const pid_t child = fork();
    if (child != 0) return child;
    try {
        work();
    } catch (const std::exception& e) {
        fprintf(stderr, "%s\n", e.what());
        _exit(1);
    }
    _exit(0);
}

TEST_F(DetectRunTest, FileIsAsTheFormatWantsIt) {
    make_images(7);
    std::ofstream(folder_ / "in" / "a" / "broken.jpg") << "no image";
    std::ofstream(folder_ / "in" / "a" / "film.mp4") << "no image";
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

    const json file = results(folder_ / "r.json");
    EXPECT_EQ(file["info"]["format_version"], "1.6");
    EXPECT_EQ(file["info"]["detector"], "model.pt");
    EXPECT_EQ(file["detection_categories"], (json{{"1", "animal"}, {"2", "person"}, {"3", "vehicle"}}));
    ASSERT_EQ(file["images"].size(), 8u);
    EXPECT_EQ(image(file, "a/broken.jpg")["failure"], "image access failure");
}

TEST_F(DetectRunTest, KilledRunsEndInTheSameBytes) {
    make_images(40);
    const DetectJob whole = job("whole.json");
    ASSERT_TRUE(detect(whole).finished);
    DetectJob slow = job("killed.json");
    size_t kills = 0, torn = 0, answered = 0;
    for (size_t round = 0; round < 100 && !fs::exists(slow.out); ++round) {
        const size_t steps = 1 + round % 5;  // dies while this image is with the network
        const pid_t child = in_a_child([&] {
            size_t calls = 0;
            slow.machine.batch = 1;
            slow.network = at_once([&](std::span<const uint8_t> p, size_t h, size_t w) {
                if (++calls > steps) kill(getpid(), SIGKILL);
                return stub(p, h, w);
            });
            detect(slow);
        });
        ASSERT_GE(child, 0);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        if (WIFSIGNALED(status)) {
            ++kills;
            const std::string journal = content(slow.out + ".journal");
            answered += steps;
            EXPECT_EQ(size_t(std::ranges::count(journal, '\n')), 1 + answered);  // all that the network had answered
            if (round % 2) {                                                     // a kill within a write
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

// No image counts as missing because its drive is away. Three seconds of waiting.
TEST_F(DetectRunTest, StopsWhenTheDriveGoesAwayAndGoesOnWhenItIsBack) {
    make_images(40);
    const DetectJob whole = job("whole.json");
    ASSERT_TRUE(detect(whole).finished);
    DetectJob lost = job("lost.json");
    size_t calls = 0;
    lost.network = at_once([&](std::span<const uint8_t> p, size_t h, size_t w) {
        if (++calls == 10) fs::rename(folder_ / "in", folder_ / "away"), fs::create_directory(folder_ / "in");
        return stub(p, h, w);
    });
    EXPECT_THROW(detect(lost), ImagesLost);
    EXPECT_FALSE(fs::exists(lost.out));
    const std::string journal = content(lost.out + ".journal");
    EXPECT_EQ(journal.find("failure"), journal.npos);
    fs::remove(folder_ / "in"), fs::rename(folder_ / "away", folder_ / "in");
    lost.network = at_once(stub);
    EXPECT_GE(detect(lost).counts.resumed, 10u);
    EXPECT_EQ(comparable(lost.out), comparable(whole.out));
}

TEST_F(DetectRunTest, JournalOfOtherSettingsIsRefused) {
    make_images(4);
    DetectJob j = job("r.json");
    j.progress = [](const DetectCounts& counts, size_t) { return counts.done < 2; };
    EXPECT_FALSE(detect(j).finished);
    EXPECT_FALSE(fs::exists(j.out));
    j.progress = {};
    const auto refused = [&](const char* part) {
        try {
            detect(j);
            ADD_FAILURE() << "accepted: " << part;
        } catch (const Error& error) {
            EXPECT_EQ(error.fault, Fault::usage);
            EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
        }
    };
    j.threshold = 0.1f;
    refused("threshold: 0.005 -> 0.1");
    j.threshold = 0.005f;
    j.tta = true;
    refused("tta: null -> true");
    j.tta = false;
    j.tile = 640;
    refused("tile: null -> 640");
    j.tile = 0;
    j.outputs.crops = folder_ / "crops";
    refused("crops: null -> ");
    j.outputs.crops.clear();
    const DetectOutcome outcome = detect(j);
    EXPECT_TRUE(outcome.finished);
    EXPECT_GE(outcome.counts.resumed, 2u);
}

TEST_F(DetectRunTest, BatchesAndThreadsDoNotShow) {
    make_images(20);
    detect(job("a.json"));
    DetectJob other = job("b.json");
    other.machine.batch = 5;
    other.machine.threads = 7;
    detect(other);
    EXPECT_EQ(comparable(folder_ / "a.json"), comparable(folder_ / "b.json"));
}

TEST_F(DetectRunTest, UpdateAddsOnlyNewImages) {
    make_images(6);
    detect(job("old.json"));
    make_images(10, "q");
    detect(job("all.json"));
    DetectJob update = job("new.json");
    update.update = (folder_ / "old.json").string();
    const DetectOutcome outcome = detect(update);
    EXPECT_EQ(outcome.images, 10u);
    EXPECT_EQ(outcome.kept, 6u);
    EXPECT_EQ(comparable(folder_ / "new.json"), comparable(folder_ / "all.json"));
    results(folder_ / "new.json");
    update.threshold = 0.1f;
    EXPECT_THROW(detect(update), Error);  // two thresholds in one file
}

TEST_F(DetectRunTest, ShardsMergeToTheWholeAndGapsAreNoticed) {
    make_images(11);
    detect(job("whole.json"));
    std::vector<std::string> parts;
    for (size_t i = 1; i <= 3; ++i) {
        DetectJob shard = job(fmt::format("{}.json", i));
        shard.shard = fmt::format("{}/3", i);
        detect(shard);
        parts.push_back(shard.out);
    }
    EXPECT_EQ(merge_results(parts, folder_ / "merged.json"), 11u);
    const json merged = results(folder_ / "merged.json"), whole = results(folder_ / "whole.json");
    EXPECT_EQ(merged["images"], whole["images"]);
    EXPECT_EQ(merged["detection_categories"], whole["detection_categories"]);
    EXPECT_THROW(merge_results({parts[0], parts[2]}, folder_ / "x.json"), Error);
    EXPECT_THROW(merge_results({parts[0], parts[0], parts[1], parts[2]}, folder_ / "x.json"), Error);
    EXPECT_THROW(merge_results({(folder_ / "whole.json").string()}, folder_ / "x.json"), Error);
    EXPECT_FALSE(fs::exists(folder_ / "x.json"));
    for (const char* bad : {"0/3", "4/3", "1", "a/b", "1/3x"}) EXPECT_THROW(parse_shard(bad), Error) << bad;
}

TEST_F(DetectRunTest, OtherFormats) {
    make_images(5);
    DetectJob j = job("r.csv");
    detect(j);
    const std::string csv = content(folder_ / "r.csv");
    EXPECT_TRUE(csv.starts_with("file,failure,category,confidence,"));
    EXPECT_NE(csv.find("\na/p001.jpg,,"), csv.npos) << csv;
    j = job("coco.json");
    j.format = "coco";
    detect(j);
    for (const json& row : json::parse(content(folder_ / "coco.json"))) {
        for (const json& v : row.at("bbox")) EXPECT_EQ(v.get<double>(), std::round(v.get<double>()));  // whole pixels
        EXPECT_TRUE(row.at("category_id").is_number_integer());
        EXPECT_LE(row.at("bbox")[0].get<double>() + row["bbox"][2].get<double>(), 64.1);
    }
}

TEST_F(DetectRunTest, CopiesAndCrops) {
    make_images(5);
    DetectJob j = job("r.json");
    j.outputs = {.render = folder_ / "render", .crops = folder_ / "crops", .threshold = 0.01};
    const DetectOutcome outcome = detect(j);
    size_t copies = 0, crops = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "render"))
        copies += entry.path().extension() == ".jpg";
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "crops")) {
        if (entry.path().extension() != ".jpg") continue;
        ++crops;
        const Decoded crop = read_image(entry.path().string());
        EXPECT_TRUE(crop.usable() && crop.image.h == crop.image.w) << entry.path();
    }
    EXPECT_EQ(copies, 5u);
    EXPECT_GT(crops, 0u);
    EXPECT_LE(crops, outcome.detections);  // boxes without area give none
    j = job("r2.json");
    for (const char* inside : {"in", "in/a", "in/new"}) {
        j.outputs = {.render = folder_ / inside};
        EXPECT_THROW(detect(j), Error) << inside;  // originals could be overwritten
    }
}

// The process dies at random moments: while it lists, decodes, writes the journal or the result file.
TEST_F(DetectRunTest, KillsAtRandomMoments) {
    make_images(60);
    const auto slow = [](std::span<const uint8_t> p, size_t h, size_t w) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        return stub(p, h, w);
    };
    ASSERT_TRUE(detect(job("whole.json")).finished);
    const std::string whole = comparable(folder_ / "whole.json");
    std::mt19937 random(3);
    DetectJob j = job("killed.json");
    j.network = at_once(slow);
    const auto lines = [&] {
        if (!fs::exists(j.out + ".journal")) return size_t(0);
        const std::string text = content(j.out + ".journal");
        return size_t(std::ranges::count(text, '\n'));
    };
    size_t kills = 0, finished = 0, from = 0;
    for (; kills < 100; ++kills) {
        if (fs::exists(j.out)) {  // the whole file, or none: a kill may hit its journal's removal
            ASSERT_EQ(comparable(j.out), whole);
            ++finished;
            fs::remove(j.out);
            fs::remove(j.out + ".journal");
            from = 0;
        }
        int ends[2];
        ASSERT_EQ(pipe(ends), 0);
        const pid_t child = in_a_child([&] {
            j.progress = [&](const DetectCounts& counts, size_t) {
                return write(ends[1], &counts.done, sizeof counts.done) > 0;
            };
            detect(j);
        });
        ASSERT_GE(child, 0);
        close(ends[1]);
        // Some images later, and then a random moment; every third kill hits the start.
        size_t told = 0;  // what it had said to be done
        for (size_t wait = kills % 3 ? random() % 12 : 0; wait > 0 && read(ends[0], &told, sizeof told) > 0;) --wait;
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
        kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        for (size_t done; read(ends[0], &done, sizeof done) == ssize_t(sizeof done);) told = done;
        close(ends[0]);
        if (fs::exists(j.out)) continue;
        const size_t kept = lines();
        const size_t known = std::max(told, from);  // no work is lost at all, and none later
        ASSERT_TRUE(known == 0 || kept > known)
            << "after kill " << kills << ": " << kept << " lines, " << known << " images were done";
        from = kept > 1 ? kept - 1 : 0;
    }
    ASSERT_TRUE(detect(j).finished);
    EXPECT_EQ(comparable(j.out), whole);
    EXPECT_GT(finished, 0u);
    for (const auto& entry : fs::directory_iterator(folder_)) EXPECT_NE(entry.path().extension(), ".journal");
    printf("%zu kills, %zu finished files\n", kills, finished + 1);
}

// An image costs one line of the journal and one of the result: nothing is written again as the run grows.
TEST_F(DetectRunTest, BytesWrittenGrowWithImages) {
    const auto written = [] {
        std::ifstream io("/proc/self/io");
        for (std::string key; io >> key;)
            if (size_t bytes; key == "wchar:" && io >> bytes) return bytes;
        return size_t(0);
    };
    make_images(20);
    if (!written()) GTEST_SKIP() << "this system does not count what a process writes";
    size_t bytes[2], expected[2];
    for (size_t round = 0; round < 2; ++round) {
        if (round) make_images(200, "q");
        DetectJob j = job(fmt::format("r{}.json", round));
        size_t journal = 0;
        j.progress = [&](const DetectCounts&, size_t) { return journal = fs::file_size(j.out + ".journal"), true; };
        const size_t before = written();
        detect(j);
        bytes[round] = written() - before;
        expected[round] = journal + fs::file_size(j.out);
        EXPECT_GE(bytes[round], expected[round]);
    }
    EXPECT_LT(double(bytes[1]), 1.05 * double(expected[1]) + 4096);
    printf("%zu bytes written, journal and result are %zu\n", bytes[1], expected[1]);
}

// Links to the same files, so that the number of images grows and nothing else does. Counts what is allocated and not
// yet freed; the `files` curve of bench/scale.py measures what the system sees.
TEST_F(DetectRunTest, MemoryDoesNotGrowWithImages) {
#if defined(__SANITIZE_ADDRESS__)
    GTEST_SKIP() << "the sanitizer owns operator new";
#endif
    make_images(20);
    fs::rename(folder_ / "in", folder_ / "sources");
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "sources"))
        if (entry.is_regular_file()) files.push_back(entry.path());
    std::ranges::sort(files);
    size_t most[2] = {}, counts[2] = {300, 1800}, made = 0;
    for (size_t round = 0; round < 2; ++round) {
        fs::create_directories(folder_ / "in");
        for (; made < counts[round]; ++made)
            fs::create_symlink(files[made % files.size()],
                               folder_ / "in" / fmt::format("a_name_of_usual_length_{:06}.jpg", made));
        DetectJob j = job(fmt::format("r{}.json", round));
        j.machine.threads = 1;
        j.progress = [&](const DetectCounts& c, size_t total) {
            if (c.done == total) most[round] = allocated_bytes;  // nothing is on its way any more
            return true;
        };
        ASSERT_EQ(detect(j).counts.failed, 0u);
    }
    const double per_image = (double(most[1]) - double(most[0])) / double(counts[1] - counts[0]);
    printf("%.1f bytes per image of names with 33 bytes\n", per_image);
    EXPECT_LT(per_image, 33 + 3 * 8 + 8);  // name, its end, its place in the journal, its place in the queue
    EXPECT_GT(per_image, 33) << "nothing is counted";
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__)
// Every allocation through new, with its size in front.
void* operator new(size_t bytes) {
    constexpr size_t kFront = 16;
    void* const memory = std::malloc(bytes + kFront);
    if (!memory) throw std::bad_alloc();
    *static_cast<size_t*>(memory) = bytes;
    allocated_bytes += bytes;
    return static_cast<char*>(memory) + kFront;
}
void operator delete(void* memory) noexcept {
    if (!memory) return;
    void* const whole = static_cast<char*>(memory) - 16;
    allocated_bytes -= *static_cast<size_t*>(whole);
    std::free(whole);
}
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }
#endif
