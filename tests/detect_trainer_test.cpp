// A tiny YOLOv5 learns a handful of images: the loss falls, what was learned is found again after the way through a
// file, steps repeat bit by bit, and the gradient of the whole network is that of its loss.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "predict/detector.h"
#include "tests/detect_scenes.h"
#include "train/setup.h"

namespace {

constexpr size_t kSize = 64;

DetectorModel small_model(double width = 0.125) {
    DetectorModel model{.file_name = "small",
                        .config = yolov5_config(false, 0.33, width, 2),
                        .classes = {"red", "blue"},
                        .image_size = kSize};
    for (BoxLevel& level : model.config.levels)  // for objects of 12 to 40 pixels
        for (auto& sides : level.anchors) sides = {sides[0] * 0.5f + 6, sides[1] * 0.5f + 6};
    model.state = initialize_yolov5(model.config, 3);
    return model;
}

TrainerConfig small_config(const DetectorModel& model, size_t batch, const DetectLossOptions& loss = {}) {
    const Model network = make_model(model.config);
    return {.model = network,
            .batch = batch,
            .height = kSize,
            .width = kSize,
            .normalize = normalize_named("unit"),
            .loss = detection_loss(network, {.height = kSize, .width = kSize, .max_boxes = 4, .nominal = loss}),
            .optimizer = {.rule = "adam", .weight_decay = 0, .ema_decay = 0.9f, .ema_ramp = 20}};
}

struct Training {
    std::unique_ptr<Device> device = open_device("cpu", {.threads = 1});
    Arena arena{*device};
    Trainer trainer;
    Training(const TrainerConfig& config, const StateDict& initial) : trainer(*device, arena, config, initial) {}
};

double overlap(const Box& b, const float* truth) {  // class, x, y, w, h
    const double x1 = truth[1] - truth[3] / 2, x2 = truth[1] + truth[3] / 2, y1 = truth[2] - truth[4] / 2,
                 y2 = truth[2] + truth[4] / 2;
    const double w = std::min(b.x2 * 1.0, x2) - std::max(b.x1 * 1.0, x1),
                 h = std::min(b.y2 * 1.0, y2) - std::max(b.y1 * 1.0, y1);
    if (w <= 0 || h <= 0) return 0;
    return w * h / ((b.x2 - b.x1) * (b.y2 - b.y1) + (x2 - x1) * (y2 - y1) - w * h);
}

TEST(DetectTrainer, LearnsAFewImages) {
    DetectorModel model = small_model();
    const DetectScenes scenes(4, kSize, 1);
    // The gain of the objectness for so small an image would be 0.01.
    Training t(small_config(model, 4, {.objectness = 20}), model.state);
    StepStats first, last;
    constexpr size_t kSteps = 250;
    for (size_t step = 1; step <= kSteps; ++step) {
        t.trainer.step(scenes.batch(), 0.004 * (1 - double(step) / (kSteps + 50)), 0.9, step);
        if (step == 1) first = t.trainer.stats();
    }
    last = t.trainer.stats();
    EXPECT_LT(last.loss, 0.3 * first.loss);
    EXPECT_LT(last.part("box"), 0.4 * first.part("box"));
    EXPECT_LT(last.part("class"), 0.5 * first.part("class"));
    EXPECT_EQ(last.loss, last.part("box") + last.part("objectness") + last.part("class"));
    EXPECT_EQ(last.skipped_steps, 0);

    model.state = t.trainer.averaged();
    const auto path = std::filesystem::path(testing::TempDir()) / "detect_trainer.safetensors";
    write_detector(path, model);
    const DetectorOptions options{.batch = 4, .threshold = 0.25f};
    Detector direct(*t.device, folded(model), options), again(*t.device, read_detector(path), options);
    const auto boxes = direct.run(scenes.images, kSize, kSize), same = again.run(scenes.images, kSize, kSize);
    ASSERT_EQ(boxes.size(), 4u);
    size_t wanted = 0, found = 0, all = 0;
    for (size_t p = 0; p < 4; ++p) {
        ASSERT_EQ(boxes[p].size(), same[p].size());
        for (size_t k = 0; k < boxes[p].size(); ++k) EXPECT_EQ(0, std::memcmp(&boxes[p][k], &same[p][k], sizeof(Box)));
        all += boxes[p].size();
        for (size_t m = 0; m < 4; ++m) {
            const float* truth = &scenes.boxes[(p * 4 + m) * 5];
            if (truth[0] < 0) continue;
            ++wanted;
            found += std::ranges::any_of(
                boxes[p], [&](const Box& b) { return float(b.category) == truth[0] && overlap(b, truth) > 0.5; });
        }
    }
    EXPECT_EQ(found, wanted) << "objects that the trained network does not find";
    EXPECT_LE(all, wanted + 2) << "boxes where nothing is";

    // Other weights into the same traces.
    Detector fresh(*t.device, folded(small_model()), options);
    fresh.run(scenes.images, kSize, kSize);
    fresh.load(folded(model).state, "trained");
    EXPECT_EQ(fresh.run(scenes.images, kSize, kSize)[0].size(), boxes[0].size());
}

// Two runs, and one that goes on from a checkpoint of the other's arrays, have the same bits.
TEST(DetectTrainer, RepeatsBitByBit) {
    const DetectorModel model = small_model();
    const DetectScenes scenes(4, kSize, 2);
    Training a(small_config(model, 4), model.state), b(small_config(model, 4), model.state),
        c(small_config(model, 4), model.state);
    for (size_t step = 1; step <= 6; ++step) {
        a.trainer.step(scenes.batch(), 0.002, 0.9, step);
        b.trainer.step(scenes.batch(), 0.002, 0.9, step);
        EXPECT_EQ(a.trainer.stats().loss, b.trainer.stats().loss) << step;
        if (step != 3) continue;
        c.trainer.load(a.trainer.state(), "checkpoint");
        const auto from = a.trainer.optimizer().slots(), to = c.trainer.optimizer().slots();
        ASSERT_EQ(from.size(), 1 + 2 * 2 + 3u);
        for (size_t k = 0; k < from.size(); ++k) {
            EXPECT_EQ(from[k].name, to[k].name);
            std::vector<std::byte> bytes(from[k].memory->bytes());
            a.device->download(bytes.data(), from[k].memory->data(), bytes.size());
            c.device->upload(to[k].memory->data(), bytes.data(), bytes.size());
        }
    }
    for (size_t step = 4; step <= 6; ++step) c.trainer.step(scenes.batch(), 0.002, 0.9, step);
    for (const auto& [name, tensor] : a.trainer.averaged()) {
        EXPECT_EQ(tensor.values, b.trainer.averaged().at(name).values) << name;
        EXPECT_EQ(tensor.values, c.trainer.averaged().at(name).values) << name;
    }
    EXPECT_EQ(a.trainer.stats().loss, c.trainer.stats().loss);
    EXPECT_EQ(a.trainer.arrived().at(0).loss, b.trainer.arrived().at(0).loss);
}

TEST(DetectTrainer, AverageIsTheOneOfItsDecay) {
    const DetectorModel model = small_model(0.0625);
    const DetectScenes scenes(2, kSize, 3);
    Training t(small_config(model, 2), model.state);
    const std::vector<std::string> names = {"model.3.conv.weight", "model.3.bn.bias", "model.3.bn.running_var"};
    std::map<std::string, std::vector<double>> want;
    for (const auto& name : names)
        want[name].assign(model.state.at(name).values.begin(), model.state.at(name).values.end());
    for (size_t step = 1; step <= 5; ++step) {
        t.trainer.step(scenes.batch(), 0.01, 0.9, step);
        const StateDict now = t.trainer.state();
        const double decay = 0.9 * (1 - std::exp(-double(step) / 20));
        for (const auto& name : names)
            for (size_t i = 0; i < want[name].size(); ++i)
                want[name][i] = decay * want[name][i] + (1 - decay) * double(now.at(name).values[i]);
    }
    const StateDict average = t.trainer.averaged();
    for (const auto& name : names)
        for (size_t i = 0; i < want[name].size(); ++i)
            ASSERT_NEAR(average.at(name).values[i], want[name][i], 1e-5) << name;
    EXPECT_NE(average.at(names[0]).values, t.trainer.state().at(names[0]).values);
}

TEST(DetectTrainer, FrozenLayersKeepTheirWeights) {
    const DetectorModel model = small_model(0.0625);
    const DetectScenes scenes(2, kSize, 3);
    TrainerConfig config = small_config(model, 2);
    config.trained = layers_from(10);
    Training t(config, model.state);
    for (size_t step = 1; step <= 2; ++step) t.trainer.step(scenes.batch(), 0.01, 0.9, step);
    const StateDict after = t.trainer.state();
    for (const auto& [name, tensor] : model.state) {
        const bool frozen = std::stoul(name.substr(6)) < 10, statistic = name.find("running") != std::string::npos;
        if (name.ends_with("anchors")) continue;
        EXPECT_EQ(after.at(name).values == tensor.values, frozen && !statistic) << name;
    }
}

// The loss along a random direction of all weights. The parts that the loss holds constant are left out: classes alone,
// and objectness where there is no box.
TEST(DetectTrainer, GradientOfTheWholeNetwork) {
    DetectorModel model = small_model();
    model.config.pool = 1;  // without kinks
    for (const bool objects : {true, false}) {
        DetectScenes scenes(3, kSize, 4);
        const TrainerConfig config =
            small_config(model, 3, {.box = 0, .objectness = objects ? 0.0f : 40.0f, .classes = objects ? 20.0f : 0.0f});
        if (!objects)
            for (size_t k = 0; k < scenes.boxes.size(); k += 5) scenes.boxes[k] = -1;
        Training t(config, model.state);
        t.trainer.step(scenes.batch(), 0, 0, 1);
        std::mt19937 random(5);
        std::normal_distribution<float> normal;
        StateDict direction = model.state;
        double want = 0;
        for (const Parameters::Entry& e : t.trainer.parameters().entries()) {
            const std::span<float> d = direction.at(e.name).values.mutable_data();
            const SharedFloats& w = model.state.at(e.name).values;
            double size = 0;
            for (float x : w) size += std::abs(double(x));
            const bool vector = e.spec.role == ParameterRole::norm_or_bias;
            for (float& x : d)
                x = e.spec.role == ParameterRole::statistic
                        ? 0
                        : normal(random) * float(vector ? 0.1 : size / double(w.size()));
            if (e.spec.role == ParameterRole::statistic) continue;
            const std::vector<float> gradient = t.trainer.parameters().get_gradient(e.name);
            const size_t c_in = e.shape.size() == 4 ? e.shape[3] : 1,
                         kernel = e.shape.size() == 4 ? e.shape[1] * e.shape[2] : 1;
            for (size_t i = 0; i < d.size(); ++i) {  // (c_out, kernel, c_in) there, (c_out, c_in, kernel) here
                const size_t row = i / (c_in * kernel), c = i / kernel % c_in, k = i % kernel;
                want += double(d[i]) * double(gradient[(row * kernel + k) * c_in + c]);
            }
        }
        const auto along = [&](double h) {
            StateDict moved = model.state;
            for (auto& [name, tensor] : moved)
                if (!name.ends_with("anchors"))
                    for (size_t i = 0; float& x : tensor.values.mutable_data())
                        x += float(h * double(direction.at(name).values[i++]));
            t.trainer.load(moved, "moved");
            t.trainer.step(scenes.batch(), 0, 0, 1);
            return 3 * t.trainer.stats().loss;  // what is minimised is of the whole batch
        };
        const double h = 4e-4, slope = (8 * (along(h / 2) - along(-h / 2)) - (along(h) - along(-h))) / (6 * h);
        // The loss is a float: its last digit, over h, was up to 0.7 % of the slope with oneDNN's kernels for different
        // processors.
        EXPECT_NEAR(slope, want, 0.02 * std::abs(want)) << (objects ? "classes" : "objectness");
        EXPECT_GT(std::abs(want), 1e-2);
    }
}

}  // namespace
