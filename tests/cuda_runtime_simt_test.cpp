// engine/device_cuda.cpp against a stand-in for the CUDA runtime (virtual_gpu/cuda_runtime), with the kernels of simt
// (and, as cuda_runtime_ptx_test, those of ptx): memory, copies, streams, recording, what it says when something fails.
// CMake compiles device_cuda.cpp a second time for this test.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory_resource>
#include <optional>

#include "predict/classifier.h"
#include "tests/cuda_training.h"

namespace {

// Losses of a few steps whose learning rate changes, read `late` steps late.
std::vector<float> losses(Device& device, size_t steps, bool eager = false, bool late = false) {
    Arena arena(device);
    Trainer trainer(device, arena, config(eager), initialize_state(config().model, 1));
    std::vector<float> result;
    size_t allocations = 0;
    for (size_t step = 1; step <= steps; ++step) {
        Batch b = batch(unsigned(step));
        trainer.step(b, step < 3 ? 0.01 : 0.2, 0.9, step);
        std::ranges::fill(b.images, 0);  // the caller may use its memory again at once
        if (!late)
            result.push_back(float(trainer.stats().loss));
        else
            for (const StepStats& stats : trainer.arrived()) result.push_back(float(stats.loss));
        if (step == 1) allocations = fake_cuda::counts().allocations;
    }
    EXPECT_EQ(fake_cuda::counts().allocations, allocations) << "memory was taken after the first step";
    if (late)
        for (const StepStats& stats : trainer.finish()) result.push_back(float(stats.loss));
    return result;
}

TEST(CudaRuntime, NoGpuOldDriverAndOldGpuAreUsageErrorsWithOneLine) {
    std::string text;
    fake_cuda::reset({.device = cudaErrorNoDevice});
    EXPECT_EQ(fault_of([] { open_cuda({}); }, text), Fault::usage);
    EXPECT_NE(text.find("no NVIDIA GPU is visible"), text.npos) << text;
    fake_cuda::reset({.device = cudaErrorInsufficientDriver, .driver = 0});
    EXPECT_EQ(fault_of([] { open_cuda({}); }, text), Fault::usage);
    EXPECT_NE(text.find("no NVIDIA driver"), text.npos) << text;
    fake_cuda::reset({.device = cudaErrorInsufficientDriver, .driver = 12020});
    EXPECT_EQ(fault_of([] { open_cuda({}); }, text), Fault::usage);
    EXPECT_NE(text.find("12.2"), text.npos) << text;
    EXPECT_NE(text.find("13.0"), text.npos) << text;
    fake_cuda::reset({.major = 7});
    EXPECT_EQ(fault_of([] { open_cuda({}); }, text), Fault::usage);
    EXPECT_NE(text.find("compute capability 7.0"), text.npos) << text;
    EXPECT_EQ(text.find('\n'), text.npos);
    EXPECT_EQ(fake_cuda::counts().alive, 0u);
}

// A program with CUDA on a machine without cuDNN: by name an error that says so, by itself the CPU.
TEST(CudaRuntime, WithoutCudnnAutoTakesTheCpu) {
    std::string text, reason;
    fake_cuda::reset({.no_cudnn = true});
    EXPECT_EQ(fault_of([] { open_device("cuda"); }, text), Fault::usage);
    EXPECT_NE(text.find("libcudnn.so.9"), text.npos) << text;
    EXPECT_EQ(open_device("auto", {}, &reason)->kind(), "cpu");
    EXPECT_EQ(reason, text);
    EXPECT_EQ(fake_cuda::counts().alive, 0u);
}

TEST(CudaRuntime, MemoryIsZeroAndComesBack) {
    fake_cuda::reset({});
    {
        const auto device = open_cuda({});
        EXPECT_EQ(device->kind(), "cuda");
        EXPECT_NE(device->description().find("Fake GPU, 1.0 GiB"), std::string::npos) << device->description();
        EXPECT_EQ(device->gpu().count, 1u);
        EXPECT_EQ(device->gpu().memory_bytes, size_t(1) << 30);
        EXPECT_FALSE(device->gpu().driver.empty());
        Buffer memory(*device, 1000);
        std::vector<uint8_t> bytes(1000, 7);
        device->download(bytes.data(), memory.data(), bytes.size());
        EXPECT_EQ(bytes, std::vector<uint8_t>(1000, 0));
        for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = uint8_t(i);
        device->upload(memory.data(), bytes.data(), bytes.size());
        std::vector<uint8_t> back(1000);
        device->download(back.data(), memory.data(), back.size());
        EXPECT_EQ(back, bytes);
    }
    EXPECT_EQ(fake_cuda::counts().alive, 0u);
}

// Three uploads before anything is waited for: two slots must not be overwritten while a copy may still read them.
TEST(CudaRuntime, UploadsAheadKeepTheirOrder) {
    fake_cuda::reset({});
    const auto device = open_cuda({});
    Buffer memory(*device, sizeof(int));
    const auto readback = [&] { return device->readback(sizeof(int)); };
    std::vector<std::unique_ptr<Readback>> seen;
    for (int value = 1; value <= 5; ++value) {
        int here = value;
        const Piece given{&here, sizeof here};
        device->upload_async(memory.data(), {&given, 1});
        here = -1;
        seen.push_back(readback());
        const Piece piece{memory.data(), sizeof(int)};
        seen.back()->start(std::span(&piece, 1));
    }
    for (int value = 1; value <= 5; ++value) {
        int got = 0;
        std::memcpy(&got, seen[size_t(value - 1)]->wait().data(), sizeof got);
        EXPECT_EQ(got, value);
    }
}

TEST(CudaRuntime, TrainsAsTheKernelsAloneRecordedAndEager) {
    const std::vector<float> want = losses(*open_device(kKernelsOf), 6);
    EXPECT_NE(want[4], want[5]);
    for (const bool eager : {false, true})
        for (const bool late : {false, true}) {
            fake_cuda::reset({});
            {
                const auto device = open_cuda({});
                EXPECT_EQ(losses(*device, 6, eager, late), want)
                    << (eager ? "eager" : "recorded") << (late ? ", read late" : "");
            }
            EXPECT_EQ(fake_cuda::counts().graph_launches, eager ? 0u : 5u);
            EXPECT_EQ(fake_cuda::counts().alive, 0u);
            if (late) {
                EXPECT_GE(fake_cuda::counts().overlapped_copies, 4u) << "inputs wait for the step before";
            }
        }
}

// Every batch is copied from where it was decoded, while the batch before computes; the answers are those of the
// kernels alone, batch by batch. 2 s.
TEST(CudaRuntime, InferenceCopiesTheNextBatchWhileOneComputes) {
    const Model model = config().model;
    constexpr size_t kSteps = 5;
    const auto classify = [&](Device& device, bool ahead) {
        Arena arena(device);
        Classifier classifier(device, arena,
                              {.model = model, .batch = kBatch, .size = kSize, .normalize = config().normalize});
        classifier.load(initialize_state(model, 1), "test");
        std::vector<std::pmr::vector<uint8_t>> images;  // three at a time: two are in use, one is made
        for (size_t i = 0; i < 3; ++i) images.emplace_back(kBatch * kSize * kSize * 3, &device.host_memory());
        std::vector<std::vector<float>> result;
        std::optional<Classifier::Started> before;
        size_t allocations = 0;
        for (size_t step = 0; step < kSteps; ++step) {
            std::ranges::copy(batch(unsigned(step)).images, images[step % 3].begin());
            const size_t count = step == kSteps - 1 ? kBatch - 1 : kBatch;  // the last batch is not full
            const auto pixels = std::span(images[step % 3]).first(count * kSize * kSize * 3);
            const Classifier::Started started = classifier.start(pixels);
            if (step == 1) allocations = fake_cuda::counts().allocations;
            if (before) result.push_back(classifier.finish(*before).probabilities);
            before = started;
            if (ahead && step + 1 < kSteps) continue;
            result.push_back(classifier.finish(started).probabilities);
            before.reset();
        }
        if (device.kind() == "cuda") {
            EXPECT_EQ(fake_cuda::counts().allocations, allocations) << "memory was taken after the second batch";
            for (size_t i = 0; i < 3; ++i)
                EXPECT_EQ(fake_cuda::copies_from(images[i].data()), i < 2 ? 2u : 1u) << "copied from elsewhere";
        }
        return result;
    };
    const auto want = classify(*open_device(kKernelsOf), false);
    EXPECT_NE(want[0], want[1]);
    EXPECT_EQ(want[4].size(), (kBatch - 1) * 3);
    for (const bool ahead : {false, true}) {
        fake_cuda::reset({});
        EXPECT_EQ(classify(*open_cuda({}), ahead), want);
        EXPECT_EQ(fake_cuda::counts().overlapped_copies, ahead ? kSteps - 1 : 0u);
        EXPECT_EQ(fake_cuda::counts().alive, 0u);
    }
}

// Blocks that are given back serve again, also smaller wishes; a larger one replaces one that is too small. Memory that
// cannot be pinned is ordinary, and copies from it are made at once.
TEST(CudaRuntime, PinnedMemoryStaysFlat) {
    fake_cuda::reset({});
    const auto device = open_cuda({});
    const size_t before = fake_cuda::counts().alive;
    for (const size_t bytes : {100, 200, 150, 100, 300})
        for (int round = 0; round < 3; ++round) {
            const std::pmr::vector<uint8_t> one(bytes, &device->host_memory()), two(bytes, &device->host_memory());
            EXPECT_NE(one.data(), two.data());
        }
    EXPECT_EQ(fake_cuda::counts().alive, before + 2);
    Buffer memory(*device, 1000);
    fake_cuda::break_gpu(cudaErrorMemoryAllocation);
    const std::pmr::vector<uint8_t> ordinary(1000, 7, &device->host_memory());
    fake_cuda::break_gpu(cudaSuccess);
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess) << "the next launch would report it";
    const Piece piece{ordinary.data(), ordinary.size()};
    device->upload_async(memory.data(), {&piece, 1});
    EXPECT_EQ(fake_cuda::copies_from(ordinary.data()), 0u);
    std::vector<uint8_t> back(1000);
    device->download(back.data(), memory.data(), back.size());
    EXPECT_EQ(back, std::vector<uint8_t>(1000, 7));
}

// A library that cannot be recorded costs speed, not the run.
TEST(CudaRuntime, StepsThatCannotBeRecordedAreRunEagerly) {
    const std::vector<float> want = losses(*open_device(kKernelsOf), 4);
    fake_cuda::reset({.refuses_capture = true});
    {
        const auto device = open_cuda({});
        testing::internal::CaptureStderr();
        EXPECT_EQ(losses(*device, 4), want);
        const std::string said = testing::internal::GetCapturedStderr();
        EXPECT_NE(said.find("note: steps are not recorded"), said.npos) << said;
        EXPECT_EQ(said.find("note:"), said.rfind("note:")) << "said more than once: " << said;
    }
    EXPECT_EQ(fake_cuda::counts().graph_launches, 0u);
    EXPECT_EQ(fake_cuda::counts().alive, 0u);
}

// Three convolutions of 1.1 s each: one line after the second. (3 s)
TEST(CudaRuntime, ChoosingEnginesSaysHowFarItIs) {
    fake_cuda::reset({.to_choose = 3});
    const auto device = open_cuda({});
    testing::internal::CaptureStderr();
    losses(*device, 2);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("note: choosing engines, 2 of "), said.npos) << said;
    EXPECT_EQ(std::ranges::count(said, '\n'), 1) << said;
}

TEST(CudaRuntime, OutOfMemoryNamesWhatIsNeededFreeAndTheLargestBatch) {
    fake_cuda::reset({.memory = size_t(268) << 20});  // 256 MB of it are scratch memory
    const auto device = open_cuda({});
    Arena arena(*device);
    TrainerConfig large = config();
    large.batch = 256;
    std::string text;
    EXPECT_EQ(fault_of([&] { Trainer(*device, arena, large, initialize_state(large.model, 1)); }, text), Fault::memory);
    EXPECT_NE(text.find("B more are needed"), text.npos) << text;
    EXPECT_NE(text.find("B are free"), text.npos) << text;
    EXPECT_NE(text.find("of batch 256, about"), text.npos) << text;
    EXPECT_EQ(losses(*device, 2).size(), 2u) << "the device is not usable afterwards";
}

TEST(CudaRuntime, LostGpuIsSaidOnceAndNotCalledAgain) {
    fake_cuda::reset({});
    std::string text;
    {
        const auto device = open_cuda({});
        Arena arena(*device);
        Trainer trainer(*device, arena, config(), initialize_state(config().model, 1));
        for (size_t step = 1; step <= 3; ++step) trainer.step(batch(1), 0.01, 0.9, step);
        fake_cuda::break_gpu(cudaErrorIllegalAddress);
        EXPECT_EQ(fault_of([&] { trainer.stats(); }, text), Fault::environment);
        EXPECT_NE(text.find("the GPU is lost"), text.npos) << text;
        EXPECT_NE(text.find("700"), text.npos) << text;
        const size_t calls = fake_cuda::counts().calls;
        EXPECT_EQ(fault_of([&] { trainer.step(batch(1), 0.01, 0.9, 4); }, text), Fault::environment);
        EXPECT_EQ(fault_of([&] { trainer.state(); }, text), Fault::environment);
        EXPECT_EQ(fake_cuda::counts().calls, calls);
    }
    fake_cuda::reset({});
}

// The calls of NCCL, with one rank: mpi_cuda_test has two, whose kernels gather over MPI where simt executes them.
TEST(CudaRuntime, SumsAndGathersAreOrderedWithTheSteps) {
    ASSERT_EQ(setenv("CUDA_PATH", TUNDRA_VIRTUAL_NCCL, 1), 0);
    for (const bool early : {false, true}) {
        fake_cuda::reset({.early = early});
        {
            const auto device = open_cuda({});
            Ranks alone;
            const std::unique_ptr<GpuSums> sums = device->sums(alone);
            EXPECT_EQ(sums->version, "NCCL 2.28.9");
            const Buffer own(*device, 3 * sizeof(float)), all(*device, own.bytes());
            const std::vector<float> values = {1, 2.5f, -3};
            const auto stream = cuda_of(*device).stream;
            const Piece piece{values.data(), own.bytes()};
            device->upload_async(own.data(), {&piece, 1});
            sums->start_sum(stream, own.data(), values.size(), DType::f32, 1);
            sums->wait(stream);
            sums->gather(stream, own.data(), all.data(), own.bytes());
            std::vector<float> back(values.size());
            device->download(back.data(), all.data(), own.bytes());
            EXPECT_EQ(back, values);
            std::string text;
            EXPECT_EQ(fault_of([&] { sums->start_sum(stream, own.data(), 6, DType::f16, 1); }, text),
                      Fault::environment);
            EXPECT_EQ(text, "NCCL, ncclAllReduce: some error (ncclResult 4)") << "the stand-in adds no fp16";
        }
        EXPECT_EQ(fake_cuda::counts().alive, 0u);
    }
}

// 16-bit images have 8 channels on cuda; files hold three.
TEST(CudaRuntime, PaddedStemIsAsInFiles) {
    fake_cuda::reset({});
    const auto device = open_cuda({});
    Arena arena(*device);
    TrainerConfig half = config();
    half.precision = DType::bf16;
    const StateDict initial = initialize_state(half.model, 1);
    Trainer trainer(*device, arena, half, initial);
    const StateDict state = trainer.state();
    EXPECT_EQ(state.at("conv1.weight").shape, (Shape{4, 3, 7, 7}));
    EXPECT_EQ(state.at("conv1.weight").values, initial.at("conv1.weight").values);
    trainer.step(batch(1), 0.01, 0.9, 1);
    EXPECT_NE(trainer.state().at("conv1.weight").values, initial.at("conv1.weight").values);
}

}  // namespace
