// A whole survey with a network that follows from the pixels: kills, shards, its own folder, memory; 15 s.
#include <malloc.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "app/survey/survey.h"
#include "base/error.h"
#include "tests/detect_fixture.h"

namespace {

namespace fs = std::filesystem;

class SurveyRun : public DetectTest {
protected:
    SurveyJob survey_job(const std::string& out) const {
        SurveyJob j{.detect = job("")};
        j.detect.out = (folder_ / out).string();
        return j;
    }
    std::string files_of(const std::string& out) const {
        std::string text;
        for (const char* name : {"results.json", "images.csv", "events.csv"}) text += content(folder_ / out / name);
        return text;
    }
};

// The process dies at random moments: while it lists, decodes, writes the journal or the tables.
TEST_F(SurveyRun, KillsAtRandomMoments) {
    make_images(60);
    ASSERT_TRUE(survey(survey_job("whole")).detect.finished);
    const std::string whole = files_of("whole");
    std::mt19937 random(3);
    size_t resumed = 0, finished = 0;
    for (int kills = 0; kills < 60; ++kills) {
        if (kills % 15 == 14) fs::remove_all(folder_ / "killed");  // and from the start again
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            SurveyJob j = survey_job("killed");
            j.detect.network = at_once([](std::span<const uint8_t> p, size_t h, size_t w) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                return stub(p, h, w);
            });
            size_t before = 0;
            j.detect.progress = [&](const DetectCounts& c, size_t) {
                return before = std::max(before, c.resumed), true;
            };
            try {
                survey(j);
            } catch (const std::exception& e) {
                fprintf(stderr, "%s\n", e.what());
                _exit(1);
            }
            _exit(before ? 3 : 0);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 200'000));
        kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << "after kill " << kills;
        if (WIFSIGNALED(status)) {
            resumed += fs::exists(folder_ / "killed" / "survey.journal");
            continue;
        }
        ++finished;
        ASSERT_EQ(files_of("killed"), whole) << "after kill " << kills;
    }
    ASSERT_TRUE(survey(survey_job("killed")).detect.finished);
    EXPECT_EQ(files_of("killed"), whole);
    EXPECT_GT(resumed, 0u) << "no kill hit a running survey: the test shows nothing";
    for (const auto& entry : fs::directory_iterator(folder_ / "killed"))
        EXPECT_NE(entry.path().extension(), ".tmp") << entry.path() << " was left behind";
    printf("%zu kills hit a running survey, %zu surveys finished before\n", resumed, finished);
}

TEST_F(SurveyRun, ImagesThatAreAdded) {
    make_images(40);
    ASSERT_TRUE(survey(survey_job("whole")).detect.finished);
    const std::string whole = files_of("whole");
    fs::rename(folder_ / "in/a", folder_ / "later");
    ASSERT_TRUE(survey(survey_job("added")).detect.finished);
    fs::rename(folder_ / "later", folder_ / "in/a");
    const SurveyOutcome outcome = survey(survey_job("added"));
    EXPECT_EQ(outcome.detect.counts.resumed, 20u) << "only new images are looked at";
    EXPECT_EQ(files_of("added"), whole);
}

// A card was cleared and its names were used again: what was found on the earlier images is not said of the new ones.
TEST_F(SurveyRun, NamesThatWereUsedAgain) {
    make_images(20);
    ASSERT_TRUE(survey(survey_job("season")).detect.finished);
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder_ / "in/a")) files.push_back(entry.path());
    ASSERT_NE(fs::file_size(files[0]), fs::file_size(files[1]));
    fs::copy_file(files[1], files[0], fs::copy_options::overwrite_existing);
    const auto said = [&](const fs::path& file) {
        return fmt::format("{},,final,empty,bad,Ann,2026-11-30T08:00:00Z,\n",
                           fs::relative(file, folder_ / "in").string());
    };
    const std::string header = "file,box,field,old,new,reviewer,time,place\n";
    std::ofstream(folder_ / "season/corrections.csv") << header << said(files[0]) << said(files[1]);
    std::ofstream(folder_ / "season/repeats.csv")
        << "group,file,box\n1," << fs::relative(files[0], folder_ / "in").string() << ",1\n";
    std::string notes;
    SurveyJob j = survey_job("season");
    j.detect.note = [&](const std::string& text) { notes += text + "\n"; };
    EXPECT_EQ(survey(j).detect.counts.resumed, 19u);
    EXPECT_NE(notes.find("1 files are others than those of this name before (first: a/"), notes.npos) << notes;
    EXPECT_NE(notes.find("; what people said of 1 of them no longer counts"), notes.npos) << notes;
    EXPECT_NE(notes.find("repeats.csv names boxes of such files"), notes.npos) << notes;
    fs::create_directory(folder_ / "fresh");
    std::ofstream(folder_ / "fresh/corrections.csv") << header << said(files[1]);
    ASSERT_TRUE(survey(survey_job("fresh")).detect.finished);
    EXPECT_EQ(files_of("season"), files_of("fresh"));
    EXPECT_NE(files_of("season").find(",Ann,"), std::string::npos) << "what was said of the other image counts";
    notes.clear();
    EXPECT_EQ(survey(j).detect.counts.resumed, 20u);
    EXPECT_EQ(notes.find("others"), notes.npos) << notes;
    // A folder that was renamed comes in as new images; the earlier ones count on, which is told.
    fs::rename(folder_ / "in/a", folder_ / "in/c");
    EXPECT_EQ(survey(j).images, 30u);
    EXPECT_NE(notes.find("10 images of earlier runs stay in the survey; 10 of them are no longer at their place"),
              notes.npos)
        << notes;
}

TEST_F(SurveyRun, ShardsWithWhatPeopleSaid) {
    make_images(30);
    std::vector<std::string> folders;
    std::string notes;
    for (int i = 1; i <= 2; ++i) {
        SurveyJob j = survey_job(fmt::format("s{}", i));
        j.detect.shard = fmt::format("{}/2", i);
        ASSERT_TRUE(survey(j).detect.finished);
        folders.push_back(j.detect.out);
        const std::string table = content(folder_ / folders.back() / "images.csv");
        const size_t row = table.find('\n') + 1;
        const std::string first = table.substr(row, table.find(',', row) - row);
        std::ofstream(folder_ / folders.back() / "corrections.csv")
            << "file,box,field,old,new,reviewer,time\n"
            << first << ",,final,,bad,Ann,2026-11-30T08:00:0" << i << "Z\n";
        std::ofstream(folder_ / folders.back() / "repeats.csv") << "group,file,box\n1," << first << ",1\n";
    }
    const SurveyOutcome merged =
        merge_surveys(folders, folder_ / "merged", [&](const std::string& text) { notes += text; });
    EXPECT_EQ(merged.images, 30u);
    EXPECT_EQ(merged.finals.at("bad"), 2u) << "one correction of each shard";
    EXPECT_NE(notes.find("tundra tidy"), notes.npos) << notes;
    EXPECT_EQ(std::ranges::count(content(folder_ / "merged/corrections.csv"), '\n'), 3);
    EXPECT_EQ(std::ranges::count(content(folder_ / "merged/repeats.csv"), '\n'), 3);
    std::ofstream(folder_ / folders[1] / "sites.csv") << "site\na\nb\n";
    EXPECT_THROW(merge_surveys(folders, folder_ / "other", [](const std::string&) {}), Error) << "other sites";
}

TEST_F(SurveyRun, ItsOwnFolderInsideTheImages) {
    make_images(10);
    std::string notes;
    const auto run = [&](const std::string& out) {
        SurveyJob j = survey_job(out);
        notes.clear();
        j.detect.note = [&](const std::string& text) { notes += text + "\n"; };
        return survey(j).images;
    };
    EXPECT_EQ(run("in/season"), 10u);
    EXPECT_NE(notes.find(" lies inside the folder of the images: the 0 images in it "), notes.npos) << notes;
    fs::create_directories(folder_ / "in/season/copies");
    fs::copy(folder_ / "in/a", folder_ / "in/season/copies");
    EXPECT_EQ(run("in/season"), 10u) << "copies of images are no new images";
    EXPECT_NE(notes.find(": the 5 images in it "), notes.npos) << notes;
    EXPECT_EQ(run("in/season2"), 15u) << "of another survey";
    SurveyJob j = survey_job("in/a");  // where there were images before, they are the user's
    EXPECT_THROW(survey(j), Error);
    j.detect.images = {j.detect.out};
    EXPECT_EQ(survey(j).images, 5u);
}

// Names, places in the journal, the table. Links to the same files, so that only their number grows.
// SURVEY_IMAGES=100000 measures what docs/performance.md says.
TEST_F(SurveyRun, MemoryDoesNotGrowWithImages) {
#if defined(__SANITIZE_ADDRESS__)
    GTEST_SKIP() << "the sanitizer keeps what was freed";
#endif
    make_images(20);
    fs::rename(folder_ / "in", folder_ / "sources");
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "sources"))
        if (entry.is_regular_file()) files.push_back(entry.path());
    const auto peak = [&](const std::string& out) {  // in KB, of a process whose peak begins where this one is
        const pid_t child = fork();
        if (child == 0) {
            ::malloc_trim(0);
            std::ofstream("/proc/self/clear_refs") << 5;  // the peak so far does not count
            SurveyJob j = survey_job(out);
            j.detect.machine.threads = 1;
            // As those of a small model: they outweigh what listing the images took for a moment.
            std::vector<char> weights;
            j.detect.network = at_once([&](std::span<const uint8_t> p, size_t h, size_t w) {
                if (weights.empty()) weights.assign(size_t(64) << 20, 1);
                return stub(p, h, w);
            });
            const bool finished = survey(j).detect.finished;
            std::ifstream status("/proc/self/status");
            for (std::string line; std::getline(status, line);)
                if (line.starts_with("VmHWM:")) std::ofstream(folder_ / (out + ".peak")) << line.substr(6);
            _exit(finished ? 0 : 1);
        }
        int status = 0;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        double result = 0;
        std::ifstream(folder_ / (out + ".peak")) >> result;
        return result;
    };
    const char* wanted = std::getenv("SURVEY_IMAGES");
    const size_t counts[2] = {1000, wanted ? std::strtoul(wanted, nullptr, 10) : 5000};
    double kilobytes[2] = {};
    size_t made = 0;
    for (size_t round = 0; round < 2; ++round) {
        for (; made < counts[round]; ++made) {
            const fs::path site = folder_ / "in" / fmt::format("site{}", made / 2000);
            fs::create_directories(site);
            fs::create_symlink(files[made % files.size()], site / fmt::format("IMG_{:04}.jpg", made % 2000));
        }
        kilobytes[round] = peak(fmt::format("m{}", round));
        if (!kilobytes[round]) GTEST_SKIP() << "this system does not say how much memory a process uses";
    }
    const auto per_image = [&] { return (kilobytes[1] - kilobytes[0]) * 1024 / double(counts[1] - counts[0]); };
    printf("%zu images: %.1f MB at most; %zu images: %.1f MB; %.0f bytes per image\n", counts[0], kilobytes[0] / 1024,
           counts[1], kilobytes[1] / 1024, per_image());
    for (int tries = 0; tries < 8 && per_image() >= 150; ++tries)  // on a busy machine more images wait at once
        kilobytes[1] = std::min(kilobytes[1], peak(fmt::format("again{}", tries)));
    EXPECT_LT(per_image(), 150);
}

}  // namespace
