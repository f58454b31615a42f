// A process that saves without pause is killed 200 times at random moments; the folder must never go backwards or
// blank.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "base/file.h"
#include "train/checkpoint.h"

namespace {

namespace fs = std::filesystem;

constexpr int kKills = 200;
constexpr size_t kFloats = size_t(1) << 18;  // 1 MiB

std::vector<uint32_t> content_of(uint64_t step) {
    std::vector<uint32_t> values(kFloats);
    std::mt19937 random{uint32_t(step)};
    for (uint32_t& value : values) value = random();
    return values;
}

// Never returns. Writes the step of every finished save into the pipe.
[[noreturn]] void save_for_ever(const fs::path& folder, uint64_t step, int pipe) {
    CheckpointWriter writer(folder);
    for (;;) {
        step++;
        std::vector<uint32_t> values = content_of(step);
        FileTensor tensor{"values", DType::i32, {kFloats}, std::as_bytes(std::span(values))};
        TrainingState state;
        state.step = step;
        state.best_step = step - step % 5;
        writer.save(state, {&tensor, 1});
        if (::write(pipe, &step, sizeof step) != sizeof step) _exit(1);
    }
}

TEST(Kill, NoStateIsLostOrUnreadable) {
    std::string pattern = (fs::temp_directory_path() / "tundra-kill-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    const fs::path folder = pattern;
    std::mt19937 random(1);
    uint64_t reached = 0, interrupted = 0;
    for (int kill_number = 0; kill_number < kKills; kill_number++) {
        int ends[2];
        ASSERT_EQ(pipe(ends), 0);
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            close(ends[0]);
            save_for_ever(folder, reached, ends[1]);
        }
        close(ends[1]);
        // Until a few saves are done, then a random moment of the next one.
        uint64_t committed = reached;
        for (uint32_t saves = random() % 3; saves > 0; saves--)
            ASSERT_EQ(read(ends[0], &committed, sizeof committed), ssize_t(sizeof committed))
                << "the child died by itself";
        const timespec moment = {.tv_sec = 0, .tv_nsec = long(random() % 8'000'000)};
        ppoll(nullptr, 0, &moment, nullptr);
        kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status));
        while (read(ends[0], &committed, sizeof committed) == ssize_t(sizeof committed)) {
        }
        close(ends[0]);

        for (const auto& entry : fs::directory_iterator(folder)) interrupted += entry.path().extension() == ".tmp";
        std::vector<std::string> notes;
        std::optional<Checkpoint> found = load_newest_checkpoint(folder, notes);
        ASSERT_TRUE(notes.empty()) << notes.front();
        ASSERT_GE(found ? found->state.step : 0, committed) << "after kill " << kill_number;
        if (!found) continue;
        reached = found->state.step;
        ASSERT_EQ(elements<uint32_t>(found->file.at("values")), content_of(reached));
    }
    std::printf("%d kills, %llu checkpoints, %llu kills left a half-written file\n", kKills,
                (unsigned long long)reached, (unsigned long long)interrupted);
    EXPECT_GT(interrupted, 0u) << "no kill hit a save: the test shows nothing";
    fs::remove_all(folder);
}

// Where every start has the same process number, as in a container, the leftovers of a killed one have the names that
// this one would use.
TEST(Kill, LeftoversAreNoObstacle) {
    std::string pattern = (fs::temp_directory_path() / "tundra-kill-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    const fs::path file = fs::path(pattern) / "results.json";
    for (size_t i = 0; i < 100; ++i) std::ofstream(fmt::format("{}.{}-{}.tmp", file.string(), getpid(), i)) << "half";
    write_file_durably(file, [](FileWriter& out) { out.write("whole"); });
    EXPECT_EQ(read_file(file).text(), "whole");
    fs::remove_all(pattern);
}

}  // namespace
