// Whole YOLO11 and YOLOv9-C networks against the numbers of their packages (tests/golden/yolo11): what the file holds,
// heads, decoded boxes, detections. Adds about 3 s.
#include <cmath>
#include <set>

#include "data/fit.h"
#include "engine/program.h"
#include "models/files/detector_file.h"
#include "tests/golden.h"

namespace {

using nlohmann::json;

// The largest difference to a stored (1, channels, h, w).
double worst_of(const std::vector<float>& found, const GoldenArray& stored) {
    const std::vector<float> want = stored.as<float>();
    EXPECT_EQ(found.size(), want.size());
    const size_t channels = stored.shape.at(1), pixels = want.size() / channels;
    double worst = 0;
    for (size_t c = 0; c < channels; ++c)
        for (size_t p = 0; p < pixels; ++p)
            worst = std::max(worst, std::abs(double(found[p * channels + c]) - want[c * pixels + p]));
    return worst;
}

void check_image(Device& device, const DetectorModel& model, const json& expected, const GoldenTensors& tensors,
                 const json& image, GoldenCount& count) {
    const GoldenArray& pixels = tensors.at("letterboxed_rgb_hwc");
    const size_t h = pixels.shape.at(0), w = pixels.shape.at(1);
    const Model network = model.network();
    auto graph = std::make_unique<Graph>();
    const Value images = graph->input("pictures", {1, h, w, 3}, DType::u8),
                transform = graph->input("transform", {1, 6}, DType::f32),
                color = graph->input("color", {1, 2}, DType::f32);
    constexpr float unit = 1 / 255.0f;
    const Value x =
        image_batch(images, transform, color, {.out_h = h, .out_w = w, .normalize = {{unit, unit, unit}, {0, 0, 0}}});
    std::vector<Value> keep = network.trace(x);
    const size_t levels = network.levels.size();
    ASSERT_EQ(keep.size(), 2 * levels);
    const Values boxes = std::span(keep).first(levels), scores = std::span(keep).last(levels);
    const Value decoded = decode_distances(boxes, scores, network.levels, 0);
    std::vector<SelectedBoxes> selected;
    std::vector<json> settings;
    for (const json& setting : expected.at("nms_settings")) {
        if (const std::string why = golden_unsupported(setting); !why.empty()) {
            count.refuse(why);
            continue;
        }
        settings.push_back(setting);
        selected.push_back(select_boxes(decode_distances(boxes, scores, network.levels, setting.at("conf_thres")),
                                        {.threshold = setting.at("conf_thres"),
                                         .iou_threshold = setting.at("iou_thres"),
                                         .max_detections = setting.at("max_det")}));
    }
    const std::vector<Value> heads = keep;
    keep.push_back(decoded);
    for (const SelectedBoxes& s : selected) keep.push_back(s.detections), keep.push_back(s.count);
    Parameters parameters(device, *graph);
    upload(model.state, parameters, model.file_name);
    Arena arena{device};
    Program program(arena, std::move(graph), parameters, keep);
    program.write<uint8_t>(images, pixels.as<uint8_t>());
    program.write<float>(transform, std::array{1.0f, 0.0f, 0.0f, 0.0f, 1.0f, 0.0f});
    program.write<float>(color, std::array{1.0f, 0.0f});
    program.run();

    double worst_head = 0, worst_box = 0, worst_score = 0;
    for (size_t l = 0; l < levels; ++l) {
        worst_head = std::max(worst_head, worst_of(program.read<float>(heads[l]), tensors.at(fmt::format("box{}", l))));
        worst_head =
            std::max(worst_head, worst_of(program.read<float>(heads[levels + l]), tensors.at(fmt::format("cls{}", l))));
    }
    const std::vector<float> rows = program.read<float>(decoded);
    const GoldenArray& stored = tensors.at("prediction");  // (1, 4 + classes, rows)
    const std::vector<float> want = stored.as<float>();
    const size_t values = stored.shape.at(1), n = stored.shape.at(2);
    ASSERT_EQ(rows.size(), n * (values + 1));
    for (size_t row = 0; row < n; ++row)
        for (size_t k = 0; k < values; ++k) {
            double& worst = k < 4 ? worst_box : worst_score;
            worst =
                std::max(worst, std::abs(double(rows[row * (values + 1) + (k < 4 ? k : k + 1)]) - want[k * n + row]));
        }
    printf("worst: head %.2g, box %.2g pixels, score %.2g\n", worst_head, worst_box, worst_score);
    EXPECT_LT(worst_head, 5e-3);  // the folder's own bounds for float32
    EXPECT_LT(worst_box, 0.1);
    EXPECT_LT(worst_score, 1e-3);
    count.check();

    for (size_t s = 0; s < settings.size(); ++s) {
        const json& wanted = image.at("nms").at(settings[s].at("name").get<std::string>());
        json margins = wanted.value("margins", json::object());
        if (wanted.at("count") < settings[s].at("max_det")) margins.erase("score_gap");
        const bool near = std::any_of(margins.begin(), margins.end(),
                                      [](const json& m) { return m.is_number() && m.get<double>() < 1e-6; });
        if (!wanted.value("stable_under_rounding", true) || near) {
            count.refuse("a decision too close for another rounding");
            continue;
        }
        SCOPED_TRACE(settings[s].dump());
        const std::vector<float> found = program.read<float>(selected[s].detections);
        const size_t boxes_found = size_t(program.read<int32_t>(selected[s].count)[0]);
        ASSERT_EQ(boxes_found, wanted.at("count").get<size_t>());
        std::vector<bool> used(boxes_found);
        for (const json& row : wanted.at("detections")) {
            const auto box = row.get<std::vector<float>>();
            bool matched = false;
            for (size_t i = 0; i < boxes_found && !matched; ++i) {
                matched = !used[i] && found[6 * i + 5] == box[5] && std::abs(found[6 * i + 4] - box[4]) < 1e-3;
                for (size_t k = 0; k < 4; ++k) matched = matched && std::abs(found[6 * i + k] - box[k]) < 0.1;
                if (matched) used[i] = true;
            }
            EXPECT_TRUE(matched) << "no box like " << row.dump();
        }
        count.check();
    }
}

TEST(GoldenAnchorFree, Networks) {
    GoldenCount count;
    const auto device = open_device("cpu", {.threads = 2});
    if (std::filesystem::is_directory(golden_folder("yolo11")))
        for (const auto& entry : std::filesystem::directory_iterator(golden_folder("yolo11"))) {
            const json expected = golden_json(entry.path() / "expected.json");
            golden_case(entry.path().filename(), expected, count, [&] {
                const DetectorModel model = read_detector(entry.path() / "model.pt");
                EXPECT_EQ(model.classes, golden_names(expected.at("classes")));
                EXPECT_EQ(model.whole_padding, expected.at("kind") == "ultralytics");
                const WeightFile file = read_weights(entry.path() / "model.pt");
                EXPECT_EQ(file.source, expected.at("key_used").get<std::string>());
                EXPECT_TRUE(file.notes.empty()) << file.notes.at(0);
                for (const auto& [name, image] : expected.at("images").items()) {
                    SCOPED_TRACE(name);
                    const auto stored = entry.path() / (name + ".safetensors");
                    if (!exists(stored)) {
                        count.refuse("a picture without stored numbers");
                        continue;
                    }
                    check_image(*device, model, expected, golden_tensors(stored), image, count);
                }
            });
        }
}

}  // namespace
