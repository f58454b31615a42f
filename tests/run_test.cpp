// A training run as a whole: stopped after any step and continued, it ends in the same bits; what it refuses and
// leaves.
#include "train/run.h"
#include "tests/files.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "app/synth/synth.h"
#include "base/error.h"
#include "data/cache.h"
#include "engine/device.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// 14 images to train, so that an epoch has three whole batches and a rest.
class Run : public testing::Test {
protected:
    static void SetUpTestSuite() {
        std::string name = (fs::temp_directory_path() / "run_test_XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);  // a killed test of the same process number may have left its own
        folder() = name;
        synthesize({.out = folder() / "shots", .images = 20, .width = 64, .height = 64, .seed = 2, .cameras = 2});
    }
    static void TearDownTestSuite() { fs::remove_all(folder()); }
    static fs::path& folder() {
        static fs::path path;
        return path;
    }

    static TrainConfig config() {
        TrainConfig c;
        c.data = (folder() / "shots").string();
        c.image_size = 32, c.epochs = 2, c.batch = 4, c.learning_rate = 0.01, c.seed = 7, c.drop_last = false;
        c.device = "cpu", c.cache = "memory";
        return c;
    }
    RunResult train(const std::string& name, const TrainConfig& c, RunOptions options = {}) {
        options.folder = (folder() / name).string();
        return train_run(c, options,
                         {.epoch = [&](const EpochReport& e) { epochs_.push_back(e); },
                          .note = [&](const std::string& text) { notes_ += text + "\n"; }});
    }
    std::string refusal(const std::string& name, const TrainConfig& c) {
        try {
            train(name, c);
        } catch (const Error& error) {
            EXPECT_EQ(error.fault, Fault::usage);
            return error.what();
        }
        return "nothing was refused";
    }
    std::vector<EpochReport> epochs_;
    std::string notes_;
};

size_t count_lines(const std::string& text) { return size_t(std::ranges::count(text, '\n')); }

// The columns up to `seconds`, which differ from run to run.
std::string without_seconds(const std::string& csv) {
    std::istringstream lines(csv);
    std::string result;
    for (std::string line; std::getline(lines, line);) result += line.substr(0, line.rfind(',')) + "\n";
    return result;
}

// log.jsonl but for times.
std::string without_times(const std::string& log) {
    std::istringstream lines(log);
    std::string result;
    for (std::string line; std::getline(lines, line);) {
        json entry = json::parse(line);
        entry.erase("seconds");
        entry.erase("images_per_second");
        result += entry.dump() + "\n";
    }
    return result;
}

TEST_F(Run, ContinuedFromEveryStepItEndsInTheSameBits) {
    const RunResult whole = train("whole", config());
    ASSERT_EQ(whole.end, RunEnd::finished);
    const size_t steps = whole.step;
    ASSERT_EQ(steps % 2, 0u);
    ASSERT_GE(steps, 6u);  // some of them inside an epoch
    const std::vector<EpochReport> expected = std::exchange(epochs_, {});
    for (size_t step = 1; step < steps; ++step) {
        const RunResult part = train("parts", config(), {.stop_after_steps = step});
        ASSERT_EQ(part.end, RunEnd::stopped);
        ASSERT_EQ(part.step, step);
    }
    EXPECT_EQ(train("parts", config()).end, RunEnd::finished);
    EXPECT_TRUE(content(folder() / "whole/model.safetensors") == content(folder() / "parts/model.safetensors"));
    EXPECT_EQ(without_seconds(content(folder() / "whole/metrics.csv")),
              without_seconds(content(folder() / "parts/metrics.csv")));
    EXPECT_EQ(content(folder() / "whole/evaluation.json"), content(folder() / "parts/evaluation.json"));
    // Of the one run most steps are booked while the next one runs, of the others every step is waited for.
    EXPECT_EQ(without_times(content(folder() / "whole/log.jsonl")),
              without_times(content(folder() / "parts/log.jsonl")));
    ASSERT_EQ(epochs_.size(), expected.size());
    EXPECT_EQ(train("whole", config()).end, RunEnd::already_finished);
}

// 3 s.
TEST_F(Run, InBf16ItEndsInTheSameBitsAndStaysOnItsInstructions) {
    TrainConfig c = config();
    c.precision = "bf16";
    ASSERT_EQ(train("bf16", c).end, RunEnd::finished);
    for (const size_t step : {1, 3, 6}) ASSERT_EQ(train("bf16-parts", c, {.stop_after_steps = step}).step, step);
    const fs::path file = folder() / "bf16-parts/run.json";
    json record = json::parse(content(file));
    EXPECT_EQ(record["precision"]["type"], "bf16");
    const std::string here = record["precision"]["instructions"];
    const auto write = [&] { std::ofstream(file) << record.dump(); };
    record["precision"]["instructions"] = "another", write();
    EXPECT_NE(refusal("bf16-parts", c).find("began on a processor with another"), std::string::npos);
    record["precision"]["instructions"] = here, write();
    EXPECT_EQ(train("bf16-parts", c).end, RunEnd::finished);
    EXPECT_TRUE(content(folder() / "bf16/model.safetensors") == content(folder() / "bf16-parts/model.safetensors"));
    EXPECT_EQ(content(folder() / "bf16/evaluation.json"), content(folder() / "bf16-parts/evaluation.json"));
}

// What `auto` chose when a run began stays, and an earlier version's run stays in float32.
TEST_F(Run, AutoKeepsThePrecision) {
    ASSERT_EQ(train("auto", config(), {.stop_after_steps = 1}).step, 1u);
    const fs::path file = folder() / "auto/run.json";
    json record = json::parse(content(file));
    EXPECT_EQ(record["precision"], json({{"type", "fp32"}}));
    const auto precision_after = [&](size_t step) {
        std::ofstream(file) << record.dump();
        train("auto", config(), {.stop_after_steps = step});
        record = json::parse(content(file));
        return record["sessions"].back()["precision"].get<std::string>();
    };
    record.erase("precision");
    EXPECT_EQ(precision_after(2), "fp32");
    record["precision"] = {{"type", "bf16"}, {"why", "of a GPU"}};
    EXPECT_EQ(precision_after(3), "fp32");
    record["precision"] = {{"type", "bf16"},
                           {"why", "of old"},
                           {"instructions", open_device("cpu", {.threads = 1})->instructions(DType::bf16)}};
    EXPECT_EQ(precision_after(4), "bf16");
    EXPECT_EQ(record["precision"]["why"], "of old");
}

TEST_F(Run, EveryFileAndEveryKeyIsDocumented) {
    const std::string page = content(fs::path(TUNDRA_TESTS) / "../docs/reference.md");
    const fs::path run = folder() / "documented";
    ASSERT_EQ(train("documented", config()).end, RunEnd::finished);
    const auto expect_named = [&](const std::string& name) {
        EXPECT_TRUE(std::regex_search(page, std::regex("[`,{ \n]" + name + "[`,} \n]")))
            << name << " is not in docs/reference.md";
    };
    for (const auto& entry : fs::directory_iterator(run))
        EXPECT_NE(page.find("\n| `" + entry.path().filename().string()), page.npos) << entry.path();
    const json record = json::parse(content(run / "run.json"));
    for (const auto& [key, value] : record.items())
        if (key != "format") expect_named(key);
    for (const auto& [key, value] : record["sessions"][0].items()) expect_named(key);
    std::istringstream log(content(run / "log.jsonl"));
    std::set<std::string> keys;
    for (std::string line; std::getline(log, line);) {
        const json entry = json::parse(line);
        for (const auto& [key, value] : entry.items()) keys.insert(key);
    }
    EXPECT_GT(keys.size(), 10u);
    for (const std::string& key : keys) expect_named(key);
    const std::string table = content(run / "metrics.csv");
    std::istringstream columns(table.substr(0, table.find('\n')));
    for (std::string name; std::getline(columns, name, ',');) expect_named(name);
}

TEST_F(Run, AnotherConfigurationIsRefusedWithWhatDiffers) {
    ASSERT_EQ(train("refuse", config(), {.stop_after_steps = 1}).end, RunEnd::stopped);
    TrainConfig other = config();
    other.learning_rate = 0.5, other.epochs = 3;
    const std::string text = refusal("refuse", other);
    EXPECT_NE(text.find("lr: 0.01 -> 0.5"), std::string::npos) << text;
    EXPECT_NE(text.find("epochs: 2 -> 3"), std::string::npos) << text;
    other = config();
    other.threads = 1;  // says how it runs, not what comes out
    EXPECT_EQ(train("refuse", other, {.stop_after_steps = 2}).step, 2u);
}

TEST_F(Run, OtherImagesAreRefused) {
    fs::copy(folder() / "shots", folder() / "moved", fs::copy_options::recursive);
    TrainConfig c = config();
    c.data = (folder() / "moved").string();
    ASSERT_EQ(train("moving", c, {.stop_after_steps = 1}).end, RunEnd::stopped);
    std::ofstream(folder() / "moved/train/good/new.jpg") << "x";
    EXPECT_NE(refusal("moving", c).find("other images"), std::string::npos);
}

// As earlier versions began them. About 2 s.
TEST_F(Run, LinksStopNoRunThatHasBegun) {
    fs::copy(folder() / "shots", folder() / "links", fs::copy_options::recursive);
    const fs::path image = *fs::directory_iterator(folder() / "links/train/good"), twin = image.string() + ".twin.jpg";
    fs::copy_file(image, twin);
    TrainConfig c = config();
    c.data = (folder() / "links").string();
    ASSERT_EQ(train("linked", c, {.stop_after_steps = 1}).end, RunEnd::stopped);
    fs::remove(twin);
    fs::create_hard_link(image, twin);
    EXPECT_EQ(train("linked", c).end, RunEnd::finished);
    EXPECT_NE(refusal("new", c).find("is one file with"), std::string::npos);
}

// About 3 s.
TEST_F(Run, ADriveMayBeMissingAndImagesMayChange) {
    fs::copy(folder() / "shots", folder() / "drive", fs::copy_options::recursive);
    TrainConfig c = config();
    c.data = (folder() / "drive").string();
    ASSERT_EQ(train("driven", c, {.stop_after_steps = 1}).end, RunEnd::stopped);
    const auto fault = [&](const char* name) {
        try {
            train(name, c);
        } catch (const Error& e) {
            return e.fault;
        }
        return Fault::runtime;
    };
    fs::rename(folder() / "drive", folder() / "away");
    EXPECT_EQ(fault("driven"), Fault::environment) << "the run began with these images";
    EXPECT_EQ(fault("new"), Fault::usage);
    fs::create_directory(folder() / "drive");  // an empty mount point
    EXPECT_EQ(fault("driven"), Fault::environment);
    fs::remove(folder() / "drive");
    fs::rename(folder() / "away", folder() / "drive");
    ASSERT_EQ(train("driven", c).end, RunEnd::finished);
    EXPECT_EQ(train("driven", c).end, RunEnd::already_finished);
    EXPECT_EQ(notes_.find("have changed"), std::string::npos) << notes_;
    std::ofstream(folder() / "drive/train/good/new.jpg") << "x";
    EXPECT_EQ(train("driven", c).end, RunEnd::already_finished);
    EXPECT_NE(notes_.find("the images have changed since this run"), std::string::npos) << notes_;
    c.learning_rate = 0.02;
    EXPECT_EQ(train("driven", c, {.plan_only = true}).end, RunEnd::planned) << "a plan writes nothing";
}

// Its model, checkpoints and evaluation damaged or gone, with the same command afterwards. About 3 s.
TEST_F(Run, AFinishedRunIsLookedAt) {
    ASSERT_EQ(train("end", config()).end, RunEnd::finished);
    const fs::path run = folder() / "end", model = run / "model.safetensors";
    const std::string whole = content(model), record = content(run / "run.json");
    const auto write = [](const fs::path& file, const std::string& bytes) {
        std::ofstream(file, std::ios::binary) << bytes;
    };
    const auto trouble = [&] {
        try {
            notes_.clear();
            return std::string(train("end", config()).end == RunEnd::already_finished ? "finished" : "trained");
        } catch (const Error& e) {
            EXPECT_EQ(e.fault, Fault::damaged) << e.what();
            return std::string(e.what());
        }
    };
    EXPECT_EQ(trouble(), "finished");
    EXPECT_EQ(notes_, "");
    std::string flipped = whole;
    flipped[flipped.size() / 2] ^= 1;
    const auto damaged = [&](const std::string& advice) {
        for (const std::string& bytes : {std::string(), whole.substr(0, 1000), whole.substr(0, whole.size() - 1),
                                         std::string("no model"), flipped}) {
            write(model, bytes);
            const std::string text = trouble();
            EXPECT_TRUE(text.starts_with(model.string() + ": ")) << text;
            EXPECT_TRUE(text.ends_with(advice)) << text;
        }
    };
    damaged("makes it again from the last checkpoint");
    fs::remove(model);
    EXPECT_EQ(trouble(), "trained");
    EXPECT_NE(notes_.find("not there any more: it is made again"), std::string::npos) << notes_;
    EXPECT_TRUE(content(model) == whole);
    for (const bool there : {true, false}) {
        if (there) write(run / "evaluation.json", "{\"classes\":");
        if (!there) fs::remove(run / "evaluation.json");
        EXPECT_EQ(trouble(), "finished");
        EXPECT_NE(notes_.find("evaluation.json is "), std::string::npos) << notes_;
    }
    const std::string log = content(run / "log.jsonl");
    fs::remove_all(run / "checkpoints");
    fs::create_directory(run / "checkpoints");
    write(run / "checkpoints/step-8.safetensors.tmp", "what an interrupted save leaves");
    damaged("start over with --fresh");
    fs::remove(model);
    EXPECT_NE(trouble().find("nor a checkpoint"), std::string::npos);
    EXPECT_EQ(content(run / "log.jsonl"), log) << "nothing was started over";
    // A run of an earlier version has no hash of its model.
    json old = json::parse(record);
    ASSERT_EQ(old.erase("model_hash"), 1u);
    write(run / "run.json", old.dump());
    write(model, flipped);
    EXPECT_EQ(trouble(), "finished");
    write(model, whole.substr(0, 1000));
    EXPECT_NE(trouble().find("damaged"), std::string::npos);
}

TEST_F(Run, BrokenImagesAreListedOnceAlsoAfterARestart) {
    fs::copy(folder() / "shots", folder() / "broken", fs::copy_options::recursive);
    for (const char* part : {"train", "validation"}) {
        fs::create_directories(folder() / "broken" / part / "good");
        std::ofstream(folder() / "broken" / part / "good/no, image.jpg") << "x";
    }
    TrainConfig c = config();
    c.data = (folder() / "broken").string();
    const RunResult first = train("breaking", c, {.stop_after_steps = 5});  // in the second epoch
    ASSERT_EQ(first.end, RunEnd::stopped);
    const RunResult result = train("breaking", c);
    EXPECT_EQ(result.bad_files, 2u);
    const std::string list = content(folder() / "breaking/bad_files.csv");
    EXPECT_EQ(count_lines(list), 3u) << list;
    EXPECT_NE(list.find("train/good/no, image.jpg\",not_a_picture,no,"), std::string::npos) << list;
    EXPECT_NE(notes_.find("not_a_picture"), std::string::npos);
}

TEST_F(Run, APlanLeavesNothing) {
    RunPlan plan;
    const RunOptions options{.folder = (folder() / "planned").string(), .plan_only = true};
    EXPECT_EQ(train_run(config(), options, {.planned = [&](const RunPlan& p) { plan = p; }}).end, RunEnd::planned);
    EXPECT_FALSE(fs::exists(folder() / "planned"));
    EXPECT_EQ(plan.train_images + plan.validation_images + plan.test_images, 20u);
    EXPECT_EQ(plan.parameters, 23'512'130u);  // torchvision's resnet50 with two classes
    EXPECT_GT(plan.seconds_per_step, 0);
    EXPECT_GT(plan.memory_bytes, 4 * plan.parameters);
}

// One micro-batch would fit and two do not: all of them count. Nothing is computed, so no page of it is touched. 15 s.
TEST_F(Run, MemoryIsThatOfAllMicroBatches) {
    TrainConfig c = config();
    c.image_size = 224, c.drop_last = false;
    const RunOptions options{.folder = (folder() / "planned").string()};
    const auto needed = [&](uint64_t batch) {
        struct Planned {};
        size_t bytes = 0;
        c.batch = batch, c.micro_batch = 0;
        const auto stop = [&](const RunPlan& plan) {
            bytes = plan.memory_bytes;
            throw Planned{};
        };
        EXPECT_THROW(train_run(c, options, {.planned = stop}), Planned);
        return double(bytes);
    };
    const double one = needed(1), of_image = (needed(9) - one) / 8, free = double(available_memory_bytes());
    const auto images = uint64_t((0.6 * free - one) / of_image);
    c.batch = 2 * images, c.micro_batch = images;
    std::string text;
    try {
        train_run(c, options, {});
    } catch (const Error& e) {
        text = e.what();
        EXPECT_EQ(e.fault, Fault::memory);
    }
    EXPECT_NE(text.find(fmt::format("are free; --batch {} would fit", images)), text.npos) << text;
}

}  // namespace
