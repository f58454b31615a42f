// The files of a run: what they say, and that a resumed run neither loses nor repeats a line.
#include "train/record.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "base/processors.h"
#include "engine/device.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class RecordTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "tundra-record-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { fs::remove_all(folder_); }

    static std::string text_of(const fs::path& path) {
        std::ifstream file(path);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    static void write(const fs::path& path, std::string_view text) {
        fs::create_directories(path.parent_path());
        std::ofstream(path) << text;
    }

    fs::path folder_;
};

TEST(Machine, ReadsTheProcessor) {
    Processor p = parse_cpuinfo(
        "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nphysical id\t: 0\ncore id\t\t: 0\nflags\t\t: fpu sse4_2 avx "
        "avx2 fma\n\n"
        "processor\t: 1\nmodel name\t: Some CPU @ 3 GHz\nphysical id\t: 0\ncore id\t\t: 0\nflags\t\t: fpu sse4_2 avx "
        "avx2 fma\n\n"
        "processor\t: 2\nmodel name\t: Some CPU @ 3 GHz\nphysical id\t: 1\ncore id\t\t: 0\nflags\t\t: fpu sse4_2 avx "
        "avx2 fma\n");
    EXPECT_EQ(p.model, "Some CPU @ 3 GHz");
    EXPECT_EQ(p.cores, 2u) << "two threads share the first";
    EXPECT_EQ(p.isa, (std::vector<std::string>{"sse4_2", "avx", "fma", "avx2"}));
    EXPECT_EQ(parse_cpuinfo("").cores, 0u);
}

TEST(Machine, ThisOneHasWhatEveryMachineHas) {
    Machine machine = this_machine();
    EXPECT_GE(machine.threads, 1u);
    EXPECT_GE(machine.processor.cores, 1u);
    EXPECT_GT(machine.memory_bytes, uint64_t(64) << 20);
    EXPECT_NE(machine.kernel.find("Linux"), std::string::npos);
    EXPECT_GT(peak_memory_bytes(), uint64_t(1) << 20);
    EXPECT_LT(peak_memory_bytes(), machine.memory_bytes);
    for (const Library& library : linked_libraries()) EXPECT_FALSE(library.compiled.empty()) << library.name;
    EXPECT_FALSE(this_build().commit.empty());
    EXPECT_NE(this_build().flags.find("-Wall"), std::string::npos) << this_build().flags;
}

TEST(Machine, TakesTheProcessorsThatItMayRunOn) {
    cpu_set_t before, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    const int count = CPU_COUNT(&before);
    EXPECT_EQ(usable_processors(), count);
    CPU_ZERO(&one);
    for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
        if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(usable_processors(), 1);
    EXPECT_EQ(this_machine().threads, 1u);
    EXPECT_NE(open_cpu({})->description().find(", 1 threads"), std::string::npos);
    ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST_F(RecordTest, EnergyIsTheSumOfThePackagesAndSurvivesAWrap) {
    write(folder_ / "intel-rapl:0/energy_uj", "9000000");
    write(folder_ / "intel-rapl:0/max_energy_range_uj", "10000000");
    write(folder_ / "intel-rapl:1/energy_uj", "0");
    write(folder_ / "intel-rapl:1/max_energy_range_uj", "10000000");
    write(folder_ / "intel-rapl:0:0/energy_uj", "5");
    write(folder_ / "intel-rapl:0:0/max_energy_range_uj", "10000000");
    EnergyMeter meter(folder_);
    EXPECT_EQ(meter.joules(), 0.0);
    write(folder_ / "intel-rapl:0/energy_uj", "2000000");  // 1 J to the end, 2 J after it
    write(folder_ / "intel-rapl:1/energy_uj", "4000000");
    write(folder_ / "intel-rapl:0:0/energy_uj", "9999999");
    EXPECT_DOUBLE_EQ(*meter.joules(), 7);
    EXPECT_DOUBLE_EQ(*meter.joules(), 7);
    EXPECT_EQ(EnergyMeter(folder_ / "nothing").joules(), std::nullopt);
}

TEST_F(RecordTest, SaysWhatTrainedThis) {
    fs::path path = folder_ / "run.json";
    {
        RunRecord record(path, {{"devices", {"cpu"}}, {"precision", "fp32"}, {"libraries", {{{"name", "cuDNN"}}}}});
        record.fact("seed", 7);
        record.event("start");
        record.count(320, 2);
        record.event("stop", {{"step", 10}});
    }
    RunRecord record(path, {{"devices", {"cuda:0"}}});
    record.event("resume", {{"step", 10}});
    json saved = json::parse(text_of(path));
    EXPECT_EQ(saved, record.content());
    EXPECT_EQ(saved["seed"], 7);
    ASSERT_EQ(saved["sessions"].size(), 2u);
    const json& first = saved["sessions"][0];
    EXPECT_EQ(first["events"][1]["event"], "stop");
    EXPECT_EQ(first["events"][1]["step"], 10);
    EXPECT_EQ(first["ended"], first["events"][1]["time"]);
    EXPECT_EQ(first["images_per_second"], 160.0);
    EXPECT_EQ(first["devices"][0], "cpu");
    EXPECT_GT(first["peak_memory_bytes"], 0);
    EXPECT_EQ(first["libraries"][0]["name"], "oneDNN");
    EXPECT_EQ(first["libraries"].back()["name"], "cuDNN");
    EXPECT_EQ(saved["sessions"][1]["devices"][0], "cuda:0");
    EXPECT_EQ(saved["pictures"], 320);
    EXPECT_TRUE(saved["energy_joules"].is_number() || saved["energy_joules"] == "not measured");
}

TEST_F(RecordTest, ADamagedRecordIsReplacedAndSaid) {
    write(folder_ / "run.json", "{\"sessions\": [");
    RunRecord record(folder_ / "run.json", json::object());
    record.event("start");
    EXPECT_TRUE(json::parse(text_of(folder_ / "run.json")).contains("note"));
}

TEST_F(RecordTest, NoStepIsInTheLogTwice) {
    fs::path path = folder_ / "log.jsonl";
    {
        RunLog log(path, 0, 0);
        for (int step : {10, 20, 30}) log.append({{"step", step}, {"loss", 1.5}});
        log.append({{"note", "validated"}});
    }
    write(folder_ / "log.jsonl", text_of(path) + "{\"step\": 40, \"lo");  // killed here
    RunLog log(path, 20, 20);
    log.append({{"step", 30}, {"loss", 1.25}});
    EXPECT_EQ(text_of(path),
              "{\"loss\":1.5,\"step\":10}\n{\"loss\":1.5,\"step\":20}\n{\"note\":\"validated\"}\n"
              "{\"loss\":1.25,\"step\":30}\n");
}

// Killed between the report of an epoch and the next checkpoint: the run goes on from the last step, before the report.
TEST_F(RecordTest, NoReportIsInTheLogTwice) {
    fs::path path = folder_ / "log.jsonl";
    {
        RunLog log(path, 0, 0);
        for (const int step : {1, 2, 3, 4}) {
            log.append({{"step", step}});
            if (step % 2 == 0) log.append({{"epoch_done", step / 2}, {"step", step}});
        }
    }
    RunLog(path, 4, 3).append({{"epoch_done", 2}, {"step", 4}});
    EXPECT_EQ(text_of(path),
              "{\"step\":1}\n{\"step\":2}\n{\"epoch_done\":1,\"step\":2}\n{\"step\":3}\n{\"step\":4}\n"
              "{\"epoch_done\":2,\"step\":4}\n");
}

TEST_F(RecordTest, NoStepIsInTheTableTwice) {
    fs::path path = folder_ / "metrics.csv";
    {
        MetricsTable table(path, {"loss", "accuracy"}, 0);
        table.append(9, {0.5, std::nullopt});
        table.append(10, {0.1 + 0.2, 1});
        table.append(100, {0.25, 1});
    }
    write(path, text_of(path) + "10");  // the start of "101,...": cut, not step 10
    {
        MetricsTable table(path, {"loss", "accuracy"}, 10);
        table.append(11, {0.125, 0.5});
    }
    EXPECT_EQ(text_of(path), "step,loss,accuracy\n9,0.5,\n10,0.30000000000000004,1\n11,0.125,0.5\n");
    EXPECT_THROW(MetricsTable(path, {"loss"}, 10), Error);
    MetricsTable table(path, {"loss", "accuracy"}, 11);
    EXPECT_THROW(table.append(12, {1.0}), Error);
}

TEST_F(RecordTest, AFileCutInItsHeaderStartsOver) {
    write(folder_ / "metrics.csv", "step,lo");
    MetricsTable(folder_ / "metrics.csv", {"loss"}, 0).append(1, {2.0});
    EXPECT_EQ(text_of(folder_ / "metrics.csv"), "step,loss\n1,2\n");
}

}  // namespace
