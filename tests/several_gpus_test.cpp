// detect, classify and survey on several GPUs, `--device cuda:0,1,2`, without a GPU: a process for each, over the
// stand-in for the CUDA runtime. Whatever happens, the files are those of one process. 15 s.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include "base/hash.h"
#include "tests/small_training.h"
#include "tests/virtual_program.h"

namespace {

namespace fs = std::filesystem;

class SeveralGpus : public VirtualProgram {
protected:
    static void SetUpTestSuite() {
        VirtualProgram::SetUpTestSuite();
        make_small_training(folder()->path, 30, 24);
        make_small_detector(path("m.safetensors"));
        std::ofstream(path("scenes/images/broken.jpg")) << "no image";
        set_environment("4", TUNDRA_VIRTUAL_NCCL);  // what one GPU gives
        for (const std::string& command : {detect("cuda", "one.json"), classify("cuda", "one.csv"),
                                           survey("cuda", "one") + " --box-threshold 0.0002"})
            if (const Ran ran = run(command); ran.code) ADD_FAILURE() << command << ran.said;
    }
    void SetUp() override { set_environment("4", TUNDRA_VIRTUAL_NCCL); }

    static std::string detect(const std::string& device, const std::string& out) {
        return fmt::format(
            "{} detect scenes/images --model m.safetensors --threshold 0.0001 --image-size 64 --threads 1 "
            "--batch 2 --device {} -o {}",
            TUNDRA_VIRTUAL, device, out);
    }
    static std::string classify(const std::string& device, const std::string& out) {
        return fmt::format(
            "{} classify shots --model narrow.safetensors --image-size 32 --threads 1 --batch 4 --device {} "
            "-o {}",
            TUNDRA_VIRTUAL, device, out);
    }
    static std::string survey(const std::string& device, const std::string& out) {
        return fmt::format(
            "{} survey scenes/images --detector m.safetensors --quality narrow.safetensors --bad-class a "
            "--species narrow.safetensors --box-threshold 0.0001 --threads 1 --device {} -o {}",
            TUNDRA_VIRTUAL, device, out);
    }
    // Without the time at which it was made.
    static std::string result(const std::string& file) {
        std::string text = content(path(file));
        for (const char* key : {"\"detection_completion_time\":\"", "\"written\": \""})
            if (const size_t at = text.find(key); at != text.npos) text.erase(at, std::string(key).size() + 19);
        return text;
    }
    static void expect_same(const std::string& got, const std::string& want) {
        EXPECT_TRUE(result(got) == result(want)) << got << " differs from " << want;
    }
    // Whatever the runs of this file leave: their journals, processes.
    static void expect_nothing_left(const std::string& out) {
        for (const auto& entry : fs::directory_iterator(folder()->path))
            EXPECT_TRUE(entry.path().filename() == out || !entry.path().filename().string().starts_with(out))
                << entry.path();
        EXPECT_EQ(run("pgrep -f 'tundra_virtual.*-o [" + out.substr(0, 1) + "]" + out.substr(1) + "'").said, "");
    }
    // Shell text: the run, and what happens to it when its journal has some lines. $p is the process that the user
    // started.
    static std::string disturbed(const std::string& command, const std::string& journal, int lines,
                                 const std::string& event) {
        return fmt::format(
            "({} & p=$!; for i in $(seq 400); do [ $(cat {} 2>/dev/null | wc -l) -ge {} ] && break; "
            "sleep 0.02; done; {}; wait $p)",
            command, journal, lines, event);
    }
};

TEST_F(SeveralGpus, GiveTheFilesOfOne) {
    const Ran three = run(detect("cuda:0,1,3", "three.json"));
    ASSERT_EQ(three.code, 0) << three.said;
    expect_same("three.json", "one.json");
    EXPECT_NE(result("one.json").find("bbox"), std::string::npos) << "the network finds nothing";
    expect_nothing_left("three.json");
    const Ran one = run(detect("cuda", "again.json"));
    EXPECT_EQ(std::ranges::count(three.said, '\n'), std::ranges::count(one.said, '\n')) << three.said << one.said;
    EXPECT_NE(three.said.find("25 images, "), std::string::npos) << three.said;

    ASSERT_EQ(run(classify("cuda:2,0", "two.csv")).code, 0);
    expect_same("two.csv", "one.csv");
    expect_nothing_left("two.csv");
    for (const std::string device : {"cuda", "cuda:0,1"}) {
        const std::string crops = " --render-threshold 0.001 --crops crops_" + device;
        ASSERT_EQ(run(detect(device, "crops.json") + crops).code, 0);
    }
    EXPECT_EQ(run("diff -r crops_cuda crops_cuda:0,1 && ls crops_cuda/*").code, 0);
}

TEST_F(SeveralGpus, MakeASurveyAndChangeItsModels) {
    const Ran two = run(survey("cuda:2,0", "two"));
    ASSERT_EQ(two.code, 0) << two.said;
    EXPECT_EQ(run(survey("cuda:0,1", "two") + " --box-threshold 0.0002").code, 0) << "other crops of the same boxes";
    for (const char* file : {"images.csv", "events.csv", "results.json", "survey.json"})
        expect_same(std::string("two/") + file, std::string("one/") + file);
    EXPECT_EQ(run("ls two").said, run("ls one").said);
}

// Killed at any moment, stopped, a process of it gone: the same command goes on, with any number of GPUs.
TEST_F(SeveralGpus, AnyNumberOfThemGoesOn) {
    for (const int lines : {1, 4, 9}) {
        const Ran killed =
            run(disturbed(detect("cuda:0,1", "killed.json"), "killed.json.journal", lines, "kill -KILL $p"));
        EXPECT_EQ(killed.code, 137) << killed.said;
        EXPECT_EQ(
            run("for i in $(seq 50); do pgrep -f 'tundra_virtual.*-o [k]illed' >/dev/null || break; sleep 0.1; done; "
                "pgrep -f 'tundra_virtual.*-o [k]illed'")
                .said,
            "")
            << "helpers outlive it";
    }
    const Ran went_on = run(detect("cuda:0,1,2", "killed.json"));
    EXPECT_EQ(went_on.code, 0) << went_on.said;
    EXPECT_NE(went_on.said.find("note: resumed after "), std::string::npos) << went_on.said;
    expect_same("killed.json", "one.json");
    expect_nothing_left("killed.json");

    const Ran stopped =
        run(disturbed(detect("cuda:0,1", "stopped.json"), "stopped.json.journal", 4, "kill -TERM $p $(pgrep -P $p)"));
    EXPECT_EQ(stopped.code, 143) << stopped.said;
    EXPECT_NE(stopped.said.find("note: stopped after "), std::string::npos) << stopped.said;
    EXPECT_EQ(run(detect("cuda:1", "stopped.json")).code, 0);
    expect_same("stopped.json", "one.json");

    const Ran lost =
        run(disturbed(detect("cuda:0,1", "lost.json"), "lost.json.journal", 3, "kill -KILL $(pgrep -P $p | tail -1)"));
    EXPECT_EQ(lost.code, 75) << lost.said;
    EXPECT_NE(
        lost.said.find("tundra: the process on cuda:1 was ended by signal 9; run the same command again to resume"),
        std::string::npos)
        << lost.said;
    EXPECT_EQ(run(detect("cuda:0,1", "lost.json")).code, 0);
    expect_same("lost.json", "one.json");

    run(disturbed(classify("cuda:0,1,2", "cut.csv"), "cut.csv.journal", 3, "kill -KILL $p"));
    EXPECT_EQ(run(classify("cuda", "cut.csv")).code, 0);
    expect_same("cut.csv", "one.csv");
    const std::string threshold = " --box-threshold 0.0002";
    run(disturbed(survey("cuda:0,1", "card") + threshold, "card/survey.journal", 9, "kill -KILL $p"));
    EXPECT_EQ(run(survey("cuda:1,2", "card") + threshold).code, 0);
    for (const char* file : {"images.csv", "results.json", "survey.json"})
        expect_same(std::string("card/") + file, std::string("one/") + file);
}

// Earlier versions wrote no numbers of batches into classify's journal: their records come in the order of the images.
TEST_F(SeveralGpus, GoOnWithAJournalOfAnEarlierVersion) {
    run(disturbed(classify("cuda", "old.csv"), "old.csv.journal", 2, "kill -KILL $p"));
    std::istringstream lines(content(path("old.csv.journal")));
    std::string line, all;
    size_t records = 0;
    while (std::getline(lines, line) && !lines.eof()) {
        std::string json = line.substr(17);
        if (const size_t at = json.find("\"images\":"); at != json.npos && json.starts_with("{\"batch\":"))
            json = json.substr(at + 9, json.size() - at - 10), ++records;
        all += hash_hex(json) + " " + json + "\n";
    }
    ASSERT_GE(records, 1u);
    std::ofstream(path("old.csv.journal")) << all;
    const Ran went_on = run(classify("cuda:0,1", "old.csv"));
    EXPECT_EQ(went_on.code, 0) << went_on.said;
    EXPECT_NE(went_on.said.find(fmt::format("resumed after {} of", 4 * records)), std::string::npos) << went_on.said;
    expect_same("old.csv", "one.csv");
}

TEST_F(SeveralGpus, TakeShardsAndFewImages) {
    for (const char* shard : {"1/2", "2/2"})
        EXPECT_EQ(run(detect("cuda:0,1", std::string("s") + shard[0] + ".json") + " --shard " + shard).code, 0);
    EXPECT_EQ(run(TUNDRA_VIRTUAL + std::string(" merge s1.json s2.json -o merged.json")).code, 0);
    EXPECT_TRUE(result("merged.json").substr(0, 3000) == result("one.json").substr(0, 3000));
    EXPECT_EQ(run(detect("cuda:0,1", "few.json") + " scenes/images/broken.jpg").code, 0);
    const std::string alone = "mkdir -p alone; cp scenes/images/broken.jpg alone; ";
    const Ran none =
        run(alone + TUNDRA_VIRTUAL + " detect alone --model m.safetensors --device cuda:0,1,2,3 -o none.json");
    EXPECT_EQ(none.code, 3) << none.said;
    EXPECT_NE(none.said.find("none of the 1 images could be read"), std::string::npos) << none.said;
    EXPECT_EQ(run(detect("cuda:0,1", "new.json") + " --update s1.json").code, 0);
    EXPECT_TRUE(result("new.json").substr(0, 3000) == result("one.json").substr(0, 3000));
}

TEST_F(SeveralGpus, WhatCannotBeIsRefusedInOneLine) {
    const auto refuses = [](const std::string& command, const std::string& text) {
        const Ran ran = run(command);
        EXPECT_EQ(ran.code, 2) << ran.said;
        EXPECT_NE(ran.said.find(text), ran.said.npos) << ran.said;
        EXPECT_EQ(std::ranges::count(ran.said, '\n'), 1) << ran.said;
    };
    refuses(detect("cuda:0,4", "no.json"), "--device cuda:0,4: there are 4 GPUs here, counted from 0");
    refuses(classify("cuda:1,1", "no.csv"), "--device cuda:1,1: name each GPU once");
    refuses(
        TUNDRA_VIRTUAL + std::string(" lr-find shots --init narrow.safetensors --image-size 32 -q --device cuda:0,1"),
        "--device cuda:0,1: only train, detect, survey and classify take several GPUs");
    setenv("VIRTUAL_GPUS", "1", 1);
    refuses(survey("cuda:0,1", "no"), "--device cuda:0,1: there is one GPU here, counted from 0");
    EXPECT_FALSE(fs::exists(path("no")));
}

}  // namespace
