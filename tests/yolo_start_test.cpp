// A YOLOv5 that will be trained: the names of its parameters, its file and back, other classes for its heads.
#include <gtest/gtest.h>

#include "models/yolov5_start.h"
#include "predict/detector.h"
#include "tests/golden.h"

namespace {

std::filesystem::path temporary(const std::string& name) {
    return std::filesystem::path(testing::TempDir()) / ("yolo_start_" + name);
}

DetectorModel small_model(bool p6, std::vector<std::string> classes) {
    DetectorModel model{.file_name = "small",
                        .config = yolov5_config(p6, 0.33, 0.125, classes.size()),
                        .classes = std::move(classes),
                        .image_size = 192};
    model.state = initialize_yolov5(model.config, 5);
    for (auto& [name, tensor] : model.state)  // statistics as training would leave them
        if (name.ends_with(".running_mean") || name.ends_with(".running_var"))
            for (size_t i = 0; float& x : tensor.values.mutable_data()) x += 0.01f * float(i++ % 7);
    return model;
}

void expect_same(const StateDict& a, const StateDict& b) {
    for (const auto& [name, tensor] : a) {
        ASSERT_TRUE(b.contains(name)) << name;
        EXPECT_EQ(tensor.shape, b.at(name).shape) << name;
        EXPECT_EQ(tensor.values, b.at(name).values) << name;
    }
    EXPECT_EQ(a.size(), b.size());
}

// What YOLOv5 itself calls every tensor of its state dict, and their shapes.
TEST(YoloStart, NamesAreThoseOfCheckpoints) {
    GoldenCount count;
    if (std::filesystem::is_directory(golden_folder("yolo")))
        for (const auto& entry : std::filesystem::directory_iterator(golden_folder("yolo"))) {
            if (!exists(entry.path() / "model.pt")) continue;
            SCOPED_TRACE(entry.path().filename());
            const DetectorModel model = read_detector_unfolded(entry.path() / "model.pt");
            const StateDict fresh = initialize_yolov5(model.config, 1);
            for (const auto& [name, tensor] : model.state) {
                if (name.ends_with("anchor_grid")) continue;  // release 5.0 only: the anchors a second time
                ASSERT_TRUE(fresh.contains(name)) << name;
                EXPECT_EQ(fresh.at(name).shape, tensor.shape) << name;
            }
            for (const auto& [name, tensor] : fresh) EXPECT_TRUE(model.state.contains(name)) << name;
            const StateDict constants = make_model(model.config).constants;
            EXPECT_EQ(constants.size(), 1u);
            for (const auto& [name, anchors] : constants)
                for (size_t i = 0; i < anchors.values.size(); ++i)
                    EXPECT_FLOAT_EQ(anchors.values[i], model.state.at(name).values[i]);
            count.check();
        }
}

TEST(YoloStart, HeadsExpectFewObjects) {
    const DetectorModel model = small_model(false, {"a", "b", "c"});
    const SharedFloats& bias = model.state.at("model.24.m.1.bias").values;  // stride 16: 1600 cells of 640 pixels
    ASSERT_EQ(bias.size(), 24u);
    for (size_t row = 0; row < 24; ++row) {
        const double score = 1 / (1 + std::exp(-double(bias[row])));
        const double want = row % 8 < 4 ? score : row % 8 == 4 ? 8.0 / 1600 : 0.6 / 2 / (1 + 0.6 / 2);
        EXPECT_NEAR(score, want, 1e-4);
    }
    const DetectorModel one = small_model(false, {"a"});
    EXPECT_GT(one.state.at("model.24.m.0.bias").values[5], 10);  // the only class is certain
}

TEST(YoloStart, FileAndBack) {
    for (const bool p6 : {false, true}) {
        DetectorModel model = small_model(p6, {"animal", "person"});
        model.config.epsilon = 2e-3;
        model.version = "test";
        model.typical_threshold = 0.25;
        const auto path = temporary("trained.safetensors"), folded_path = temporary("folded.safetensors");
        write_detector(path, model);
        const DetectorModel again = read_detector_unfolded(path);
        expect_same(model.state, again.state);
        EXPECT_EQ(again.classes, model.classes);
        EXPECT_EQ(again.image_size, 192u);
        EXPECT_EQ(again.version, "test");
        EXPECT_EQ(again.typical_threshold, 0.25);
        EXPECT_EQ(again.config.epsilon, 2e-3);
        EXPECT_EQ(again.config.channels, model.config.channels);
        EXPECT_EQ(again.config.repeats, model.config.repeats);
        for (size_t level = 0; level < model.config.levels.size(); ++level) {
            EXPECT_EQ(again.config.levels[level].stride, model.config.levels[level].stride);
            EXPECT_EQ(again.config.levels[level].anchors, model.config.levels[level].anchors);
        }
        expect_same(folded(model).state, read_detector(path).state);
        EXPECT_FALSE(read_detector(path).state.contains("model.0.bn.weight"));

        write_detector(folded_path, folded(model));
        expect_same(folded(model).state, read_detector(folded_path).state);
        try {
            read_detector_unfolded(folded_path);
            ADD_FAILURE() << "folded weights were taken for training";
        } catch (const Error& e) {
            EXPECT_EQ(e.fault, Fault::usage);
            EXPECT_NE(std::string(e.what()).find("folded"), std::string::npos) << e.what();
        }
    }
}

// Otherwise no score is above any threshold, and every image would be reported as empty.
TEST(YoloStart, LostWeightsAreNoDetector) {
    const auto device = open_device("cpu");
    DetectorModel model = folded(small_model(false, {"animal"}));
    Detector detector(*device, model, {});
    model.state.at("model.24.m.1.bias").values.mutable_data()[4] = NAN;
    for (const bool again : {false, true}) try {
            again ? detector.load(model.state, "small") : void(Detector(*device, model, {}));
            ADD_FAILURE() << "NaN was taken";
        } catch (const Error& e) {
            EXPECT_EQ(e.fault, Fault::damaged);
            EXPECT_NE(std::string(e.what()).find("model.24.m.1.bias"), std::string::npos) << e.what();
        }
}

TEST(YoloStart, OtherClasses) {
    const DetectorModel from = small_model(false, {"animal", "person", "vehicle"});
    std::string note = "old";
    expect_same(retarget_yolov5(from, from.classes, 9, note).state, from.state);
    EXPECT_EQ(note, "");

    const DetectorModel to = retarget_yolov5(from, {"lynx", "person"}, 9, note);
    EXPECT_NE(note.find("lynx start from random weights"), std::string::npos) << note;
    EXPECT_EQ(to.classes, (std::vector<std::string>{"lynx", "person"}));
    EXPECT_EQ(to.config.classes, 2u);
    EXPECT_EQ(from.state.at("model.10.conv.weight").values, to.state.at("model.10.conv.weight").values);
    const StateDict fresh = initialize_yolov5(to.config, 9);
    for (const size_t level : {0, 1, 2})
        for (const char* part : {"weight", "bias"}) {
            const std::string name = fmt::format("model.24.m.{}.{}", level, part);
            const HostTensor &a = from.state.at(name), &b = to.state.at(name), &c = fresh.at(name);
            ASSERT_EQ(b.shape, c.shape);
            const size_t length = b.values.size() / 21;
            const auto row = [&](const HostTensor& t, size_t r) {
                return std::vector<float>(t.values.begin() + ptrdiff_t(r * length),
                                          t.values.begin() + ptrdiff_t((r + 1) * length));
            };
            for (size_t anchor = 0; anchor < 3; ++anchor) {
                for (size_t k = 0; k < 5; ++k) EXPECT_EQ(row(b, 7 * anchor + k), row(a, 8 * anchor + k)) << name;
                EXPECT_EQ(row(b, 7 * anchor + 5), row(c, 7 * anchor + 5)) << name;  // lynx
                EXPECT_EQ(row(b, 7 * anchor + 6), row(a, 8 * anchor + 6)) << name;  // person
            }
        }
    retarget_yolov5(from, {"person", "animal"}, 9, note);
    EXPECT_EQ(note, "") << "all classes are known";
}

}  // namespace
