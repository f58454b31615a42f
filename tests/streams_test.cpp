// The program when a stream, a lock or the disk fails: exit codes, and that nothing is lost. About 30 s.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/jobs/journal.h"
#include "base/error.h"
#include "models/resnet.h"
#include "predict/model_file.h"
#include "tests/files.h"
#include "tests/golden.h"
#include "tests/images.h"

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// A stream of the child: what its descriptor becomes. The terminal is closed when it has shown something.
enum class Stream { null, full_disk, closed, closed_pipe, dying_terminal, file };

void become(int number, Stream stream, const fs::path& file, int terminal) {
    const auto place = [number](int opened) { dup2(opened, number), close(opened); };
    int ends[2];
    switch (stream) {
        case Stream::null: place(open("/dev/null", O_WRONLY)); break;
        case Stream::full_disk: place(open("/dev/full", O_WRONLY)); break;
        case Stream::closed: close(number); break;
        case Stream::closed_pipe:
            if (pipe(ends) == 0) place(ends[1]), close(ends[0]);
            break;
        case Stream::dying_terminal: place(open(ptsname(terminal), O_RDWR | O_NOCTTY)); break;
        case Stream::file: place(open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666)); break;
    }
}

class Streams : public testing::Test {
protected:
    Streams() {
        for (size_t i = 0; i < 3; ++i)
            temporary_.write(fmt::format("in/{}.jpg", i), jpeg_of(sample_image(48, 64, unsigned(i))));
    }
    // Of the binary; its messages are in `said_`. `largest_file`: a limit in bytes.
    int run(const Words& words, Stream out = Stream::null, Stream err = Stream::file, size_t largest_file = SIZE_MAX) {
        const fs::path messages = folder_ / "err";
        const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
        grantpt(terminal), unlockpt(terminal);
        const pid_t child = fork();
        if (child == 0) {
            become(1, out, folder_ / "out", terminal);
            become(2, err, messages, terminal);
            close(terminal);
            if (largest_file != SIZE_MAX) {
                const rlimit limit{largest_file, largest_file};
                setrlimit(RLIMIT_FSIZE, &limit);
            }
            std::vector<char*> arguments{const_cast<char*>(TUNDRA_BINARY)};
            for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
            arguments.push_back(nullptr);
            execv(TUNDRA_BINARY, arguments.data());
            _exit(99);
        }
        char shown[100];
        if (out == Stream::dying_terminal || err == Stream::dying_terminal) (void)!read(terminal, shown, sizeof shown);
        close(terminal);
        int status = 0;
        waitpid(child, &status, 0);
        said_ = err == Stream::file ? content(messages) : "";
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    std::string path(const char* name) const { return (folder_ / name).string(); }
    // Images and crops into `out`, with the model that the golden files have.
    Words detect(const std::string& out) const {
        return {"detect",
                path("in"),
                "-o",
                path((out + ".json").c_str()),
                "--model",
                (golden_folder("yolo") / "yolov5_p6_tiny/model.pt").string(),
                "--image-size",
                "64",
                "--threads",
                "1",
                "--threshold",
                "0.001",
                "--crops",
                path((out + "_crops").c_str()),
                "--render",
                path((out + "_boxes").c_str()),
                "--render-threshold",
                "0.001"};
    }

    TemporaryFolder temporary_;
    fs::path folder_ = temporary_.path;
    std::string said_;
};

TEST_F(Streams, notes_that_cannot_be_written_are_dropped) {
    for (const Stream err : {Stream::full_disk, Stream::closed, Stream::closed_pipe, Stream::dying_terminal}) {
        EXPECT_EQ(run({"inspect", path("nothing")}, Stream::null, err), 2);
        EXPECT_EQ(run({"version", "--no-such-option"}, Stream::null, err), 2);
        const std::string name = fmt::format("quiet{}", int(err));
        EXPECT_EQ(run(detect(name), Stream::null, err), 0);
        EXPECT_EQ(nlohmann::json::parse(content(folder_ / (name + ".json")))["images"].size(), 3u)
            << "no note may be written into a file that took the number of the closed stream";
    }
}

TEST_F(Streams, results_that_cannot_be_written_are_no_success) {
    const Words model{"inspect", (golden_folder("yolo") / "yolov5_p6_tiny/model.pt").string()};
    for (const Words& words :
         {Words{"version"}, Words{"version", "--json"}, Words{"-h"}, Words{"train", "--help"}, Words{"help"}, model}) {
        EXPECT_EQ(run(words), 0) << words[0];
        for (const Stream out : {Stream::full_disk, Stream::closed}) {
            EXPECT_EQ(run(words, out), 75) << words[0];
            EXPECT_EQ(said_.find("tundra: standard output: cannot write: "), 0u) << said_;
        }
        EXPECT_EQ(run(words, Stream::closed_pipe), 141) << words[0];
        EXPECT_EQ(said_, "") << "a reader that has enough gets no message";
        EXPECT_EQ(run(words, Stream::full_disk, Stream::full_disk), 75);
    }
    EXPECT_EQ(run(model, Stream::dying_terminal), 75) << "in the middle of its lines";
    EXPECT_NE(said_.find("Input/output error"), std::string::npos) << said_;
    // The work is done; another fault keeps its code.
    EXPECT_EQ(run(detect("lost"), Stream::full_disk), 75);
    EXPECT_TRUE(fs::exists(folder_ / "lost.json"));
    EXPECT_EQ(run({"inspect", path("nothing")}, Stream::closed_pipe), 2);
    EXPECT_EQ(run({"synth", path("shots"), "--images", "12", "--size", "64x64", "-q"}, Stream::closed_pipe), 0)
        << "nothing was to be written";
}

TEST_F(Streams, a_file_system_without_locks_is_no_other_run) {
    const std::string file = temporary_.write("file", text_content("x"));
    const Descriptor first(open(file.c_str(), O_RDWR)), second(open(file.c_str(), O_RDWR)),
        without(open(file.c_str(), O_PATH));  // flock() refuses it with EBADF
    EXPECT_EQ(lock_file(first.number, file, "is taken"), "");
    EXPECT_NE(lock_file(without.number, file, "is taken").find("cannot lock"), std::string::npos);
    try {
        lock_file(second.number, file, "is taken");
        ADD_FAILURE();
    } catch (const Error& e) {
        EXPECT_EQ(e.fault, Fault::usage);
        EXPECT_EQ(e.what(), file + ": is taken");
    }
    const auto open_journal = [&] { return Journal(path("j"), "{}", [](std::string_view, uint64_t) {}); };
    const Journal journal = open_journal();
    EXPECT_EQ(journal.note(), "");
    EXPECT_THROW(open_journal(), Error);
}

// The disk is full at every possible byte: one line, code 75, and the same command finishes with the same files.
TEST_F(Streams, a_full_disk_in_detection) {
    ASSERT_EQ(run(detect("whole")), 0) << said_;
    const auto files = [&](const std::string& name) {
        std::map<std::string, std::string> files;
        for (const char* end : {"_crops", "_boxes"})
            for (const auto& entry : fs::recursive_directory_iterator(folder_ / (name + end)))
                if (entry.is_regular_file())
                    files[end + entry.path().lexically_relative(folder_ / (name + end)).string()] = content(entry);
        files["json"] = nlohmann::json::parse(content(folder_ / (name + ".json")))["images"].dump();
        return files;
    };
    const auto whole = files("whole");
    ASSERT_GT(whole.size(), 4u) << "crops and copies are there";
    size_t largest = 0, stopped = 0;
    for (const auto& [name, bytes] : whole) largest = std::max(largest, bytes.size());
    for (size_t limit = 0; limit < largest + 2000; limit = limit * 5 / 4 + 40) {
        const std::string name = fmt::format("at{}", limit);
        const int code = run(detect(name), Stream::null, Stream::file, limit);
        if (code == 0) continue;
        ++stopped;
        ASSERT_EQ(code, 75) << limit << ": " << said_;
        if (limit > 2000) {  // the messages themselves fit
            EXPECT_NE(said_.find("tundra: "), std::string::npos);
            EXPECT_NE(said_.find("File too large"), std::string::npos) << said_;
        }
        EXPECT_FALSE(fs::exists(folder_ / (name + ".json")));
        ASSERT_EQ(run(detect(name)), 0) << limit << ": " << said_;
        EXPECT_EQ(files(name), whole) << limit;
        for (const auto& entry : fs::recursive_directory_iterator(folder_))
            ASSERT_NE(entry.path().extension(), ".tmp") << entry.path();
    }
    EXPECT_GT(stopped, 10u);
}

TEST_F(Streams, a_full_disk_in_classification) {
    const Model model = make_model(ResNetConfig{.depth = 50, .classes = 3, .width = 4});
    write_model(path("narrow.safetensors"), {.model = model,
                                             .classes = {"bad", "good", "hare"},
                                             .input = {.fit = {.size = 32}},
                                             .state = initialize_state(model, 1),
                                             .steps = 0,
                                             .more = {}});
    for (size_t i = 3; i < 12; ++i) fs::copy_file(path("in/0.jpg"), folder_ / fmt::format("in/{}.jpg", i));
    for (const char* end : {".csv", ".jsonl"}) {
        const auto classify = [&](const std::string& out) {
            return Words{"classify",  path("in"), "--model", path("narrow.safetensors"), "--batch", "2",
                         "--threads", "1",        "--out",   path((out + end).c_str())};
        };
        ASSERT_EQ(run(classify("whole")), 0) << said_;
        const std::string whole = content(folder_ / (std::string("whole") + end));
        size_t stopped = 0, resumed = 0;
        for (size_t limit = 0;; limit += limit / 4 + 40) {
            const std::string name = fmt::format("at{}", limit);
            const int code = run(classify(name), Stream::null, Stream::file, limit);
            if (code == 0) break;
            ++stopped;
            ASSERT_EQ(code, 75) << limit << ": " << said_;
            if (limit > 1000) {  // the messages themselves fit
                EXPECT_NE(said_.find("File too large"), std::string::npos) << said_;
            }
            EXPECT_FALSE(fs::exists(folder_ / (name + end)));
            ASSERT_EQ(run(classify(name)), 0) << limit << ": " << said_;
            resumed += said_.find("resumed after ") != std::string::npos;
            EXPECT_EQ(content(folder_ / (name + end)), whole) << limit;
            EXPECT_FALSE(fs::exists(folder_ / (name + end + ".journal")));
        }
        EXPECT_GT(stopped, 5u);
        EXPECT_GT(resumed, 2u);
    }
}

TEST_F(Streams, a_full_disk_in_training) {
    ASSERT_EQ(
        run({"synth", path("scenes"), "--task", "detect", "--images", "12", "--size", "64x64", "--cameras", "2", "-q"}),
        0);
    const auto train = [&](const char* out) {
        return Words{"train", path("scenes"), "--task", "detect",  "--model", "yolov5n",   "--image-size",
                     "64",    "--epochs",     "1",      "--batch", "4",       "--threads", "1",
                     "--out", path(out)};
    };
    ASSERT_EQ(run(train("whole")), 0) << said_;
    const std::string model = content(folder_ / "whole/model.safetensors");
    std::map<size_t, std::string> sizes;  // one file more fails at each
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "whole"))
        if (entry.is_regular_file()) sizes[entry.file_size() - 1] = entry.path().filename().string();
    for (const auto& [limit, file] : sizes) {
        if (limit < 100) continue;
        const int code = run(train("limited"), Stream::null, Stream::null, limit);
        // The report alone is no reason to fail: `tundra report` writes it again.
        ASSERT_TRUE(code == 75 || (code == 0 && file == "report.html")) << file << " at " << limit << ": " << code;
        ASSERT_EQ(run(train("limited")), 0) << file << ": " << said_;
        EXPECT_EQ(content(folder_ / "limited/model.safetensors"), model) << file;
        fs::remove_all(folder_ / "limited");
    }
}

}  // namespace
