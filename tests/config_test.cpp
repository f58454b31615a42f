// Configuration: text form, presets, suggestions, differences.
#include "train/config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/text.h"

namespace {

TrainConfig configured(std::string_view text, TrainConfig config = recipe_named("default")) {
    assign(config, parse_config(text, "file"));
    return config;
}

std::string refusal(std::string_view text) {
    try {
        configured(text);
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, Fault::usage);
        return error.what();
    }
    return "accepted";
}

TEST(Config, EveryFieldSurvivesItsText) {
    TrainConfig config = recipe_named("celis2024");
    config.data = "/images/a \"strange\" # name\n";
    config.classes = {"bad, [really]", "good \"#1\"", "Übung"};
    config.init = "weights.safetensors";
    config.learning_rate = 0.1 + 0.2;
    config.seed = 18'000'000'000'000'000'000u;
    config.class_weights = "1,2.5,3";
    config.label_smoothing = 1e-7;
    config.freeze = true;
    EXPECT_EQ(configured(write_config(config)), config);
    EXPECT_EQ(configured(write_config(recipe_named("default"))), TrainConfig());
}

TEST(Config, EveryFieldOfTheStructIsInTheTable) {
    // Members are counted by their sizes: one that is added to the struct and not to the table would never be saved.
    size_t texts = 0, lists = 0, words = 0, flags = 0;
    std::set<std::string_view> keys;
    for (const ConfigField& field : config_fields()) {
        texts += field.member.index() == 0, lists += field.member.index() == 1;
        words += field.member.index() == 2 || field.member.index() == 3, flags += field.member.index() == 4;
        keys.insert(field.key);
        EXPECT_FALSE(field.help.empty()) << field.key;
    }
    EXPECT_EQ(keys.size(), config_fields().size());
    size_t bytes = texts * sizeof(std::string) + lists * sizeof(std::vector<std::string>) + words * 8 + flags;
    EXPECT_LE(bytes, sizeof(TrainConfig));
    EXPECT_LE(sizeof(TrainConfig) - bytes, flags * 7) << "more than padding is missing";
}

TEST(Config, TextIsForgiving) {
    TrainConfig config =
        configured("\xef\xbb\xbf" +
                   std::string("# comment\r\n\n  lr=0.25 # high\r\nmodel = resnet101\nanneal=\"linear\"  # \"why\"\n"
                               "classes = [\"a#\", \"b\"] # two\nfreeze = true\ninit = x"));
    EXPECT_EQ(config.learning_rate, 0.25);
    EXPECT_EQ(config.model, "resnet101");
    EXPECT_EQ(config.anneal, "linear");
    EXPECT_EQ(config.classes, (std::vector<std::string>{"a#", "b"}));
    EXPECT_TRUE(config.freeze);
}

TEST(Config, ErrorsNameTheLineTheValueAndTheNearestWord) {
    EXPECT_EQ(refusal("\nlabel_smothing = 0.1"),
              "file:2: 'label_smothing' is not a setting; did you mean 'label_smoothing'?");
    EXPECT_EQ(refusal("xyzzy = 1"), "file:1: 'xyzzy' is not a setting");
    EXPECT_EQ(refusal("lr = fast"), "file:1: lr = 'fast' is not a number");
    EXPECT_EQ(refusal("lr = nan"), "file:1: lr = nan must lie between 1e-12 and 1000");
    EXPECT_EQ(refusal("batch = 2.5"), "file:1: batch = '2.5' is not a whole number");
    EXPECT_EQ(refusal("batch = -1"), "file:1: batch = '-1' is not a whole number");
    EXPECT_EQ(refusal("batch = 0"), "file:1: batch = 0 must lie between 1 and 65536");
    EXPECT_EQ(refusal("freeze = yes"), "file:1: freeze = 'yes' must be true or false");
    EXPECT_EQ(refusal("optimizer = adma"),
              "file:1: optimizer = 'adma' must be one of sgd, adam, adamw; did you mean 'adam'?");
    EXPECT_EQ(refusal("lr = 1\nlr = 2"), "file:2: 'lr' was set already in file:1");
    EXPECT_EQ(refusal("lr"), "file:1: 'lr' is not of the form key = value");
    EXPECT_EQ(refusal("classes = a, b"), "file:1: classes = a, b is not a list like [\"a\", \"b\"]");
    EXPECT_EQ(refusal("init = \"half"), "file:1: \"half is not a text in double quotes or a list");
    for (const char* together : {"freeze = true", "nesterov = true\noptimizer = adam", "validation = 0.6\ntest = 0.6",
                                 "class_weights = 1,x", "class_weights = 1,-2", "rise = 0.7\nschedule = smith"})
        EXPECT_NE(refusal(together), "accepted") << together;
}

TEST(Config, LeadersBringTheirNumbersWhateverTheOrder) {
    TrainConfig adam = configured("lr = 0.01\noptimizer = adam");
    EXPECT_EQ(adam.learning_rate, 0.01);
    EXPECT_EQ(adam.weight_decay, 0);
    EXPECT_EQ(configured("optimizer = adam").learning_rate, 1e-3) << "the rate of SGD would be far too high";
    TrainConfig smith = configured("start_div = 7\nschedule = smith");
    EXPECT_EQ(smith.div_factor, 7);
    EXPECT_EQ(smith.warmup_fraction, 0.45);
    TrainConfig celis = configured("batch = 8\nschedule = smith\nrecipe = celis2024");
    EXPECT_EQ(celis.batch, 8u);
    EXPECT_EQ(celis.schedule, "smith");
    EXPECT_EQ(celis.epochs, 55u);
}

TEST(Config, TheRecipeOfThePaper) {
    TrainConfig c = recipe_named("celis2024");
    EXPECT_EQ(c.model, "resnet50-keras");
    EXPECT_EQ(c.image_size, 224u);
    EXPECT_EQ(c.epochs, 55u);
    EXPECT_EQ(c.batch, 64u);
    EXPECT_FALSE(c.drop_last) << "ceil(N / 64) steps an epoch";
    EXPECT_EQ(c.init, "");
    EXPECT_EQ(c.optimizer + "/" + c.adam_form, "adam/keras");
    EXPECT_EQ(c.epsilon, 1e-7);
    EXPECT_EQ(c.beta2, 0.999);
    EXPECT_EQ(c.weight_decay, 0);
    EXPECT_EQ(c.fit + "/" + c.filter + "/" + c.normalize + "/" + c.augment, "stretch/nearest/unit/keras");
    EXPECT_EQ(std::vector({c.validation, c.test}), (std::vector{0.08, 0.02}));
    // 100 images: two batches an epoch, 110 steps; the 55th is the peak, the last back at 1e-6.
    Schedule schedule(schedule_options(c), 110);
    EXPECT_NEAR(schedule.at(54).learning_rate, 1e-3, 1e-15);
    EXPECT_NEAR(schedule.at(109).learning_rate, 1e-6, 1e-18);
    EXPECT_EQ(schedule.at(0).momentum, 0.9);
}

TEST(Config, DifferencesAreWhatMakesTheResult) {
    TrainConfig before = recipe_named("default"), after = before;
    after.threads = 3, after.data = "elsewhere", after.device = "cpu";
    EXPECT_TRUE(config_differences(before, after).empty());
    EXPECT_EQ(config_hash(before), config_hash(after));
    after.learning_rate = 0.1, after.classes = {"a"};
    EXPECT_EQ(config_differences(before, after),
              (std::vector<std::string>{"classes: [] -> [\"a\"]", "lr: 0.05 -> 0.1"}));
    EXPECT_NE(config_hash(before), config_hash(after));
}

// A run of an earlier version: it can be read, and continued where the setting was off.
TEST(Config, ARemovedSetting) {
    const TrainConfig today = recipe_named("default");
    for (const char* value : {"true", "false"}) {
        TrainConfig read;
        const auto assignments = parse_config(fmt::format("epochs = 55\nfused = {}\n", value), "run/config");
        assign(read, assignments);
        EXPECT_EQ(read.epochs, 55);
        if (std::string(value) == "false") {
            refuse_removed_settings(assignments);
            continue;
        }
        try {
            refuse_removed_settings(assignments);
            FAIL();
        } catch (const Error& e) {
            EXPECT_EQ(e.fault, Fault::usage);
            EXPECT_TRUE(std::string(e.what()).starts_with("run/config:2: fused = true ")) << e.what();
        }
    }
    EXPECT_EQ(config_hash(today), "8c4052aa3d364c99");  // as it was when there was the setting
}

TEST(Config, ClassWeights) {
    TrainConfig config;
    const size_t images[] = {30, 10};
    EXPECT_TRUE(class_weight_values(config, images).empty());
    config.class_weights = "balanced";
    EXPECT_EQ(class_weight_values(config, images), (std::vector<float>{40.f / 60, 2}));
    config.class_weights = "1,2.5";
    EXPECT_EQ(class_weight_values(config, images), (std::vector<float>{1, 2.5}));
    config.class_weights = "1,2,3";
    EXPECT_THROW(class_weight_values(config, images), Error);
}

TEST(Config, NearestWord) {
    const std::string_view verbs[] = {"train", "eval", "classify", "inspect"};
    EXPECT_EQ(nearest("trian", verbs), "train");
    EXPECT_EQ(nearest("evaluate", verbs), "");
    EXPECT_EQ(nearest("clasify", verbs), "classify");
    EXPECT_EQ(nearest("x", verbs), "");
}

TEST(Config, ReadsAFile) {
    std::string path =
        (std::filesystem::temp_directory_path() / ("tundra-config-" + std::to_string(getpid()))).string();
    std::ofstream(path) << "epochs = 3\n";
    EXPECT_EQ(read_config(path).at(0).text, "3");
    EXPECT_EQ(read_config(path).at(0).source, path + ":1");
    std::filesystem::remove(path);
    EXPECT_THROW(read_config(path), Error);
}

// Goyal et al. 2017: eight times the default batch, eight times the rate, which begins where a single batch would and
// gets there in five of 50 epochs.
TEST(Config, LargeBatchesScaleTheLearningRate) {
    const Schedule plain(schedule_options(configured("epochs = 50")), 1000),
        scaled(schedule_options(configured("epochs = 50\nbatch = 256\nscale_lr = linear")), 1000);
    const auto ratio = [&](size_t step) { return scaled.at(step).learning_rate / plain.at(step).learning_rate; };
    EXPECT_NEAR(ratio(0), 1, 1e-9);
    EXPECT_NEAR(ratio(50), 4.5, 1e-9);
    EXPECT_NEAR(ratio(100), 8, 1e-9);
    EXPECT_NEAR(ratio(999), 8, 1e-9);
    const Schedule small(schedule_options(configured("batch = 16\nscale_lr = linear")), 1000);
    EXPECT_NEAR(small.at(0).learning_rate / plain.at(0).learning_rate, 0.5, 1e-9);
    EXPECT_NE(config_hash(configured("")), config_hash(configured("scale_lr = linear")));
    EXPECT_NE(config_hash(configured("")), config_hash(configured("sync_batch_norm = true")));
}

}  // namespace
