// Whole YOLOv5 networks against YOLOv5's own numbers (tests/golden/yolo): heads, decoded boxes, detections.
#include "models/files/detector_file.h"
#include "tests/golden_detector.h"

namespace {

using nlohmann::json;

struct Run {
    std::unique_ptr<Device> device = open_device("cpu", {.threads = 2});
    Arena arena{*device};
    std::unique_ptr<Graph> graph = std::make_unique<Graph>();
    std::vector<Value> heads;
    Value boxes;
};

// An image of the network's size through the network, with every setting that can be run.
void check_image(const DetectorModel& model, const json& expected, const std::filesystem::path& folder,
                 const std::string& name, const json& image, GoldenCount& count) {
    const GoldenTensors tensors = golden_tensors(folder / (name + ".safetensors"));
    const Image input = golden_network_input(folder, image, tensors);
    Run run;
    Graph& graph = *run.graph;
    const GoldenPicture picture(graph, input.h, input.w);
    run.heads = yolov5(picture.x, model.config);
    run.boxes = decode_boxes(run.heads, model.config.levels, model.config.classes);
    std::vector<Value> keep = run.heads;
    keep.push_back(run.boxes);
    const GoldenSelections selections(
        expected, [&](float) { return run.boxes; }, keep, count);
    Parameters parameters(*run.device, graph);
    upload(model.state, parameters, model.file_name);
    Program program(run.arena, std::move(run.graph), parameters, keep);
    picture.write(program, input);
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

    selections.check(program, image, 0.5, 2e-3);
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
