// Whole YOLOv5 networks against YOLOv5's own numbers (tests/golden/yolo): heads, decoded boxes, detections.
#include "data/fit.h"
#include "engine/program.h"
#include "models/files/detector_file.h"
#include "tests/golden.h"

namespace {

using nlohmann::json;

struct Run {
    std::unique_ptr<Device> device = open_device("cpu", {.threads = 2});
    Arena arena{*device};
    std::unique_ptr<Graph> graph = std::make_unique<Graph>();
    std::vector<Value> heads;
    Value boxes;
    std::vector<SelectedBoxes> selected;  // one per setting
};

// The pixels that the network sees: stored, or letterboxed here as the case says.
Image network_input(const std::filesystem::path& folder, const json& image, const GoldenTensors& tensors) {
    if (tensors.has("letterboxed_rgb_hwc")) {
        const GoldenArray& stored = tensors.at("letterboxed_rgb_hwc");
        return {.h = stored.shape.at(0), .w = stored.shape.at(1), .rgb = stored.as<uint8_t>()};
    }
    const Decoded decoded = read_image((folder / image.at("file").get<std::string>()).string());
    EXPECT_TRUE(decoded.usable()) << decoded.text;
    const json& wanted = image.at("letterbox");
    const size_t size = wanted.at("new_shape");
    const Letterbox box = letterbox({.h = decoded.image.h,
                                     .w = decoded.image.w,
                                     .out_h = size,
                                     .out_w = size,
                                     .stride = wanted.at("auto").get<bool>() ? wanted.at("stride").get<size_t>() : 0,
                                     .enlarge = wanted.at("scaleup")});
    EXPECT_EQ((std::vector{box.out_h, box.out_w}), image.at("letterboxed_hw").get<std::vector<size_t>>());
    Image frame{.h = box.out_h, .w = box.out_w, .rgb = std::vector<uint8_t>(box.out_h * box.out_w * 3)};
    letterbox_image(decoded.image, box, Filter::linear, frame.rgb.data());
    return frame;
}

// An image of the network's size through the network, with every setting that can be run.
void check_image(const DetectorModel& model, const json& expected, const std::filesystem::path& folder,
                 const std::string& name, const json& image, GoldenCount& count) {
    const GoldenTensors tensors = golden_tensors(folder / (name + ".safetensors"));
    const Image input = network_input(folder, image, tensors);
    const size_t h = input.h, w = input.w;
    Run run;
    Graph& graph = *run.graph;
    const Value images = graph.input("pictures", {1, h, w, 3}, DType::u8),
                transform = graph.input("transform", {1, 6}, DType::f32),
                color = graph.input("color", {1, 2}, DType::f32);
    constexpr float unit = 1 / 255.0f;
    const Value x =
        image_batch(images, transform, color, {.out_h = h, .out_w = w, .normalize = {{unit, unit, unit}, {0, 0, 0}}});
    run.heads = yolov5(x, model.config);
    run.boxes = decode_boxes(run.heads, model.config.levels, model.config.classes);
    std::vector<Value> keep = run.heads;
    keep.push_back(run.boxes);
    std::vector<json> settings;
    for (const json& setting : expected.at("nms_settings")) {
        if (const std::string why = golden_unsupported(setting); !why.empty()) {
            count.refuse(why);
            continue;
        }
        settings.push_back(setting);
        run.selected.push_back(select_boxes(run.boxes, {.threshold = setting.at("conf_thres"),
                                                        .iou_threshold = setting.at("iou_thres"),
                                                        .max_detections = setting.at("max_det")}));
        keep.push_back(run.selected.back().detections);
        keep.push_back(run.selected.back().count);
    }
    Parameters parameters(*run.device, graph);
    upload(model.state, parameters, model.file_name);
    Program program(run.arena, std::move(run.graph), parameters, keep);
    program.write<uint8_t>(images, input.rgb);
    program.write<float>(transform, std::array{1.0f, 0.0f, 0.0f, 0.0f, 1.0f, 0.0f});
    program.write<float>(color, std::array{1.0f, 0.0f});
    program.run();

    double worst_head = 0, worst_box = 0, worst_score = 0;
    const size_t values = 5 + model.config.classes;
    for (size_t level = 0; level < run.heads.size(); ++level) {
        if (!tensors.has("head" + std::to_string(level))) {
            count.refuse("a head is not stored, only the boxes that follow from it");
            continue;
        }
        const std::vector<float> head = program.read<float>(run.heads[level]);
        const std::vector<float> want = tensors.at("head" + std::to_string(level)).as<float>();  // (1, 3, h, w, values)
        ASSERT_EQ(head.size(), want.size());
        const size_t pixels = head.size() / (3 * values);
        for (size_t a = 0; a < 3; ++a)
            for (size_t p = 0; p < pixels; ++p)
                for (size_t k = 0; k < values; ++k)
                    worst_head = std::max(worst_head, std::abs(double(head[(p * 3 + a) * values + k]) -
                                                               want[(a * pixels + p) * values + k]));
    }
    const std::vector<float> boxes = program.read<float>(run.boxes), prediction = tensors.at("prediction").as<float>();
    ASSERT_EQ(boxes.size(), prediction.size());
    for (size_t i = 0; i < boxes.size(); ++i) {
        double& worst = i % values < 4 ? worst_box : worst_score;
        worst = std::max(worst, std::abs(double(boxes[i]) - prediction[i]));
    }
    printf("worst: head %.2g, box %.2g pixels, score %.2g\n", worst_head, worst_box, worst_score);
    EXPECT_LT(worst_head, 5e-3);  // the folder's own bounds for float32
    EXPECT_LT(worst_box, 0.5);
    EXPECT_LT(worst_score, 2e-3);
    count.check();

    for (size_t s = 0; s < settings.size(); ++s) {
        const json& wanted = image.at("nms").at(settings[s].at("name").get<std::string>());
        // A network in float32 may fall on the other side of a decision that is this close.
        json margins = wanted.value("margins", json::object());
        // Sets are compared, so the order of two scores counts only where the list was cut.
        if (wanted.at("count") < settings[s].at("max_det")) margins.erase("score_gap");
        const bool near = std::any_of(margins.begin(), margins.end(),
                                      [](const json& m) { return m.is_number() && m.get<double>() < 1e-6; });
        if (!wanted.value("stable_under_rounding", true) || near) {
            count.refuse("a decision too close for another rounding");
            continue;
        }
        SCOPED_TRACE(settings[s].dump());
        const std::vector<float> found = program.read<float>(run.selected[s].detections);
        const size_t n = size_t(program.read<int32_t>(run.selected[s].count)[0]);
        ASSERT_EQ(n, wanted.at("count").get<size_t>());
        std::vector<bool> used(n);
        for (const json& row : wanted.at("detections")) {
            const auto box = row.get<std::vector<float>>();
            bool matched = false;
            for (size_t i = 0; i < n && !matched; ++i) {
                matched = !used[i] && found[6 * i + 5] == box[5] && std::abs(found[6 * i + 4] - box[4]) < 2e-3;
                for (size_t k = 0; k < 4; ++k) matched = matched && std::abs(found[6 * i + k] - box[k]) < 0.5;
                if (matched) used[i] = true;
            }
            EXPECT_TRUE(matched) << "no box like " << row.dump();
        }
        count.check();
    }
}

TEST(GoldenYolo, Networks) {
    GoldenCount count;
    if (std::filesystem::is_directory(golden_folder("yolo")))
        for (const auto& entry : std::filesystem::directory_iterator(golden_folder("yolo"))) {
            if (!exists(entry.path() / "model.pt") || !exists(entry.path() / "expected.json")) {
                count.refuse("a folder without model.pt and expected.json");
                continue;
            }
            const json expected = golden_json(entry.path() / "expected.json");
            golden_case(entry.path().filename(), expected, count, [&] {
                const DetectorModel model = read_detector(entry.path() / "model.pt");
                EXPECT_EQ(model.classes, golden_names(expected.at("classes")));
                ASSERT_EQ(model.config.levels.size(), expected.at("strides").size());
                for (size_t level = 0; level < model.config.levels.size(); ++level) {
                    const auto anchors = expected.at("anchors_in_pixels")[level].get<std::vector<float>>();
                    EXPECT_EQ(model.config.levels[level].stride, expected.at("strides")[level].get<float>());
                    for (size_t i = 0; i < 6; ++i)
                        EXPECT_EQ(model.config.levels[level].anchors[i / 2][i % 2], anchors[i]);
                }
                for (const auto& [name, image] : expected.at("images").items()) {
                    SCOPED_TRACE(name);
                    check_image(model, expected, entry.path(), name, image, count);
                }
            });
        }
}

}  // namespace
