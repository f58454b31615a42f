// What a checkpoint folder gives back after damage, after every possible failure of a save, and after a crash in it.
#include "train/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "train/snapshot.h"

namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "tundra-checkpoint-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { fs::remove_all(folder_); }

    std::vector<uint64_t> steps() const {
        std::vector<uint64_t> found;
        for (uint64_t step = 0; step < 200; step++)
            if (fs::exists(checkpoint_path(folder_, step))) found.push_back(step);
        return found;
    }
    size_t files() const { return size_t(std::distance(fs::directory_iterator(folder_), fs::directory_iterator())); }

    fs::path folder_;
    std::vector<std::string> notes_;
};

// The arrays of step n, all different from those of other steps.
struct Arrays {
    std::vector<float> weights;
    std::vector<uint8_t> odd;
    std::vector<FileTensor> tensors;

    explicit Arrays(uint64_t step) : weights(300), odd(7, uint8_t(step)) {
        for (size_t i = 0; i < weights.size(); i++) weights[i] = float(i) * 0.25f + float(step);
        tensors = {{"weights", DType::f32, {3, 100}, std::as_bytes(std::span(weights))},
                   {"odd", DType::u8, {7}, std::as_bytes(std::span(odd))},
                   {"empty", DType::f32, {0, 4}, {}}};
    }
};

TrainingState state_of(uint64_t step) {
    return {.step = step,
            .total_steps = 1000,
            .epoch = step / 10,
            .position = step % 10 * 32,
            .seed = 0xfedcba9876543210,
            .loss_scale = 65536,
            .best_step = 0,
            .best_metric = 0.1 + double(step),
            .data_fingerprint = "d",
            .config_hash = "c"};
}

void save(CheckpointWriter& writer, uint64_t step, uint64_t best_step = 0) {
    TrainingState state = state_of(step);
    state.best_step = best_step;
    writer.save(state, Arrays(step).tensors);
}

void expect_holds(const Checkpoint& checkpoint, uint64_t step) {
    EXPECT_EQ(checkpoint.state, state_of(step));
    Arrays expected(step);
    EXPECT_EQ(elements<float>(checkpoint.file.at("weights")), expected.weights);
    EXPECT_EQ(elements<uint8_t>(checkpoint.file.at("odd")), expected.odd);
    EXPECT_EQ(checkpoint.file.tensors().size(), 3u);
}

std::string content_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void overwrite(const fs::path& path, std::string_view content) {
    std::ofstream(path, std::ios::binary).write(content.data(), std::streamsize(content.size()));
}

TEST_F(CheckpointTest, ComesBackAsItWas) {
    EXPECT_FALSE(load_newest_checkpoint(folder_ / "nowhere", notes_));
    CheckpointWriter writer(folder_ / "new");
    save(writer, 7);
    expect_holds(*load_newest_checkpoint(folder_ / "new", notes_), 7);
    EXPECT_TRUE(notes_.empty());
}

TEST_F(CheckpointTest, StepsAreNumbers) {
    CheckpointWriter writer(folder_);
    save(writer, 9);
    save(writer, 10);
    for (const char* name :
         {"step-99x.safetensors", "step-.safetensors", "step-098.safetensors", "stop-99.safetensors"})
        overwrite(folder_ / name, "not ours");
    EXPECT_EQ(load_newest_checkpoint(folder_, notes_)->state.step, 10u);
    EXPECT_TRUE(notes_.empty());
}

TEST_F(CheckpointTest, KeepsTheNewestAndTheBestOfEach) {
    CheckpointWriter writer(folder_, 2);
    save(writer, 10, 10);
    save(writer, 20, 10);
    save(writer, 30, 10);
    EXPECT_EQ(steps(), (std::vector<uint64_t>{10, 20, 30}));
    save(writer, 40, 40);
    EXPECT_EQ(steps(), (std::vector<uint64_t>{10, 30, 40})) << "30 still names 10";
    save(writer, 50, 40);
    EXPECT_EQ(steps(), (std::vector<uint64_t>{40, 50}));
    CheckpointWriter again(folder_, 2);
    save(again, 60, 40);
    save(again, 70, 40);
    EXPECT_EQ(steps(), (std::vector<uint64_t>{40, 60, 70})) << "a new writer knows what the files name";
}

TEST_F(CheckpointTest, AnAbandonedFutureGoesAndTheOneInUseStays) {
    {
        CheckpointWriter writer(folder_, 2);
        save(writer, 80);
        save(writer, 120);
    }
    std::string content = content_of(checkpoint_path(folder_, 120));
    content[content.size() / 2] ^= 4;
    overwrite(checkpoint_path(folder_, 120), content);
    EXPECT_EQ(load_newest_checkpoint(folder_, notes_)->state.step, 80u);
    CheckpointWriter writer(folder_, 2);
    save(writer, 90);
    EXPECT_EQ(steps(), (std::vector<uint64_t>{80, 90}));
}

TEST_F(CheckpointTest, LeftoversGo) {
    overwrite(folder_ / "step-5.safetensors.1234-0.tmp", "half a checkpoint");
    CheckpointWriter writer(folder_);
    EXPECT_EQ(files(), 0u);
}

TEST_F(CheckpointTest, EveryFlippedBitIsNoticedAndTheOlderOneUsed) {
    CheckpointWriter writer(folder_);
    save(writer, 1);
    save(writer, 2);
    const fs::path path = checkpoint_path(folder_, 2);
    const std::string content = content_of(path);
    // In place: a file that is emptied and written again costs the disk milliseconds.
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    auto put = [&](size_t byte, char value) { file.seekp(std::streamoff(byte)).put(value).flush(); };
    size_t flips = 0;
    for (size_t byte = 0; byte < content.size(); put(byte, content[byte]), byte++)
        for (int bit = 0; bit < 8; bit++) {
            put(byte, char(content[byte] ^ (1 << bit)));
            notes_.clear();
            std::optional<Checkpoint> used = load_newest_checkpoint(folder_, notes_);
            ASSERT_TRUE(used && used->state.step == 1) << "bit " << bit << " of byte " << byte;
            flips++;
        }
    EXPECT_GT(flips, 10'000u);
    EXPECT_NE(notes_.front().find(path.string()), std::string::npos) << notes_.front();
    EXPECT_NE(notes_.back().find(checkpoint_path(folder_, 1).string()), std::string::npos) << notes_.back();
    expect_holds(*load_newest_checkpoint(folder_, notes_), 2);  // as it was again
}

TEST_F(CheckpointTest, EveryTruncationIsNoticed) {
    CheckpointWriter writer(folder_);
    save(writer, 1);
    save(writer, 2);
    const std::string content = content_of(checkpoint_path(folder_, 2));
    overwrite(checkpoint_path(folder_, 2), content + "x");
    EXPECT_EQ(load_newest_checkpoint(folder_, notes_)->state.step, 1u);
    for (size_t size = content.size(); size-- > 0;) {
        fs::resize_file(checkpoint_path(folder_, 2), size);
        ASSERT_EQ(load_newest_checkpoint(folder_, notes_)->state.step, 1u) << size;
    }
}

TEST_F(CheckpointTest, ARenamedOneIsRefused) {
    CheckpointWriter writer(folder_);
    save(writer, 1);
    save(writer, 2);
    fs::rename(checkpoint_path(folder_, 1), checkpoint_path(folder_, 3));
    EXPECT_EQ(load_newest_checkpoint(folder_, notes_)->state.step, 2u);
}

TEST_F(CheckpointTest, NoneThatCanBeUsedIsAnError) {
    overwrite(checkpoint_path(folder_, 4), "rubbish");
    try {
        load_newest_checkpoint(folder_, notes_);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, Fault::damaged);
        EXPECT_NE(std::string(error.what()).find("step-4"), std::string::npos) << error.what();
    }
}

TEST_F(CheckpointTest, RefusesNumbersThatCannotBeRead) {
    CheckpointWriter writer(folder_);
    TrainingState state = state_of(1);
    state.best_metric = NAN;
    EXPECT_THROW(writer.save(state, Arrays(1).tensors), Error);
    EXPECT_EQ(files(), 0u);
}

// Counts the system calls of a save and lets the n-th fail, once or from there on.
struct Faults {
    enum class Kind { error, short_write, crash } kind = Kind::error;
    int at = -1, code = EIO;
    bool for_ever = false;
    int calls = 0;
    std::string order;  // one letter per call

    bool hit(char letter) {
        order += letter;
        int index = calls++;
        bool now = index == at || (for_ever && at >= 0 && index > at);
        if (now && kind == Kind::crash) _exit(42);
        if (now) errno = code;
        return now;
    }
    FileCalls file_calls() {
        FileCalls result;
        result.write = [this](int fd, const void* bytes, size_t size) -> ssize_t {
            if (!hit('w')) return ::write(fd, bytes, size);
            return kind == Kind::short_write ? ::write(fd, bytes, (size + 1) / 2) : -1;
        };
        result.fsync = [this](int fd) { return hit('s') && kind == Kind::error ? -1 : ::fsync(fd); };
        result.rename = [this](const char* from, const char* to) {
            return hit('r') && kind == Kind::error ? -1 : ::rename(from, to);
        };
        return result;
    }
};

TEST_F(CheckpointTest, WritesThenSyncsThenRenamesThenSyncsTheFolder) {
    Faults faults;
    CheckpointWriter writer(folder_, 2, faults.file_calls());
    save(writer, 1);
    size_t writes = faults.order.find_first_not_of('w');
    EXPECT_GE(writes, 1u);
    EXPECT_EQ(faults.order.substr(writes), "srs");
}

TEST_F(CheckpointTest, AnyFailingCallLeavesTheOldOrTheNew) {
    for (int code : {EIO, ENOSPC})
        for (bool for_ever : {false, true})
            for (int at = 0;; at++) {
                fs::remove_all(folder_);
                Faults faults;
                CheckpointWriter writer(folder_, 1, faults.file_calls());
                save(writer, 1);
                faults.at = (faults.calls = 0) + at, faults.code = code, faults.for_ever = for_ever;
                std::string error;
                try {
                    save(writer, 2);
                } catch (const Error& caught) {
                    EXPECT_EQ(caught.fault, Fault::environment);
                    error = caught.what();
                }
                bool failed = at < faults.calls;
                EXPECT_EQ(failed, !error.empty()) << "a failing call must be told, call " << at;
                std::optional<Checkpoint> found = load_newest_checkpoint(folder_, notes_);
                ASSERT_TRUE(found) << "neither after call " << at;
                expect_holds(*found, found->state.step);
                EXPECT_TRUE(notes_.empty()) << notes_.front();
                for (const auto& entry : fs::directory_iterator(folder_)) EXPECT_NE(entry.path().extension(), ".tmp");
                faults.at = -1;
                save(writer, 3);  // space was freed
                EXPECT_EQ(steps(), std::vector<uint64_t>{3});
                if (!failed) break;
            }
}

TEST_F(CheckpointTest, ShortWritesAreContinued) {
    for (int at = 0; at < 5; at++) {
        Faults faults;
        faults.kind = Faults::Kind::short_write, faults.at = at, faults.for_ever = at % 2;
        CheckpointWriter writer(folder_, 2, faults.file_calls());
        save(writer, uint64_t(at + 1));
        expect_holds(*load_newest_checkpoint(folder_, notes_), uint64_t(at + 1));
    }
}

TEST_F(CheckpointTest, ACrashAtAnyCallLeavesTheOldOrTheNew) {
    bool survived = false;
    for (int at = 0; !survived; at++) {
        fs::remove_all(folder_);
        {
            CheckpointWriter writer(folder_, 1);
            save(writer, 1);
        }
        pid_t child = fork();
        if (child == 0) {
            Faults faults;
            faults.kind = Faults::Kind::crash, faults.at = at;
            CheckpointWriter writer(folder_, 1, faults.file_calls());
            save(writer, 2);
            _exit(0);
        }
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFEXITED(status) && (WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 0)) << status;
        survived = WEXITSTATUS(status) == 0;
        std::optional<Checkpoint> found = load_newest_checkpoint(folder_, notes_);
        ASSERT_TRUE(found) << "neither after call " << at;
        expect_holds(*found, found->state.step);
        EXPECT_TRUE(notes_.empty());
        CheckpointWriter writer(folder_, 1);
        EXPECT_EQ(files(), steps().size()) << "leftovers after call " << at;
    }
    EXPECT_EQ(load_newest_checkpoint(folder_, notes_)->state.step, 2u);
}

Snapshot snapshot(uint64_t step) {
    Snapshot s{.state = state_of(step), .network = {}, .slots = {}};
    s.network["w"] = HostTensor{{2}, std::vector<float>{float(step), 1}};
    s.slots.emplace_back("momentum", std::vector<std::byte>(8, std::byte(step)));
    return s;
}

// The disk takes its time: start() returns before the file is there, the next one waits for it, and a checkpoint that
// could not be written is told once, by whatever is called next. 0 s.
TEST_F(CheckpointTest, IsWrittenInTheBackground) {
    std::atomic<bool> slow = true, broken = false;
    std::atomic<int> waiting = 0;
    FileCalls calls;
    calls.fsync = [&, real = calls.fsync](int file) {
        ++waiting;
        slow.wait(true);
        if (broken) return errno = EIO, -1;
        return real(file);
    };
    BackgroundWriter writer(folder_, 3, 7, calls);
    EXPECT_EQ(writer.last_written(), 7u);
    writer.start(snapshot(10));
    while (!waiting) std::this_thread::yield();
    EXPECT_TRUE(steps().empty());
    writer.look();
    std::thread next([&] { writer.start(snapshot(20)); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(waiting, 1);
    slow = false;
    slow.notify_all();
    next.join();
    writer.finish();
    EXPECT_EQ(steps(), (std::vector<uint64_t>{10, 20}));
    EXPECT_EQ(writer.last_written(), 20u);
    const Checkpoint read = load_checkpoint(checkpoint_path(folder_, 20));
    EXPECT_EQ(elements<float>(read.file.at("model.w")), (std::vector<float>{20, 1}));
    EXPECT_EQ(read.file.at("optimizer.momentum").data[0], std::byte(20));

    broken = true;
    writer.start(snapshot(30));
    EXPECT_EQ(writer.last_written(), 20u);
    EXPECT_THROW(writer.look(), Error);
    writer.look();
    broken = false;
    writer.start(snapshot(40));
    writer.finish();
    EXPECT_EQ(steps(), (std::vector<uint64_t>{10, 20, 40}));
}

}  // namespace
