// Whole commands, stopped at random moments by one signal or two: each ends with a code of docs/reference.md, and the
// same command, again and again until it has finished, leaves the same bytes as one that nobody stopped.
// TUNDRA_STOPS stops (50: about a minute on two cores; scripts/test.sh --full makes 1,000), chosen by TUNDRA_SEED.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <regex>
#include <thread>

#include "app/synth/synth.h"
#include "models/resnet.h"
#include "predict/model_file.h"
#include "tests/files.h"
#include "tests/images.h"

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

size_t number_from(const char* variable, size_t otherwise) {
    const char* text = std::getenv(variable);
    return text ? std::stoul(text) : otherwise;
}

struct Command {
    std::string name;
    std::vector<std::string> arguments;  // the output comes behind them
    std::string ending;                  // of the output's name
    std::string result = {};             // of one that was not stopped
    double milliseconds = 0;             // that it took
    size_t outputs = 0;                  // that were begun
};

class Stops : public testing::Test {
protected:
    Stops() : random_(uint32_t(number_from("TUNDRA_SEED", 1))) {
        synthesize({.out = path("shots"), .images = 40, .width = 64, .height = 64, .seed = 2, .cameras = 2});
        synthesize({.out = path("scenes"),
                    .task = SynthTask::detect,
                    .images = 16,
                    .width = 64,
                    .height = 64,
                    .seed = 2,
                    .cameras = 2});
        const Model model = make_model(ResNetConfig{.depth = 50, .classes = 2, .width = 4});
        write_model(path("narrow.safetensors"), {.model = model,
                                                 .classes = {"bad", "good"},
                                                 .input = {.fit = {.size = 32}},
                                                 .state = initialize_state(model, 1),
                                                 .steps = 0,
                                                 .more = {}});
    }
    fs::path path(const std::string& name) const { return folder_.path / name; }

    size_t below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

    fs::path output(const Command& c) const { return path(fmt::format("{}{}{}", c.name, c.outputs, c.ending)); }
    fs::path messages() const { return path("messages"); }

    pid_t start(const Command& c, std::vector<std::string> environment = {}) const {
        std::vector<std::string> words = {TUNDRA_BINARY};
        words.insert(words.end(), c.arguments.begin(), c.arguments.end());
        words.push_back(output(c).string());
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        const pid_t child = fork();
        if (child != 0) return child;
        for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_DFL);  // whatever the caller has set
        const int file = open(messages().c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(file, STDOUT_FILENO), dup2(file, STDERR_FILENO);
        for (std::string& variable : environment) putenv(variable.data());
        execv(argv[0], argv.data());
        _exit(127);
    }

    // Everything that a finished command leaves but for times and where it was.
    std::string result_of(const Command& c) const {
        const fs::path out = output(c);
        if (!fs::is_directory(out)) {
            static const std::regex time("\"detection_completion_time\":\"[^\"]*\"");
            return std::regex_replace(content(out), time, "");
        }
        std::string rows = content(out / "metrics.csv");
        rows = std::regex_replace(rows, std::regex(",[^,\n]*\n"), "\n");  // the last column is seconds
        return content(out / "model.safetensors") + content(out / "evaluation.json") + rows;
    }

    static int wait_for(pid_t child) {
        int status = 0;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        return status;
    }

    static bool ended(pid_t child) {
        siginfo_t info = {};
        return waitid(P_PID, id_t(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child;
    }

    // What the output and the folder of checkpoints hold now: {temporary files, bytes of log and journal}.
    std::pair<size_t, size_t> traces(const Command& c) const {
        size_t temporary = 0, bytes = 0;
        const fs::path out = output(c);
        for (const fs::path& folder : {out / "checkpoints", out, folder_.path}) {
            std::error_code ignored;
            for (const auto& entry : fs::directory_iterator(folder, ignored)) {
                temporary += entry.path().extension() == ".tmp";
                const std::string name = entry.path().filename().string();
                if (name == "log.jsonl" || name == out.filename().string() + ".journal")
                    if (const uintmax_t size = entry.file_size(ignored); !ignored) bytes += size_t(size);
            }
        }
        return {temporary, bytes};
    }

    // Returns at a random moment in the life of the command: of its time, of a write, or of its progress.
    void await_a_moment(pid_t child, const Command& c) {
        const Clock::time_point begin = Clock::now();
        const size_t kind = below(4), wanted = 1 + below(3);
        const double limit = c.milliseconds * (kind < 2 ? double(below(1200)) / 1000 : 3);
        const auto [old_files, old_bytes] = traces(c);
        size_t changes = 0, last = old_bytes;
        while (!ended(child) && Milliseconds(Clock::now() - begin).count() < limit) {
            if (kind >= 2) {
                const auto [files, bytes] = traces(c);
                if (kind == 2 && files > old_files) break;
                if (kind == 3 && bytes > last && ++changes == 2 * wanted) break;
                last = bytes;
            }
            std::this_thread::sleep_for(std::chrono::microseconds(300));
        }
        std::this_thread::sleep_for(std::chrono::microseconds(below(4000)));
    }

    const TemporaryFolder folder_;
    std::mt19937 random_;
};

constexpr int kChoices[][2] = {{SIGTERM, 0},      {SIGINT, 0},        {SIGHUP, 0},       {SIGKILL, 0},
                               {SIGKILL, 0},      {SIGTERM, SIGTERM}, {SIGINT, SIGTERM}, {SIGINT, SIGINT},
                               {SIGHUP, SIGTERM}, {SIGTERM, SIGKILL}};

bool is_documented(int status, const int (&signals)[2]) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    for (const int signal : signals) {
        if (signal && WIFSIGNALED(status) && WTERMSIG(status) == signal) return true;  // outside of the work
        if (signal == SIGHUP && WIFEXITED(status) && WEXITSTATUS(status) == 75) return true;
        if ((signal == SIGINT || signal == SIGTERM) && WIFEXITED(status) && WEXITSTATUS(status) == 128 + signal)
            return true;
    }
    return false;
}

TEST_F(Stops, EveryCommandGoesOnToTheSameBytes) {
    const std::string shots = path("shots").string(), model = path("narrow.safetensors").string();
    std::vector<Command> commands = {
        {.name = "train",
         .arguments = {"train", shots, "--init", model, "--image-size", "32", "--epochs", "6", "--batch", "4", "--lr",
                       "0.01", "--save-minutes", "0.001", "--out"},
         .ending = ""},
        {.name = "best",
         .arguments = {"train", shots, "--init", model, "--image-size", "32", "--epochs", "8", "--batch", "4", "--lr",
                       "0.01", "--select", "best", "--threads", "1", "--cache", "disk", "--out"},
         .ending = ""},
        {.name = "detector",
         .arguments = {"train", path("scenes").string(), "--task", "detect", "--model", "yolov5n", "--image-size", "64",
                       "--epochs", "3", "--batch", "4", "--out"},
         .ending = ""},
        {.name = "classify",
         .arguments = {"classify", shots, "--model", model, "--batch", "1", "--out"},
         .ending = ".csv"},
        {.name = "detect",
         .arguments = {"detect", shots, "--model",
                       fs::path(TUNDRA_TESTS "/golden/yolo/yolov5_p6_tiny/model.pt").string(), "--image-size", "64",
                       "--out"},
         .ending = ".json"}};
    for (Command& c : commands) {
        const Clock::time_point begin = Clock::now();
        ASSERT_EQ(wait_for(start(c)), 0) << c.name << ": " << content(messages());
        c.milliseconds = Milliseconds(Clock::now() - begin).count();
        c.result = result_of(c);
        ++c.outputs;
    }

    std::map<std::string, size_t> ends;
    const auto finish = [&](Command& c) {
        const std::string result = result_of(c);
        const size_t at = size_t(std::ranges::mismatch(result, c.result).in1 - result.begin());
        ASSERT_TRUE(result == c.result) << c.name << ", output " << c.outputs << " of " << folder_.path << ", byte "
                                        << at << " of " << result.size() << ": " << result.substr(at, 60)
                                        << " instead of " << c.result.substr(at, 60);
        if (fs::is_directory(output(c))) {
            for (const auto& entry : fs::recursive_directory_iterator(output(c)))
                EXPECT_TRUE(entry.path().extension() != ".tmp" ||
                            entry.path().filename().string().starts_with("report.html."))  // not written under the lock
                    << entry.path();
        }
        fs::remove_all(output(c));
        ++c.outputs;
    };
#if defined(__SANITIZE_ADDRESS__)
    constexpr size_t kStops = 10;  // each takes ten times as long
#else
    constexpr size_t kStops = 50;
#endif
    const size_t stops = number_from("TUNDRA_STOPS", kStops);
    for (size_t i = 0; i < stops; ++i) {
        Command& c = commands[below(4) < 2 ? below(2) : below(commands.size())];
        const auto& signals = kChoices[below(std::size(kChoices))];
        pid_t child = start(c);
        await_a_moment(child, c);
        kill(child, signals[0]);
        if (signals[1]) {
            std::this_thread::sleep_for(std::chrono::microseconds(below(2) ? 0 : below(30'000)));
            kill(child, signals[1]);
        }
        if (signals[0] == SIGKILL && below(2)) {  // the same command at once: the system may not have buried the first
            const pid_t next = start(c);
            ASSERT_TRUE(is_documented(wait_for(child), signals));
            await_a_moment(next, c);
            kill(next, SIGKILL);
            child = next;
        }
        const int status = wait_for(child);
        ASSERT_TRUE(is_documented(status, signals))
            << fmt::format("stop {} of {}, signals {} {}: {} {}\n", i, c.name, signals[0], signals[1],
                           WIFEXITED(status) ? "exit code" : "signal",
                           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status))
            << content(messages());
        const bool done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        ++ends[done ? "finished" : WIFEXITED(status) ? "stopped" : "killed"];
        if (done) {
            ASSERT_NO_FATAL_FAILURE(finish(c));
        }
    }
    for (Command& c : commands) {
        ASSERT_EQ(wait_for(start(c)), 0) << c.name << ": " << content(messages());
        ASSERT_NO_FATAL_FAILURE(finish(c));
    }
    for (const auto& [end, count] : ends) std::printf("%zu %s\n", count, end.c_str());
    EXPECT_GE(ends["stopped"], stops / 20) << "hardly a stop came within the work: the test shows nothing";
    EXPECT_GE(ends["killed"], stops / 20);
}

// A system that gives no thread may give it later: exit code 75, of every command, wherever it happens. A stop saves
// without one: reading back a checkpoint of more than 16 MiB took another thread, and its absence made the exit code 1.
TEST_F(Stops, ThreadsThatTheSystemDoesNotGive) {
#if defined(__SANITIZE_ADDRESS__)
    GTEST_SKIP() << "a library cannot be loaded before the sanitizer's";
#endif
    Command c{.name = "detector",
              .arguments = {"train", path("scenes").string(), "--task", "detect", "--model", "yolov5n", "--image-size",
                            "64", "--epochs", "2", "--batch", "4", "--threads", "2", "--out"},
              .ending = ""};
    ASSERT_EQ(wait_for(start(c)), 0) << content(messages());
    c.result = result_of(c);
    ++c.outputs;
    size_t later = 0;
    for (const int from : {1, 2, 3, 4, 6, 8, 10}) {
        const int status = wait_for(start(c, {"LD_PRELOAD=" TUNDRA_NO_THREADS, fmt::format("FAIL_FROM={}", from)}));
        ASSERT_TRUE(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 75))
            << from << ": " << status << "\n"
            << content(messages());
        later += WEXITSTATUS(status) == 75;
    }
    EXPECT_GT(later, 2u);
    ASSERT_EQ(wait_for(start(c)), 0) << content(messages());
    EXPECT_TRUE(result_of(c) == c.result);
    ++c.outputs;

    c.arguments[9] = "40";  // epochs
    const fs::path fail = path("fail");
    const pid_t child = start(c, {"LD_PRELOAD=" TUNDRA_NO_THREADS, "FAIL_FILE=" + fail.string()});
    while (!ended(child) && traces(c).second == 0)  // until a step is logged
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::ofstream(fail) << "x";
    kill(child, SIGTERM);
    const int status = wait_for(child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_TRUE(WEXITSTATUS(status) == 143 || WEXITSTATUS(status) == 75) << content(messages());
    EXPECT_FALSE(fs::is_empty(output(c) / "checkpoints"));
}

}  // namespace
