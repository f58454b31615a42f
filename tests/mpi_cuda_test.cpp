// Ranks that train on GPUs, without a GPU: the whole program over the stand-ins for the CUDA runtime and for NCCL
// (virtual_gpu/cuda_runtime), started by mpirun and by --device cuda:0,1. The numbers are those of ranks on the CPU,
// and NCCL's calls are recorded: their order, streams, sizes and types. Skipped without mpirun. 90 s.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/safetensors.h"
#include "tests/small_training.h"
#include "tests/virtual_program.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class MpiCuda : public VirtualProgram {
protected:
    static void SetUpTestSuite() {
        VirtualProgram::SetUpTestSuite();
        make_small_training(folder()->path, 30, 12);
        set_environment("2", TUNDRA_VIRTUAL_NCCL);
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1), setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
        if (!no_mpi()) {  // two ranks, with which several tests compare
            setenv("VIRTUAL_NCCL_LOG", path("calls").c_str(), 1);
            late() = run(ranks(2) + train("--device cuda", "late"));
            unsetenv("VIRTUAL_NCCL_LOG");
        }
        // Ranks that hang are looked at in the last test: it takes 20 s until one is given up.
        fault("silent", "", "kill -STOP $(pgrep -P $p | tail -1)");
        if (fs::exists(hang_library())) fault("hanging", "LD_PRELOAD=" + hang_library(), "touch hang");
    }
    static std::string hang_library() { return (fs::path(TUNDRA_VIRTUAL).parent_path() / "libhang.so").string(); }
    // A training in the folder `name`; the event happens behind the first checkpoint.
    static void fault(const std::string& name, const std::string& variable, const std::string& event) {
        run(fmt::format(
            "mkdir {} && cd {} && ln -s ../shots ../narrow.safetensors . && ( ({} {} & p=$!; {}; sleep 0.5; "
            "date +%s >begin; {}; wait $p; echo $? $(date +%s) >end) >said 2>&1 & )",
            name, name, variable, train("--device cuda:0,1 --epochs 5000 --save-minutes 0.001", "run"), begun("run"),
            event));
    }
    void SetUp() override { set_environment("2", TUNDRA_VIRTUAL_NCCL); }
    static Ran& late() {
        static Ran ran{};
        return ran;
    }

    static bool no_mpi() {
        return !fs::exists(fs::path(TUNDRA_VIRTUAL).parent_path() / "tundra_mpi.so") ||
               run("command -v mpirun").code != 0;
    }
    static std::string ranks(int n) { return fmt::format("mpirun --oversubscribe --bind-to none -n {} ", n); }
    static std::string train(const std::string& more, const std::string& out, const std::string& precision = "fp32") {
        return fmt::format(
            "{} train shots --init narrow.safetensors --image-size 32 --epochs 1 --batch 8 --no-drop-last --lr 0.01 "
            "--augment "
            "none --cache off --precision {} --threads 1 --join-gradients off -q {} -o {}",
            TUNDRA_VIRTUAL, precision, more, out);
    }
    static std::string detector(const std::string& more, const std::string& out) {
        return fmt::format(
            "{} train scenes --task detect --model yolov5n --image-size 64 --epochs 1 --batch 4 --lr 0.0001 --augment "
            "none --cache off --precision fp32 --threads 1 -q {} -o {}",
            TUNDRA_VIRTUAL, more, out);
    }
    static std::map<std::string, std::vector<double>> numbers(const std::string& out) {  // of the steps, by name
        std::map<std::string, std::vector<double>> all;
        std::ifstream log(path(out + "/log.jsonl"));
        for (std::string text; std::getline(log, text);) {
            const json line = json::parse(text);
            if (!line.contains("rate")) continue;
            for (const char* name : {"loss", "correct", "pictures", "box", "objectness", "class"})
                if (line.contains(name)) all[name].push_back(line[name]);
        }
        return all;
    }
    static void expect_near(const std::string& got, const std::string& want, double limit) {
        const auto a = numbers(got), b = numbers(want);
        ASSERT_FALSE(b.empty()) << want;
        for (const auto& [name, values] : b) {
            ASSERT_EQ(a.at(name).size(), values.size());
            for (size_t i = 0; i < values.size(); ++i)
                EXPECT_NEAR(a.at(name)[i], values[i], limit * (0.1 + std::abs(values[i]))) << name << ", step " << i;
        }
    }
    static std::string begun(const std::string& out) {  // waits for the first checkpoint
        return fmt::format(
            "for i in $(seq 300); do ls {}/checkpoints/*.safetensors >/dev/null 2>&1 && break; sleep 0.1; done", out);
    }
    static bool same_model(const std::string& a, const std::string& b) {
        return content(path(a + "/model.safetensors")) == content(path(b + "/model.safetensors"));
    }
};

#define MPI_ONLY() \
    if (no_mpi()) GTEST_SKIP() << "no MPI"

// Two ranks on GPUs train as two ranks on the CPU, the last batch of six images and one that cannot be read included,
// and with the same bits whether sums are done as early or as late as events allow.
TEST_F(MpiCuda, TwoRanksTrainAsOnTheCpu) {
    MPI_ONLY();
    const auto good = [](const Ran& ran) {
        ASSERT_EQ(ran.code, 0) << ran.said;
        EXPECT_EQ(ran.said.find("not recorded"), ran.said.npos) << ran.said;
    };
    const auto trains = [&](const std::string& device, const std::string& out) {
        good(run(ranks(2) + train("--device " + device, out)));
    };
    good(late());
    trains("cpu", "on_cpu");
    setenv("VIRTUAL_GPU_ORDER", "early", 1);
    trains("cuda", "early");
    unsetenv("VIRTUAL_GPU_ORDER");
    trains("cpu --sync-batch-norm", "shared_on_cpu");
    trains("cuda --sync-batch-norm", "shared");
    expect_near("shared", "shared_on_cpu", 1e-3);
    EXPECT_NE(numbers("shared").at("loss"), numbers("late").at("loss"));
    expect_near("late", "on_cpu", 1e-3);
    EXPECT_TRUE(same_model("early", "late"));
    const json record = json::parse(content(path("late/run.json")));
    EXPECT_EQ(record.at("sessions").at(0).at("sums"), "NCCL 2.28.9");
    EXPECT_EQ(record.at("sessions").at(0).at("ranks").size(), 2u);
    EXPECT_EQ(record.at("steps_per_graph"), 1);

    // A step calls NCCL in one order on both ranks, beside the stream of the steps and that of the copies: once while
    // it is run operation by operation, once while it is recorded.
    const auto lines = [](int rank, const std::string& begin) {
        std::vector<std::string> found;
        std::ifstream log(path(fmt::format("calls.{}", rank)));
        for (std::string line; std::getline(log, line);)
            if (line.starts_with(begin)) found.push_back(line.substr(begin.size()));
        return found;
    };
    const std::vector<std::string> calls = lines(0, "call "), done = lines(0, "done ");
    EXPECT_EQ(lines(1, "call "), calls);
    EXPECT_EQ(lines(1, "done "), done);
    const size_t steps = numbers("late").at("loss").size();
    ASSERT_GE(steps, 3u);
    ASSERT_EQ(calls.size() % 2, 0u);
    const size_t of_step = calls.size() / 2;
    EXPECT_EQ(done.size(), of_step * steps);
    size_t summed = 0, means = 0;
    for (size_t i = 0; i < of_step; ++i) {
        std::istringstream words(calls[i]);
        std::string what, type, op, stream;
        size_t count = 0, number = 0;
        words >> what >> type >> count >> op >> stream >> number;
        EXPECT_EQ(calls[i + of_step], calls[i] + " captured");
        EXPECT_EQ(what, "all_reduce") << "the kernels of simt gather over MPI";
        EXPECT_EQ(type, "float32");
        EXPECT_EQ(number, 2u) << calls[i];
        (op == "sum" ? summed : means) += count;
        for (size_t step = 0; step < steps; ++step)
            EXPECT_TRUE(calls[i].starts_with(done[step * of_step + i])) << calls[i];
    }
    size_t trained = 0, statistics = 0;
    for (const auto& [name, tensor] : read_model(path("late/model.safetensors").string()).state)
        (name.find("running_") != name.npos ? statistics : trained) +=
            (tensor.values.size() + 63) / 64 * 64;  // as flat arrays hold them
    EXPECT_EQ(summed, trained) << "every gradient is summed once";
    EXPECT_EQ(means, statistics);
}

// Every event that is not waited for gives other numbers, or an error.
TEST_F(MpiCuda, MissingWaitsAreNoticed) {
    MPI_ONLY();
    for (const std::string drops : {"begin", "end"}) {
        setenv("VIRTUAL_GPU_DROPS", drops.c_str(), 1);
        setenv("VIRTUAL_GPU_ORDER", drops == "begin" ? "early" : "late", 1);
        const Ran ran = run(ranks(2) + train("--device cuda --eager", "wrong_" + drops));
        EXPECT_TRUE(ran.code != 0 || !same_model("wrong_" + drops, "late")) << drops;
        const Ran recorded = run(ranks(2) + train("--device cuda", "recorded_" + drops));
        EXPECT_NE(recorded.said.find("not recorded"), recorded.said.npos) << drops << ": " << recorded.said;
    }
}

TEST_F(MpiCuda, DetectorTrainsAsOnTheCpu) {
    MPI_ONLY();
    for (const std::string device : {"cpu", "cuda"}) {
        const Ran ran = run(ranks(2) + detector("--device " + device, "boxes_" + device));
        ASSERT_EQ(ran.code, 0) << ran.said;
    }
    expect_near("boxes_cuda", "boxes_cpu", 1e-3);
}

TEST_F(MpiCuda, WhatCannotBeIsRefusedInOneLine) {
    MPI_ONLY();
    const auto refuses = [](const std::string& command, const std::string& text) {
        const Ran ran = run(command);
        EXPECT_EQ(ran.code, 2) << ran.said;
        EXPECT_NE(ran.said.find(text), ran.said.npos) << ran.said;
        EXPECT_NE(ran.said.find("tundra: rank"), ran.said.npos) << ran.said;
    };
    refuses(ranks(4) + train("--device cuda", "more"), "have the same GPU");
    refuses(ranks(2) + train("--device cuda --micro-batch 2", "parts"),
            "--micro-batch computes on the device cpu only");
    refuses(ranks(2) + train("--device cuda --steps-per-graph 8", "eight"), "--steps-per-graph 8: several ranks");
    refuses(ranks(2) + train("--device cuda:0,5", "far"), "--device cuda:5: there are 2 GPUs here");
    refuses(ranks(2) + train("--device cuda:0", "one"), "names 1 GPUs for 2 ranks");
    unsetenv("CUDA_PATH");
    if (run(ranks(2) + train("--device cuda", "missing")).code == 2)  // the machine itself has none
        refuses(ranks(2) + train("--device cuda", "missing"), "NCCL (libnccl.so.2) cannot be opened");
}

// A link that breaks while the GPUs compute returns from no call: the run ends all the same, and says where to go on.
TEST_F(MpiCuda, AnErrorOfNcclEndsTheRun) {
    MPI_ONLY();
    setenv("VIRTUAL_NCCL_FAILS", "30", 1);  // in the tenth step
    const std::string longer = train("--device cuda --epochs 4 --save-minutes 0.001", "cut");
    const Ran ran = run(ranks(2) + longer);
    EXPECT_EQ(ran.code, 75) << ran.said;
    EXPECT_NE(ran.said.find("tundra: rank 1 on "), ran.said.npos) << ran.said;
    EXPECT_NE(ran.said.find(": NCCL: remote process exited"), ran.said.npos) << ran.said;
    EXPECT_NE(ran.said.find("the checkpoints are in cut/checkpoints"), ran.said.npos) << ran.said;
    EXPECT_LT(ran.seconds, 30);
    unsetenv("VIRTUAL_NCCL_FAILS");
    EXPECT_FALSE(fs::is_empty(path("cut/checkpoints")));
    const Ran again = run(ranks(2) + longer);
    EXPECT_EQ(again.code, 0) << again.said;
    EXPECT_NE(again.said.find("resumed at step"), again.said.npos) << again.said;
}

TEST_F(MpiCuda, DoctorMeasuresSumsBetweenGpus) {
    MPI_ONLY();
    const Ran ran = run(ranks(2) + TUNDRA_VIRTUAL + " doctor --mpi --device cuda:1,0");
    EXPECT_EQ(ran.code, 0) << ran.said;
    for (const char* text : {"NCCL 2.28.9, driver ", "sum        1 MB in ", "sum      100 MB in ", "the device cuda"})
        EXPECT_NE(ran.said.find(text), ran.said.npos) << ran.said;
    const Ran alone = run(std::string(TUNDRA_VIRTUAL) + " doctor --device cuda:0,1");
    EXPECT_EQ(alone.code, 2);
    EXPECT_NE(alone.said.find("--device cuda:0,1: the self-test takes one GPU"), alone.said.npos) << alone.said;
}

// Three ranks get the same bits in whatever order NCCL adds and delivers, which changes those of its own sums. 8 s.
TEST_F(MpiCuda, DeterministicSumsHaveAnOrderOfTheirOwn) {
    setenv("VIRTUAL_GPUS", "3", 1);
    for (const std::string order : {"", "reversed"}) {
        if (!order.empty()) setenv("VIRTUAL_NCCL_ORDER", order.c_str(), 1);
        for (const std::string option : {"", "--deterministic "}) {
            const Ran ran =
                run(train("--device cuda:0,1,2 --batch 6 " + option, "order" + option.substr(0, 3) + order));
            ASSERT_EQ(ran.code, 0) << ran.said;
            EXPECT_EQ(ran.said.find("not recorded"), ran.said.npos) << ran.said;
        }
        // What GPUs take by default, rounded after each addition.
        const Ran ran = run(train("--device cuda:0,1,2 --batch 6 --deterministic", "order16" + order, "bf16"));
        ASSERT_EQ(ran.code, 0) << ran.said;
    }
    EXPECT_TRUE(same_model("order16", "order16reversed"));
    EXPECT_TRUE(same_model("order--d", "order--dreversed"));
    EXPECT_FALSE(same_model("order", "orderreversed"));
    expect_near("order--d", "order", 1e-3);
}

// Without MPI the ranks are processes that this one starts: the same numbers, one end for all of them.
TEST_F(MpiCuda, SeveralGpusOfOneMachineWithoutMpi) {
    Ran ran = run(train("--device cuda:1,0", "local"));
    ASSERT_EQ(ran.code, 0) << ran.said;
    EXPECT_TRUE(no_mpi() || same_model("local", "late"));
    ran = run(train("--device cuda:0,1 --batch 7", "odd"));
    EXPECT_EQ(ran.code, 2);
    EXPECT_NE(ran.said.find("--batch 7: cannot be split evenly over 2 ranks"), ran.said.npos) << ran.said;
    EXPECT_EQ(std::ranges::count(ran.said, '\n'), 1) << ran.said;
    ran = run(train("--device cuda:0,0", "twice"));
    EXPECT_EQ(ran.code, 2);
    EXPECT_NE(ran.said.find("name each GPU once"), ran.said.npos) << ran.said;

    const std::string slow = train("--device cuda:0,1 --epochs 500 --save-minutes 0.001", "ended");
    ran = run("(" + slow + " & p=$!; " + begun("ended") + "; kill -TERM $p $(pgrep -P $p); wait $p)");
    EXPECT_EQ(ran.code, 143) << ran.said;
    EXPECT_NE(ran.said.find("stopped at step"), ran.said.npos) << ran.said;
    ran = run("(" + slow + " & p=$!; sleep 3; kill -KILL $(pgrep -P $p | tail -1); wait $p)");
    EXPECT_EQ(ran.code, 75) << ran.said;
    EXPECT_NE(ran.said.find("tundra: rank 1 on "), ran.said.npos) << ran.said;
    EXPECT_NE(ran.said.find("was ended by signal 9, and the others with it"), ran.said.npos) << ran.said;
    EXPECT_EQ(run("pgrep -f 'tundra_virtual.*-o [e]nded'").said, "");
}

// NCCL lets nobody abandon its sums while recorded steps hold them: the rank whose disk fails says so all the same,
// and the other one, which waits in a sum, ends too. 3 s.
TEST_F(MpiCuda, AnErrorOfOneRankEndsTheRecordedSums) {
    const Ran ran = run("(timeout -s KILL 60 " + train("--device cuda:0,1 --epochs 500 --save-minutes 0.001", "full") +
                        " & p=$!; " + begun("full") +
                        "; sleep 1; mv full/checkpoints full/moved; touch full/checkpoints; wait $p)");
    EXPECT_EQ(ran.code, 75) << ran.said;
    EXPECT_NE(ran.said.find("tundra: rank 0 on "), ran.said.npos) << ran.said;
    EXPECT_NE(ran.said.find("full/checkpoints"), ran.said.npos) << ran.said;
    EXPECT_LT(ran.seconds, 60);
    EXPECT_EQ(run("pgrep -f 'tundra_virtual.*-o [f]ull'").said, "");
}

// A rank that is stopped sends no sign of life, one whose drive does not answer uses no processor.
TEST_F(MpiCuda, ARankThatHangsEndsAllWithoutMpiToo) {
    for (const std::string name : {"silent", "hanging"}) {
        if (!fs::exists(path(name))) continue;
        run("cd " + name + "; for i in $(seq 400); do [ -s end ] && break; sleep 0.1; done");
        const std::string said = content(path(name + "/said"));
        ASSERT_TRUE(fs::exists(path(name + "/end"))) << name << ": " << said;
        int code = 0;
        long begin = 0, end = 0;
        std::ifstream(path(name + "/begin")) >> begin;
        std::ifstream(path(name + "/end")) >> code >> end;
        EXPECT_EQ(code, 75) << said;
        EXPECT_LE(end - begin, 30) << said;
        EXPECT_EQ(said.find("tundra: ", said.find("tundra: rank ") + 1), said.npos) << "more than one line: " << said;
        EXPECT_NE(said.find(name == "silent" ? "has not answered for 20 s" : "has done nothing for 20 s"), said.npos);
        EXPECT_NE(said.find("tundra: rank "), said.npos) << said;
        EXPECT_NE(said.find("; the same command resumes from the checkpoints in run/checkpoints"), said.npos) << said;
    }
    EXPECT_EQ(run("pgrep -f 'tundra_virtual.*-o [r]un'").said, "");
}

}  // namespace
