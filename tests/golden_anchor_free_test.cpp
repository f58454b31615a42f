// Whole YOLO11 and YOLOv9-C networks against the numbers of their packages (tests/golden/yolo11): what the file holds,
// layers, heads, decoded boxes, detections.
#include <set>

#include "kernels/detect.h"
#include "models/files/detector_file.h"
#include "tests/golden_detector.h"
#include "tests/golden_statistics.h"

namespace {

using nlohmann::json;

// The values that `layers` describes, by their numbers: the last of a layer's nodes that has the shape. Concatenations
// and enlargements have no name of their own and follow the layer before.
std::map<std::string, Value> layer_values(Graph& graph, const json& layers) {
    std::map<std::string, Value> values;
    size_t after = 0;
    for (size_t layer = 0; layer < layers.size(); ++layer) {
        const std::string number = std::to_string(layer), name = "model." + number + ".";
        if (!layers.contains(number) || !layers.at(number).contains("shape")) continue;
        const auto s = layers.at(number).at("shape").get<Shape>();
        if (s.size() != 4) continue;  // the head, which is compared number by number
        const Shape shape{s[0], s[2], s[3], s[1]};
        const auto here = [&](size_t n) { return graph.values[size_t(graph.nodes[n].out[0])].shape == shape; };
        size_t found = graph.nodes.size();
        for (size_t n = graph.nodes.size(); n-- > after && found == graph.nodes.size();)
            if (graph.nodes[n].layer.starts_with(name) && here(n)) found = n;
        for (size_t n = after; n < graph.nodes.size() && found == graph.nodes.size(); ++n)
            if (here(n)) found = n;
        if (found == graph.nodes.size()) {
            ADD_FAILURE() << "no layer " << layer;
            continue;
        }
        values[number] = {&graph, graph.nodes[found].out[0]};
        after = found + 1;
    }
    return values;
}

// The largest difference to a stored (1, channels, h, w).
double worst_of(const std::vector<float>& found, Value value, const GoldenArray& stored) {
    const std::vector<float> want = stored.as<float>(), have = nhwc_to_nchw(found, value.shape());
    EXPECT_EQ(have.size(), want.size());
    double worst = 0;
    for (size_t i = 0; i < std::min(have.size(), want.size()); ++i)
        worst = std::max(worst, std::abs(double(have[i]) - want[i]));
    return worst;
}

void check_image(const char* kind, const DetectorModel& model, const json& expected,
                 const std::filesystem::path& folder, const std::string& name, const json& image, GoldenCount& count) {
    const GoldenTensors tensors = golden_tensors(folder / (name + ".safetensors"));
    const Image input = golden_network_input(folder, image, tensors);
    const auto device = open_device(kind, {.threads = 2});
    const Model network = model.network();
    auto graph = std::make_unique<Graph>();
    const GoldenPicture picture(*graph, input.h, input.w);
    std::vector<Value> keep = network.trace(picture.x);
    const std::vector<Value> heads = keep;
    const size_t levels = network.levels.size();
    ASSERT_EQ(keep.size(), 2 * levels);
    const auto layers = layer_values(*graph, image.value("layer_outputs", json::object()));
    for (const auto& [number, value] : layers) keep.push_back(value);
    const auto boxes = [&](float threshold) {
        const std::span all(heads);
        return decode_distances(all.first(levels), all.last(levels), network.levels, threshold);
    };
    const Value decoded = boxes(0);
    keep.push_back(decoded);
    const GoldenSelections selections(expected, boxes, keep, count);
    Parameters parameters(*device, *graph);
    upload(model.state, parameters, model.file_name);
    Arena arena{*device};
    Program program(arena, std::move(graph), parameters, keep);
    picture.write(program, input);
    program.run();

    for (const auto& [number, value] : layers)
        expect_statistics("layer" + number, nhwc_to_nchw(program.read<float>(value), value.shape()),
                          image.at("layer_outputs").at(number), 1e-4, 1e-4);
    double worst_head = 0, worst_box = 0, worst_score = 0;
    for (size_t i = 0; i < 2 * levels; ++i) {
        const std::string stored = fmt::format("{}{}", i < levels ? "box" : "cls", i % levels);
        if (tensors.has(stored))
            worst_head = std::max(worst_head, worst_of(program.read<float>(heads[i]), heads[i], tensors.at(stored)));
        else
            count.refuse("a head is not stored, only the boxes that follow from it");
    }
    const std::vector<float> rows = program.read<float>(decoded);
    const GoldenArray& stored = tensors.at("prediction");  // (1, 4 + classes, rows)
    const std::vector<float> want = stored.as<float>();
    const size_t values = stored.shape.at(1), n = stored.shape.at(2);
    ASSERT_EQ(rows.size(), n * (values + 1));
    for (size_t row = 0; row < n; ++row)
        for (size_t k = 0; k < values; ++k) {
            double& worst = k < 4 ? worst_box : worst_score;
            const float found = rows[row * (values + 1) + (k < 4 ? k : k + 1)];  // without objectness
            worst = std::max(worst, std::abs(double(found) - want[k * n + row]));
        }
    printf("%s %s: %zu layers; worst: head %.2g, box %.2g pixels, score %.2g\n", kind, name.c_str(), layers.size(),
           worst_head, worst_box, worst_score);
    EXPECT_LT(worst_head, 5e-3);  // the folder's own bounds for float32
    EXPECT_LT(worst_box, 0.1);
    EXPECT_LT(worst_score, 1e-3);
    count.check();
    selections.check(program, image, 0.1, 1e-3);
}

void check_folder(const char* kind) {
    GoldenCount count;
    if (!std::filesystem::is_directory(golden_folder("yolo11"))) return;
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
                if (exists(entry.path() / (name + ".safetensors")))
                    check_image(kind, model, expected, entry.path(), name, image, count);
                else
                    count.refuse("a picture without stored numbers");
            }
        });
    }
}

TEST(GoldenAnchorFree, Networks) { check_folder(golden_device()); }
TEST(GoldenAnchorFree, NetworksOnTheVirtualGpu) { check_folder("simt"); }

}  // namespace
