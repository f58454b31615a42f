// Drives that go away and parts that cannot be read: no result comes from images that nobody saw, and a run goes on in
// the same bits when they are back. About 23 s, most of it waiting for drives.
#include <sys/inotify.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <optional>
#include <thread>

#include "app/synth/synth.h"
#include "data/drive.h"
#include "models/resnet.h"
#include "predict/model_file.h"
#include "tests/files.h"
#include "tests/images.h"
#include "train/run.h"

namespace {

namespace fs = std::filesystem;

class LostImages : public testing::Test {
protected:
    LostImages() {
        synthesize({.out = path("shots"), .images = 40, .width = 64, .height = 64, .seed = 2, .cameras = 2});
        const Model model = make_model(ResNetConfig{.depth = 50, .classes = 2, .width = 4});
        write_model(path("narrow.safetensors"), {.model = model,
                                                 .classes = {"bad", "good"},
                                                 .input = {.fit = {}},
                                                 .state = initialize_state(model, 1),
                                                 .steps = 0,
                                                 .more = {}});
    }
    fs::path path(const std::string& name) const { return folder_.path / name; }

    TrainConfig config() const {
        TrainConfig c;
        c.data = path("shots").string(), c.init = path("narrow.safetensors").string();
        c.image_size = 32, c.epochs = 2, c.batch = 4, c.learning_rate = 0.01, c.seed = 7;
        c.device = "cpu", c.cache = "off", c.threads = 2;
        return c;
    }

    // The fault of a run that ends with an error, whose text is then in text_.
    std::optional<Fault> train(const std::string& name, const TrainConfig& c,
                               const std::function<void(size_t)>& step = {}) {
        text_.clear();
        try {
            const RunResult result = train_run(c, {.folder = path(name).string()},
                                               {.step =
                                                    [&](const StepStats&, const RunProgress& p) {
                                                        if (step) step(p.step);
                                                    },
                                                .note = [&](const std::string& note) { text_ += note + "\n"; }});
            steps_ = result.step;
        } catch (const Error& e) {
            text_ = e.what();
            EXPECT_EQ(text_.find('\n'), text_.npos) << text_;
            EXPECT_FALSE(fs::exists(path(name) / "model.safetensors"));
            return e.fault;
        }
        return std::nullopt;
    }

    // Trains "whole" without trouble, and "lost" with `what` away from the step on that `when` finds right.
    void expect_same_after(const std::string& what, const std::function<bool(size_t step)>& when) {
        if (!fs::exists(path("whole"))) {
            ASSERT_EQ(train("whole", config()), std::nullopt) << text_;
        }
        const auto steps = steps_;
        EXPECT_EQ(train("lost", config(),
                        [&](size_t step) {
                            if (when(step)) fs::rename(path(what), path("away"));
                        }),
                  Fault::environment);
        EXPECT_NE(text_.find("cannot be read any more (first: "), text_.npos) << text_;
        EXPECT_NE(text_.find("the last checkpoint is "), text_.npos) << text_;
        // Still away.
        EXPECT_EQ(train("lost", config()), Fault::environment) << text_;
        EXPECT_NE(text_.find("run the same command again"), text_.npos) << text_;
        fs::rename(path("away"), path(what));
        EXPECT_EQ(train("lost", config()), std::nullopt) << text_;
        EXPECT_EQ(steps_, steps);
        EXPECT_TRUE(content(path("lost/model.safetensors")) == content(path("whole/model.safetensors")));
        EXPECT_EQ(content(path("lost/evaluation.json")), content(path("whole/evaluation.json")));
        fs::remove_all(path("lost"));
    }

    TemporaryFolder folder_;
    std::string text_;
    size_t steps_ = 0;
};

TEST_F(LostImages, TrainingStopsAndGoesOnWhenTheyAreBack) {
    expect_same_after("shots", [](size_t step) { return step == 2; });
    expect_same_after("shots/train/good", [](size_t step) { return step == 3; });  // half of them
    expect_same_after("shots/validation", [&](size_t step) { return step == steps_ / 2; });
}

TEST_F(LostImages, OneDeletedImageStopsNothing) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(path("shots/train")))
        if (entry.is_regular_file()) files.push_back(entry.path());
    EXPECT_EQ(train("deleted", config(),
                    [&](size_t step) {
                        if (step == 1) fs::remove(files[0]);
                    }),
              std::nullopt)
        << text_;
    EXPECT_NE(text_.find("(missing)"), text_.npos) << text_;
}

TEST_F(LostImages, FinishedRunSaysWhatBecameOfThem) {
    ASSERT_EQ(train("run", config()), std::nullopt) << text_;
    std::ofstream(path("shots/train/good/new.jpg")) << "x";
    EXPECT_EQ(train("run", config()), std::nullopt);
    EXPECT_NE(text_.find("have changed since this run: 41 images"), text_.npos) << text_;
    fs::rename(path("shots"), path("away"));
    EXPECT_EQ(train("run", config()), std::nullopt);
    EXPECT_NE(text_.find("cannot be opened any more"), text_.npos) << text_;
}

void cut_all(const fs::path& folder, double share) {
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file()) fs::resize_file(entry.path(), size_t(share * double(entry.file_size())));
}

TEST_F(LostImages, PartThatCannotBeReadIsRefusedAtTheStart) {
    for (const std::string part : {"test", "validation"}) {
        fs::create_directories(path("shots") / part / "good");
        cut_all(path("shots") / part, 0.01);
        std::ofstream(path("shots") / part / "good/a.jpg") << "no image";
        EXPECT_EQ(train("refused", config()), Fault::usage);
        EXPECT_NE(text_.find(part + " images can be read (first: "), text_.npos) << text_;
        fs::remove_all(path("shots") / part);
    }
}

// Their headers are whole.
TEST_F(LostImages, NoModelComesOfImagesThatDoNotDecode) {
    TrainConfig c = config();
    c.accept_damaged = false;
    cut_all(path("shots/validation"), 0.7);
    EXPECT_EQ(train("damaged", c), Fault::usage);
    EXPECT_NE(text_.find("validation images could be read (first: "), text_.npos) << text_;
    EXPECT_FALSE(fs::is_empty(path("damaged/checkpoints")));
    cut_all(path("shots/train"), 0.7);
    EXPECT_EQ(train("nothing", c), Fault::usage);
    EXPECT_NE(text_.find("none of its images"), text_.npos) << text_;
}

TEST(DriveWatch, TellsADriveFromSingleFiles) {
    const TemporaryFolder folder;
    const auto name = [&](size_t i) { return (folder.path / std::to_string(i)).string(); };
    for (size_t i = 0; i < 40; ++i) std::ofstream(name(i)) << "x";
    const DriveWatch watch(41, name);  // the last one was never there
    watch.require_drive(name(40));
    fs::remove(name(0)), fs::remove(name(1));
    watch.require_drive(name(40));
    // A disk that fails: reading this one is an input/output error.
    for (size_t i = 0; i < 3; ++i) fs::remove(name(i)), fs::create_symlink("/proc/self/mem", name(i));
    try {
        watch.require_drive(name(40));
        FAIL() << "nothing was thrown";
    } catch (const ImagesLost& e) {
        EXPECT_EQ(e.fault, Fault::environment);
        EXPECT_NE(std::string(e.what()).find("3 of 40 "), std::string::npos) << e.what();
        EXPECT_NE(std::string(e.what()).find("Input/output error"), std::string::npos) << e.what();
    }
    // Away for a moment.
    std::thread back([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        fs::remove(name(2)), std::ofstream(name(2)) << "x";
    });
    watch.require_drive(name(40));
    back.join();
    EXPECT_THROW(DriveWatch(1, [](size_t) { return "/no/file"; }).require_any(), ImagesLost);
    DriveWatch(0, name).require_any();
    watch.require_any();
}

// Where many are missing, each costs four tries; a folder that goes away is noticed all the same.
TEST(DriveWatch, DoesNotAskForEveryPathAgainAndAgain) {
    const TemporaryFolder folder;
    for (const char* half : {"a", "b"}) fs::create_directory(folder.path / half);
    const auto name = [&](size_t i) { return (folder.path / (i < 50 ? "a" : "b") / std::to_string(100 + i)).string(); };
    for (size_t i = 0; i < 100; ++i) std::ofstream(name(i)) << "x";
    const DriveWatch watch(100, name);
    const int events = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    for (const char* half : {"a", "b"}) inotify_add_watch(events, (folder.path / half).c_str(), IN_OPEN);
    const auto opened = [&] {
        size_t count = 0;
        alignas(inotify_event) char buffer[1 << 14];
        for (ssize_t got; (got = read(events, buffer, sizeof buffer)) > 0;)
            for (ssize_t at = 0; at < got;
                 at += ssize_t(sizeof(inotify_event)) + ssize_t(reinterpret_cast<inotify_event*>(buffer + at)->len))
                ++count;
        return count;
    };
    const auto is_missing = [&](size_t i) { watch.require_drive(name(i) + ".gone"); };
    is_missing(70);
    EXPECT_EQ(opened(), 100u);
    for (size_t i = 0; i < 100; ++i) is_missing(i), opened();
    for (size_t i = 0; i < 100; ++i) {
        is_missing(i);
        EXPECT_LE(opened(), i < 2 || i > 97 ? 104u : 4u) << i;
    }
    fs::remove(name(70));  // one of its neighbours
    is_missing(70);
    fs::rename(folder.path / "b", folder.path / "away");
    is_missing(10);
    for (const size_t i : {50, 51, 75, 99}) EXPECT_THROW(is_missing(i), ImagesLost) << i;
    close(events);
}

}  // namespace
