// Training runs on the device cuda over the stand-in for the CUDA runtime (virtual_gpu/cuda_runtime): a GPU lost
// anywhere, memory that does not suffice. What is said, what stays, and that the same command goes on.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

#include "app/command.h"
#include "app/detect/job.h"
#include "app/synth/synth.h"
#include "base/error.h"
#include "predict/model_file.h"
#include "tests/files.h"
#include "tests/images.h"
#include "tests/small_training.h"
#include "train/checkpoint.h"
#include "train/run.h"
#include "train/trainer.h"

namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> contents(const fs::path& folder) {
    std::map<std::string, std::string> result;
    for (const auto& entry : fs::directory_iterator(folder)) result[entry.path().filename()] = content(entry.path());
    return result;
}

constexpr size_t kScratch = size_t(256) << 20;

class CudaRun : public testing::Test {
protected:
    static void SetUpTestSuite() {
        folder() = new TemporaryFolder;
        make_small_training(folder()->path, 16, 16);
    }
    static void TearDownTestSuite() { delete folder(); }
    void TearDown() override { fake_cuda::reset({}); }
    static TemporaryFolder*& folder() {
        static TemporaryFolder* kept = nullptr;
        return kept;
    }
    static fs::path path(const std::string& name) { return folder()->path / name; }

    static TrainConfig config(const std::string& task = "classify") {
        TrainConfig c = recipe_named("default", task);
        c.data = path(task == "classify" ? "shots" : "scenes").string();
        if (task == "classify")
            c.init = path("narrow.safetensors").string();
        else
            c.model = "yolov5n";
        c.image_size = task == "classify" ? 32 : 64, c.epochs = 2, c.batch = 4, c.seed = 7;
        c.device = "cuda", c.cache = "memory", c.precision = "fp32";
        c.save_minutes = 0.001, c.keep = 1000;  // 60 ms
        return c;
    }

    // "" when it ended without an error; `fault_` and `steps_` tell the rest.
    std::string train(const std::string& name, const TrainConfig& c, const fake_cuda::Settings& gpu,
                      RunOptions options = {}, const std::function<void(size_t)>& step = {}) {
        fake_cuda::reset(gpu);
        options.folder = path(name).string();
        notes_.clear();
        fault_ = {};
        try {
            const RunResult result = train_run(c, options,
                                               {.step =
                                                    [&](const StepStats&, const RunProgress& r) {
                                                        if (step) step(r.step);
                                                    },
                                                .note = [&](const std::string& text) { notes_ += text + "\n"; }});
            steps_ = result.step;
        } catch (const Error& e) {
            fault_ = e.fault;
            EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
            return e.what();
        }
        return "";
    }

    std::string notes_;
    std::optional<Fault> fault_;
    size_t steps_ = 0;
};

TEST_F(CudaRun, GoesOnAfterTheGpuWasLostBetweenTwoSteps) {
    ASSERT_EQ(train("whole", config(), {}), "");
    ASSERT_GE(steps_, 5u);
    const std::string text = train("lost", config(), {}, {}, [](size_t step) {
        std::this_thread::sleep_for(std::chrono::milliseconds(70));  // the next step is saved
        if (step == 3) fake_cuda::break_gpu(cudaErrorIllegalAddress);
    });
    ASSERT_EQ(fault_, Fault::environment) << text;
    EXPECT_EQ(int(*fault_), 75);
    EXPECT_NE(text.find("the GPU is lost"), text.npos) << text;
    std::string last;
    for (const auto& [name, bytes] : contents(path("lost/checkpoints"))) last = std::max(last, name);
    EXPECT_NE(text.find("the last checkpoint is " + path("lost/checkpoints/" + last).string()), text.npos) << text;
    EXPECT_EQ(train("lost", config(), {}), "");
    EXPECT_NE(notes_.find("resumed at step"), notes_.npos) << notes_;
    EXPECT_TRUE(content(path("lost/model.safetensors")) == content(path("whole/model.safetensors")));
}

// Three steps in one graph, which divide no epoch: the log, every checkpoint and the model are those of single steps,
// also where the run was stopped within a graph. 6 s.
TEST_F(CudaRun, StepsInOneGraphAreThoseOfARunOfSingleSteps) {
    synthesize({.out = path("forty"), .images = 40, .width = 64, .height = 64, .seed = 5, .cameras = 2});
    TrainConfig c = config();
    c.data = path("forty").string(), c.save_minutes = 1000;
    const auto logged = [&](const std::string& run) {
        std::ifstream log(path(run + "/log.jsonl"));
        std::string all;
        for (std::string text; std::getline(log, text);) {
            nlohmann::json line = nlohmann::json::parse(text);
            for (const char* time : {"seconds", "images_per_second"}) line.erase(time);
            all += line.dump() + "\n";
        }
        return all;
    };
    ASSERT_EQ(train("singly", c, {}, {.steps_per_graph = 1}), "");
    const size_t steps = steps_, per_epoch = steps / 2;
    ASSERT_NE(per_epoch % 3, 0u);
    ASSERT_GE(per_epoch, 7u);
    ASSERT_EQ(train("together", c, {}, {.steps_per_graph = 3}), "");
    EXPECT_EQ(logged("together"), logged("singly"));
    EXPECT_TRUE(contents(path("together/checkpoints")) == contents(path("singly/checkpoints")));
    EXPECT_TRUE(content(path("together/model.safetensors")) == content(path("singly/model.safetensors")));
    for (const size_t stop : {size_t(1), size_t(5), per_epoch}) {
        const std::string name = fmt::format("halted {}", stop);
        ASSERT_EQ(train(name, c, {}, {.steps_per_graph = 3, .stop_after_steps = stop}), "");
        EXPECT_EQ(steps_, stop);
        EXPECT_TRUE(fs::exists(checkpoint_path(path(name) / "checkpoints", stop))) << "saved at another step";
        ASSERT_EQ(train(name, c, {}, {.steps_per_graph = 2}), "");
        EXPECT_EQ(logged(name), logged("singly"));
        EXPECT_TRUE(content(path(name + "/model.safetensors")) == content(path("singly/model.safetensors")));
    }
}

// Wherever it happens, the run ends at once, says so in one line, and what it left is good to go on from.
TEST_F(CudaRun, GoesOnAfterTheGpuWasLostAtAnyCall) {
    const auto slow = [](size_t) {
        std::this_thread::sleep_for(std::chrono::milliseconds(70));
    };  // every step is saved
    size_t before = 0;
    const auto count = [&](size_t step) {
        if (step == 1) before = fake_cuda::counts().calls;
        slow(step);
    };
    ASSERT_EQ(train("entire", config(), {}, {}, count), "");
    const size_t calls = fake_cuda::counts().calls;
    ASSERT_GT(calls, before + 100);
    for (size_t eighth = 1; eighth <= 4; ++eighth) {
        const size_t at = before + (calls - before) * eighth / 8;
        SCOPED_TRACE(fmt::format("lost at call {} of about {}", at, calls));
        const std::string name = fmt::format("often{}", eighth),
                          text = train(name, config(), {.lost_at_call = at}, {}, slow);
        ASSERT_EQ(fault_, Fault::environment) << text;
        EXPECT_NE(text.find("the GPU is lost"), text.npos) << text;
        EXPECT_LE(fake_cuda::counts().calls, at + 1) << "it was called again";
        const fs::path checkpoints = path(name + "/checkpoints");
        const bool saved = fs::exists(checkpoints) && !contents(checkpoints).empty();
        EXPECT_NE(text.find(saved ? "the last checkpoint is " : "no checkpoint was written yet"), text.npos) << text;
        EXPECT_EQ(train(name, config(), {}), "");
        EXPECT_TRUE(content(path(name + "/model.safetensors")) == content(path("entire/model.safetensors")));
    }
}

TEST_F(CudaRun, BatchThatTheMessageNamesFitsAndFewMoreDoNot) {
    for (const std::string task : {"classify", "detect"})
        for (const std::string precision : {"fp32", "bf16"}) {
            TrainConfig c = config(task);
            c.precision = precision, c.epochs = 1;
            const auto with = [&](uint64_t batch) {
                c.batch = batch;
                return c;
            };
            const auto used = [&](uint64_t batch) {  // until the first step
                struct Planned {};
                fake_cuda::reset({.memory = size_t(8) << 30});
                const RunEvents stop{.planned = [](const RunPlan&) { throw Planned{}; }};
                EXPECT_THROW(train_run(with(batch), {.folder = path("measured").string()}, stop), Planned);
                return fake_cuda::counts().max_used;
            };
            const std::string about = task + " " + precision;
            const fake_cuda::Settings gpu{.memory = used(12)};
            const std::string text = train("large", with(48), gpu);
            ASSERT_EQ(fault_, Fault::memory) << about << ": " << text;
            EXPECT_EQ(int(*fault_), 5);
            double needed = 0, free = 0;
            size_t fits = 0;
            ASSERT_EQ(std::sscanf(text.c_str(), "training needs %lf MB and %lf MB are free; --batch %zu would fit",
                                  &needed, &free, &fits),
                      3)
                << about << ": " << text;
            EXPECT_GT(needed, free);
            EXPECT_NEAR(needed, double(used(48) - kScratch) / 1e6, 1) << about;
            EXPECT_NEAR(free, double(gpu.memory - kScratch) / 1e6, 1) << about;
            EXPECT_EQ(train("named" + task + precision, with(fits), gpu), "") << about << ", batch " << fits;
            EXPECT_LE(fits, 12u);
            EXPECT_GT(double(used(fits + 1) - kScratch), 0.95 * double(gpu.memory - kScratch))
                << about << ": 5 % are left free, no more";
            EXPECT_NE(train("more" + task + precision, with(13), gpu), "") << about;
            EXPECT_EQ(fault_, Fault::memory);
        }
}

TEST_F(CudaRun, OutOfMemoryLeavesTheCheckpoints) {
    ASSERT_EQ(train("untouched", config(), {}), "");
    ASSERT_EQ(train("short", config(), {}, {.stop_after_steps = 2}), "");
    const auto before = contents(path("short/checkpoints"));
    ASSERT_FALSE(before.empty());
    ASSERT_NE(train("short", config(), {.memory = fake_cuda::counts().max_used - (1 << 20)}), "");
    EXPECT_EQ(fault_, Fault::memory);
    EXPECT_TRUE(contents(path("short/checkpoints")) == before);
    EXPECT_EQ(train("short", config(), {}), "");
    EXPECT_TRUE(content(path("short/model.safetensors")) == content(path("untouched/model.safetensors")));
}

// A last layer of huge numbers: the loss is none, its gradients are lost, and the weights stay as they were.
TEST_F(CudaRun, TwentyLostStepsEndTheRunAndLeaveTheCheckpoint) {
    synthesize({.out = path("many"), .images = 64, .width = 64, .height = 64, .seed = 3, .cameras = 2});
    for (const std::string device : {"cuda", "cpu"}) {
        TrainConfig c = config();
        c.data = path("many").string(), c.batch = 2;  // an epoch has more than 22 steps
        c.device = device;
        const fs::path folder = path("lost " + device) / "checkpoints";
        ASSERT_EQ(train("lost " + device, c, {}, {.stop_after_steps = 2}), "");
        {
            Checkpoint checkpoint = load_checkpoint(checkpoint_path(folder, 2));
            std::vector<float> huge(elements<float>(checkpoint.file.at("model.fc.weight")).size(), 3e38f);
            const auto held = checkpoint.file.tensors();
            std::vector<FileTensor> tensors(held.begin(), held.end());
            for (FileTensor& t : tensors)
                if (t.name == "model.fc.weight") t.data = std::as_bytes(std::span(huge));
            CheckpointWriter(folder).save(checkpoint.state, tensors);
        }
        const auto saved = contents(folder);
        const std::string text = train("lost " + device, c, {});
        ASSERT_EQ(fault_, Fault::not_finite) << text;
        EXPECT_EQ(int(*fault_), 6);
        EXPECT_NE(text.find("step 22: loss or gradients were not finite for 20 steps; lower --lr (now 0.05)"),
                  text.npos)
            << text;
        EXPECT_NE(text.find(folder.string()), text.npos) << text;
        EXPECT_TRUE(contents(folder) == saved) << "a lost step was saved, or a checkpoint is gone";
        EXPECT_NO_THROW(load_checkpoint(checkpoint_path(folder, 2)));
    }
}

// `doctor` computes its two training steps on a usable GPU as well, and says when they are wrong or cannot be computed.
TEST_F(CudaRun, DoctorComputesOnTheGpuToo) {
    const auto said = [](const fake_cuda::Settings& gpu) {
        fake_cuda::reset(gpu);
        CLI::App app;
        const auto run = doctor_command().add(app);
        app.parse("--json");
        testing::internal::CaptureStdout();
        const int code = run();
        return std::pair(code, nlohmann::json::parse(testing::internal::GetCapturedStdout()));
    };
    const auto [code, whole] = said({});
    EXPECT_EQ(code, 0);
    ASSERT_TRUE(whole.contains("self_test_cuda")) << whole.dump(1);
    EXPECT_TRUE(whole["self_test_cuda"]["good"].get<bool>()) << whole.dump(1);
    EXPECT_NE(whole["self_test_cuda"]["text"].get<std::string>().find("on cpu and cuda differ"), std::string::npos);

    EXPECT_FALSE(said({.device = cudaErrorNoDevice}).second.contains("self_test_cuda"));

    const auto [lost_code, lost] = said({.lost_at_call = 200});
    EXPECT_EQ(lost_code, int(Fault::environment));
    EXPECT_FALSE(lost["self_test_cuda"]["good"].get<bool>()) << lost.dump(1);
}

// Its batches are decoded into pinned memory, from which they are copied beside the host's work: same numbers. 6 s.
TEST_F(CudaRun, LrFindGivesTheNumbersOfItsKernelsAlone) {
    const auto said = [](const std::string& device) {
        fake_cuda::reset({});
        CLI::App app;
        const auto run = lr_find_command().add(app);
        app.parse(fmt::format("{} --init {} --device {} --precision fp32 --image-size 32 --batch 2 --steps 50 --quiet",
                              path("shots").string(), path("narrow.safetensors").string(), device));
        testing::internal::CaptureStdout();
        EXPECT_EQ(run(), 0);
        return testing::internal::GetCapturedStdout();
    };
    const std::string want = said("simt");
    EXPECT_NE(want.find("steepest descent"), want.npos);
    EXPECT_EQ(said("cuda"), want);
    EXPECT_EQ(fake_cuda::counts().alive, 0u);
}

// Planes go up while the batch before computes; a GPU that is lost anywhere loses no result that was there, and the
// same command goes on. (9 s)
TEST_F(CudaRun, DetectsWhileImagesGoUpAndGoesOnAfterTheGpuWasLost) {
    make_small_detector(path("m.safetensors"));
    size_t images = 0;
    const auto job = [&](const std::string& device, const std::string& out) {
        DetectJob j;
        j.images = {path("scenes").string()};
        j.model = path("m.safetensors").string();
        j.out = path(out).string();
        j.threshold = 0.0001f, j.image_size = 64;
        j.machine.device = device;
        j.machine.batch = 3, j.machine.threads = 2;
        j.progress = [&](const DetectCounts& counts, size_t) { return images = counts.done, true; };
        return j;
    };
    const auto comparable = [&](const std::string& out) {
        std::string text = content(path(out));
        const size_t at = text.find("\"detection_completion_time\":\"");
        EXPECT_NE(at, text.npos);
        return text.erase(at, 29 + 19);
    };
    detect(job("simt", "simt.json"));
    EXPECT_NE(comparable("simt.json").find("bbox"), std::string::npos) << "the network finds nothing";
    fake_cuda::reset({});
    detect(job("cuda", "cuda.json"));
    EXPECT_EQ(images, 16u);
    EXPECT_EQ(comparable("cuda.json"), comparable("simt.json"));
    const fake_cuda::Counts whole = fake_cuda::counts();
    EXPECT_EQ(whole.alive, 0u);
    EXPECT_GE(whole.overlapped_copies, 10u) << "a batch waits for the one before";  // planes and places, 5 times
    {  // where decoders wrote it, from there it is copied
        fake_cuda::reset({});
        const auto device = open_device("cuda");
        Detector detector(*device, read_detector(path("m.safetensors").string()), {.batch = 3, .threshold = 0.0001f});
        DetectJob j = job("cpu", "own.json");
        j.network_device = device.get();
        std::vector<const void*> seen;
        j.network = [&](std::span<const DetectorImage> given, size_t h, size_t w) {
            for (const DetectorImage& image : given) seen.push_back(image.place.h ? image.bytes.data() : nullptr);
            return [&, started = detector.start(given, h, w)] { return detector.finish(started); };
        };
        detect(j);
        EXPECT_EQ(comparable("own.json"), comparable("simt.json"));
        ASSERT_EQ(seen.size(), 16u);
        for (const void* bytes : seen) EXPECT_GT(fake_cuda::copies_from(bytes), 0u);
    }
    {  // stopped while the third batch computes: its results are kept, and none is counted twice
        fake_cuda::reset({});
        DetectJob stopped = job("cuda", "stopped.json");
        stopped.progress = [](const DetectCounts& counts, size_t) { return counts.done < 6; };
        const DetectOutcome outcome = detect(stopped);
        EXPECT_FALSE(outcome.finished);
        EXPECT_EQ(outcome.counts.done, 9u);
        EXPECT_EQ(detect(job("cuda", "stopped.json")).counts.resumed, 9u);
        EXPECT_EQ(comparable("stopped.json"), comparable("simt.json"));
    }
    for (const size_t part : {9, 6}) {  // tenths of the run
        fake_cuda::reset({.lost_at_call = whole.calls * part / 10});
        const DetectJob lost = job("cuda", "lost.json");
        EXPECT_THROW(detect(lost), Error) << part;
        EXPECT_FALSE(fs::exists(lost.out));
        fake_cuda::reset({});
        detect(lost);
        EXPECT_EQ(comparable("lost.json"), comparable("simt.json")) << part;
        fs::remove(lost.out);
    }
}

}  // namespace
