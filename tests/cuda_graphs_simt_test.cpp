// Several training steps as one recorded graph, over the stand-in for the CUDA runtime (virtual_gpu/cuda_runtime), with
// the kernels of simt and, in cuda_runtime_ptx_test, those of ptx.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "app/synth/synth.h"
#include "predict/model_file.h"
#include "tests/cuda_training.h"
#include "tests/files.h"
#include "tests/images.h"
#include "train/run.h"

namespace {

// Several steps in one graph: losses, loss scale and weights are those of steps one by one, also where what is queued
// is finished in the middle of a graph, and where the device cannot record. 3 s.
TEST(CudaGraphs, StepsInOneGraphGiveTheBitsOfSingleSteps) {
    constexpr size_t kSteps = 11, kStop = 7;
    using Weights = std::map<std::string, std::vector<float>>;
    struct Trained {
        std::vector<float> losses;
        Weights state, averaged;
        bool operator==(const Trained&) const = default;
    };
    const auto weights = [](const StateDict& state) {
        Weights values;
        for (const auto& [name, tensor] : state) values[name] = {tensor.values.begin(), tensor.values.end()};
        return values;
    };
    const auto train = [&](Device& device, size_t together, bool eager = false) {
        Arena arena(device);
        TrainerConfig c = config(eager);
        c.optimizer.ema_decay = 0.9f, c.optimizer.ema_ramp = 2, c.steps_per_graph = together;
        Trainer trainer(device, arena, c, initialize_state(c.model, 1));
        Trained result;
        const auto keep = [&](const std::vector<StepStats>& all) {
            for (const StepStats& stats : all) result.losses.push_back(float(stats.loss));
        };
        size_t allocations = 0;
        for (size_t step = 1; step <= kSteps; ++step) {
            Batch b = batch(unsigned(step));
            trainer.step(b, 0.01 * double(step), 0.9, step);
            std::ranges::fill(b.images, 0), std::ranges::fill(b.labels, 0);
            keep(trainer.arrived());
            if (step == 1) allocations = fake_cuda::counts().allocations;
            if (step == kStop) {
                keep(trainer.finish());
                EXPECT_EQ(result.losses.size(), kStop);
                result.state = weights(trainer.state());
            }
        }
        EXPECT_EQ(trainer.steps_per_graph(), device.facts().overlaps && !eager ? together : 1);
        if (trainer.steps_per_graph() > 2) {
            std::string text;  // 11 steps: some are queued
            EXPECT_EQ(fault_of([&] { trainer.state(); }, text), Fault::runtime) << "the state of other steps";
        }
        keep(trainer.finish());
        EXPECT_EQ(fake_cuda::counts().allocations, allocations) << "memory was taken after the first step";
        result.averaged = weights(trainer.averaged());
        return result;
    };
    const Trained want = train(*open_device(kKernelsOf), 1);
    ASSERT_EQ(want.losses.size(), kSteps);
    EXPECT_NE(want.losses[9], want.losses[10]);
    for (const size_t together : {2, 3, 8}) {
        fake_cuda::reset({});
        EXPECT_TRUE(train(*open_cuda({}), together) == want) << together;
        // One by one: the first graph, of which the first step is not recorded; what is finished early. Then graphs.
        const size_t graphs = kStop / together, later = (kSteps - kStop) / together,
                     singly = kSteps - (graphs + later) * together + (graphs ? together : 0);
        EXPECT_EQ(fake_cuda::counts().graph_launches, singly - 1 + (graphs ? graphs - 1 : 0) + later) << together;
        if (together < 8) {  // 8: every start follows a finish()
            EXPECT_GE(fake_cuda::counts().overlapped_copies, 1u) << "inputs wait for the steps before";
        }
        EXPECT_EQ(fake_cuda::counts().alive, 0u);
    }
    fake_cuda::reset({});
    EXPECT_TRUE(train(*open_cuda({}), 3, true) == want) << "eager";
    fake_cuda::reset({.refuses_capture = true});
    testing::internal::CaptureStderr();
    EXPECT_TRUE(train(*open_cuda({}), 3) == want) << "not recorded";
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(std::ranges::count(said, '\n'), 2) << "of single steps and of three together, each once: " << said;
    fake_cuda::reset({});
}

Batch two_of_a_batch(size_t seed) {
    Batch b = batch(unsigned(seed));
    b.images.resize(2 * kSize * kSize * 3), b.transform.resize(12), b.color.resize(4), b.labels.resize(2);
    return b;
}

// Without a number, the first steps are run both ways, and the faster one stays. 4 s.
TEST(CudaGraphs, StepsPerGraphAreChosenByTheirTime) {
    constexpr size_t kSteps = 67;  // 8 singly twice, six graphs of 8, and 3 more
    const auto train = [&](Device& device, size_t together, size_t& chosen) {
        Arena arena(device);
        TrainerConfig c = config();
        c.batch = 2, c.steps_per_graph = together;
        Trainer trainer(device, arena, c, initialize_state(c.model, 1));
        std::vector<float> result;
        for (size_t step = 1; step <= kSteps; ++step) {
            trainer.step(two_of_a_batch(step), 0.01, 0.9, step);
            for (const StepStats& stats : trainer.arrived()) result.push_back(float(stats.loss));
        }
        chosen = trainer.steps_per_graph();
        for (const StepStats& stats : trainer.finish()) result.push_back(float(stats.loss));
        return result;
    };
    size_t chosen = 0;
    const std::vector<float> want = train(*open_device(kKernelsOf), 1, chosen);
    EXPECT_EQ(chosen, 1u);
    fake_cuda::reset({});
    EXPECT_EQ(train(*open_cuda({}), 0, chosen), want);
    EXPECT_TRUE(chosen == 1 || chosen == 8) << chosen;
    // 15 of the first 16 steps, 8 of the first graph, five graphs, the last three: singly, queued or not.
    EXPECT_EQ(fake_cuda::counts().graph_launches, 15u + 8 + 5 + 3);
    EXPECT_EQ(fake_cuda::counts().alive, 0u);
}

// --join-gradients auto: a new run times both ways and keeps to what it chose, whatever a later session would choose;
// run.json says it, and how many steps a graph has. In float32 both ways give the same bits. 5 s.
TEST(CudaGraphs, TheChoiceOfJoinedGradientsStaysWithTheRun) {
    const TemporaryFolder folder;
    const auto path = [&](const std::string& name) { return (folder.path / name).string(); };
    synthesize({.out = path("shots"), .images = 16, .width = 64, .height = 64, .seed = 2, .cameras = 2});
    const Model model = config().model;
    write_model(path("narrow.safetensors"), {.model = model,
                                             .classes = {"a", "b", "c"},
                                             .input = {.fit = {}, .normalize = "imagenet"},
                                             .state = initialize_state(model, 1),
                                             .steps = 0,
                                             .more = {}});
    TrainConfig c = recipe_named("default");
    c.data = path("shots"), c.init = path("narrow.safetensors"), c.device = "cuda", c.precision = "fp32";
    c.image_size = 32, c.epochs = 2, c.batch = 4, c.cache = "memory";
    std::string notes;
    const auto train = [&](const std::string& name, RunOptions options) {
        fake_cuda::reset({});
        notes.clear(), options.folder = path(name);
        train_run(c, options, {.note = [&](const std::string& text) { notes += text + "\n"; }});
        return nlohmann::json::parse(content(path(name + "/run.json")));
    };
    EXPECT_EQ(train("off", {.join_gradients = "off"}).at("joined_gradients"), false);
    EXPECT_EQ(train("on", {.join_gradients = "on"}).at("joined_gradients"), true);
    EXPECT_EQ(notes.find("joined"), notes.npos) << notes;
    EXPECT_TRUE(content(path("on/model.safetensors")) == content(path("off/model.safetensors")));

    nlohmann::json record = train("auto", {.steps_per_graph = 2, .stop_after_steps = 3});
    EXPECT_NE(notes.find("joined in convolutions: "), notes.npos) << notes;
    EXPECT_EQ(record.at("steps_per_graph"), 2);
    const bool other = !record.at("joined_gradients").get<bool>();
    record["joined_gradients"] = other;
    std::ofstream(path("auto/run.json")) << record.dump();
    EXPECT_EQ(train("auto", {}).at("joined_gradients"), other);
    EXPECT_EQ(notes.find("joined"), notes.npos) << "measured again: " << notes;
    EXPECT_TRUE(content(path("auto/model.safetensors")) == content(path("off/model.safetensors")));
    c.device = "cpu";
    std::string text;
    EXPECT_EQ(fault_of([&] { train("cpu", {.join_gradients = "on"}); }, text), Fault::usage);
    EXPECT_EQ(text, "--join-gradients on: the device is the CPU");
    fake_cuda::reset({});
}

// Epochs that are too short for a comparison end it. 2 s.
TEST(CudaGraphs, AComparisonThatIsInterruptedOftenIsGivenUp) {
    fake_cuda::reset({});
    for (const size_t epoch : {size_t(5), size_t(20)}) {  // shorter than steps one by one, and than graphs
        const auto device = open_cuda({});
        Arena arena(*device);
        TrainerConfig c = config();
        c.batch = 2, c.steps_per_graph = 0;
        Trainer trainer(*device, arena, c, initialize_state(c.model, 1));
        size_t told = 0;
        for (size_t step = 1; step <= 4 * epoch; ++step) {
            EXPECT_TRUE(trainer.comparing()) << step;
            trainer.step(two_of_a_batch(step), 0.01, 0.9, step);
            told += trainer.arrived().size();
            if (step % epoch == 0) told += trainer.finish().size() + trainer.finish().size();
        }
        EXPECT_FALSE(trainer.comparing());
        EXPECT_EQ(trainer.steps_per_graph(), 1u);
        EXPECT_EQ(told, 4 * epoch);
    }
    EXPECT_EQ(fake_cuda::counts().alive, 0u);
}

}  // namespace
