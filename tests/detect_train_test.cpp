// A detector's run as a whole, on a network small in images: continued from any step it ends in the same bits, and
// what it leaves is a model that a detector takes.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/detect/job.h"
#include "app/report/report.h"
#include "app/synth/synth.h"
#include "base/error.h"
#include "models/files/detector_file.h"
#include "tests/files.h"
#include "tests/images.h"
#include "train/run.h"
#include "train/task.h"

namespace {

namespace fs = std::filesystem;

class DetectTrain : public testing::Test {
protected:
    static void SetUpTestSuite() {
        folder() = new TemporaryFolder;
        synthesize({.out = folder()->path / "scenes",
                    .task = SynthTask::detect,
                    .images = 16,
                    .width = 128,
                    .height = 96,
                    .seed = 2,
                    .cameras = 2});
    }
    static void TearDownTestSuite() { delete folder(); }
    static TemporaryFolder*& folder() {
        static TemporaryFolder* kept = nullptr;
        return kept;
    }
    static TrainConfig config() {
        TrainConfig c = recipe_named("default", "detect");
        c.data = (folder()->path / "scenes").string();
        c.model = "yolov5n", c.image_size = 64, c.epochs = 2, c.batch = 4, c.seed = 7, c.ema_decay = 0.9;
        c.device = "cpu", c.cache = "memory";
        return c;
    }
    RunResult train(const std::string& name, const TrainConfig& c, RunOptions options = {}) {
        options.folder = (folder()->path / name).string();
        return train_run(c, options, {.note = [&](const std::string& text) { notes_ += text + "\n"; }});
    }
    std::string notes_;
};

TEST_F(DetectTrain, ContinuedItEndsInTheSameBits) {
    const RunResult whole = train("whole", config());
    ASSERT_EQ(whole.end, RunEnd::finished);
    ASSERT_GE(whole.step, 4u);
    for (size_t step = 1; step < whole.step; ++step) {
        const RunResult part = train("parts", config(), {.stop_after_steps = step});
        ASSERT_EQ(part.end, RunEnd::stopped);
        ASSERT_EQ(part.step, step);
    }
    EXPECT_EQ(train("parts", config()).end, RunEnd::finished);
    EXPECT_TRUE(content(folder()->path / "whole/model.safetensors") ==
                content(folder()->path / "parts/model.safetensors"));
    EXPECT_EQ(content(folder()->path / "whole/evaluation.json"), content(folder()->path / "parts/evaluation.json"));
    ASSERT_EQ(whole.metrics.size(), 4u);
    EXPECT_EQ(whole.metrics[0].first, "validation_map50");
    EXPECT_EQ(train("whole", config()).end, RunEnd::already_finished);

    const DetectorModel model = read_detector(folder()->path / "whole/model.safetensors");
    EXPECT_EQ(model.classes, (std::vector<std::string>{"animal", "person", "vehicle"}));
    EXPECT_EQ(model.image_size, 64u);
    DetectJob job;
    job.images = {(folder()->path / "scenes/images").string()};
    job.model = (folder()->path / "whole").string();
    job.out = (folder()->path / "boxes.json").string();
    job.machine.device = "cpu";
    EXPECT_EQ(detect(job).counts.done, 16u);

    const std::string page = content(write_report(folder()->path / "whole"));
    for (const char* part : {"YOLOv5n finds 3 classes: animal, person, vehicle", "mAP50", "Losses",
                             "Precision and recall", "Choosing the threshold", "Images to look at"})
        EXPECT_NE(page.find(part), page.npos) << part;
}

// A validation whose numbers overflow is a bad one, and not the end of the run.
TEST_F(DetectTrain, OverflowIsNoted) {
    const TrainConfig c = config();
    const auto device = open_device("cpu", {.threads = 1});
    Arena arena(*device);
    Ranks alone;
    const std::unique_ptr<Task> task = make_task(c, alone);
    const Dataset data = task->open_data(false);
    task->build({*device, arena, DType::f32, false, 1, false}, data, [](const std::string&) {});
    StateDict state = task->trainer().averaged();
    for (auto& [name, tensor] : state)
        for (float& v : tensor.values.mutable_data()) v *= 1e12f;
    task->load_result(state);
    const Evaluated e = task->evaluate(Part::validation, nullptr, [] { return true; });
    EXPECT_TRUE(e.complete);
    EXPECT_EQ(e.metrics, (std::vector<double>{0, 0}));
    const size_t images = data.part(Part::validation).size();
    EXPECT_NE(e.note.find(fmt::format("overflow in the network on {} of {} images", images, images)), e.note.npos)
        << e.note;
}

TEST_F(DetectTrain, GoesOnFromATrainedFile) {
    if (!fs::exists(folder()->path / "whole/model.safetensors")) train("whole", config());
    TrainConfig c = config();
    c.init = (folder()->path / "whole/model.safetensors").string();
    c.epochs = 1, c.freeze = true, c.ema_decay = 0;
    ASSERT_EQ(train("tuned", c).end, RunEnd::finished);
    const auto weights = [&](const char* run) {
        return read_detector_unfolded(folder()->path / run / "model.safetensors").state;
    };
    const StateDict before = weights("whole"), after = weights("tuned");
    EXPECT_EQ(before.at("model.0.conv.weight").values, after.at("model.0.conv.weight").values);
    EXPECT_NE(before.at("model.23.cv3.conv.weight").values, after.at("model.23.cv3.conv.weight").values);
    c.model = "yolov5s";
    EXPECT_THROW(train("other", c), Error);
}

TEST_F(DetectTrain, SettingsOfTheOtherTaskAreRefused) {
    const auto refusal = [](std::string_view text) -> std::string {
        TrainConfig c;
        try {
            assign(c, parse_config(text, "file"));
        } catch (const Error& error) {
            return error.what();
        }
        return "accepted";
    };
    EXPECT_EQ(refusal("task = detect"), "accepted");
    EXPECT_NE(refusal("model = yolov5s").find("--task detect"), std::string::npos);
    for (const char* text :
         {"task = detect\nmodel = resnet50", "task = detect\nrecipe = celis2024", "task = detect\nfit = crop",
          "task = detect\nlabel_smoothing = 0.1", "task = detect\nclass_weights = balanced",
          "task = detect\nnormalize = imagenet", "fit = frame", "augment = mosaic", "average = 0.9"})
        EXPECT_NE(refusal(text).find("does not go with task"), std::string::npos) << text;
}

}  // namespace
