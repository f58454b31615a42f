// Box decoding and selection against YOLOv5's own, from the head outputs that the golden folder stores, or, where it
// has only the boxes, selection alone.
#include <gtest/gtest.h>

#include "kernels/detect.h"
#include "tests/golden.h"

namespace {

const Cpu cpu{.threads = 2, .scratch = {}};

std::vector<std::filesystem::path> models() {
    std::vector<std::filesystem::path> folders;
    if (std::filesystem::is_directory(golden_folder("yolo")))
        for (const auto& entry : std::filesystem::directory_iterator(golden_folder("yolo")))
            if (std::filesystem::exists(entry.path() / "expected.json")) folders.push_back(entry.path());
    std::sort(folders.begin(), folders.end());
    return folders;
}

std::vector<float> decoded(const nlohmann::json& model, const GoldenTensors& tensors, size_t rows, size_t classes) {
    std::vector<float> boxes(rows * (5 + classes), -1.0f);
    size_t first_row = 0;
    for (size_t level = 0; level < model.at("strides").size(); ++level) {
        const GoldenArray& array = tensors.at("head" + std::to_string(level));  // (1, 3, h, w, 5 + classes)
        const size_t h = array.shape.at(2), w = array.shape.at(3), values = array.shape.at(4);
        const std::vector<float> planes = array.as<float>();
        std::vector<float> head(planes.size());
        for (size_t a = 0; a < 3; ++a)
            for (size_t pixel = 0; pixel < h * w; ++pixel)
                for (size_t k = 0; k < values; ++k)
                    head[(pixel * 3 + a) * values + k] = planes[(a * h * w + pixel) * values + k];
        const auto sides = model.at("anchors_in_pixels")[level].get<std::vector<float>>();
        compute(cpu, DecodeBoxes<float>{.n = 1,
                                        .h = h,
                                        .w = w,
                                        .classes = classes,
                                        .stride = model.at("strides")[level],
                                        .anchors = {{sides[0], sides[1]}, {sides[2], sides[3]}, {sides[4], sides[5]}},
                                        .first_row = first_row,
                                        .rows = rows,
                                        .head = head.data(),
                                        .boxes = boxes.data()});
        first_row += 3 * h * w;
    }
    EXPECT_EQ(first_row, rows);
    return boxes;
}

// The heads are stored exactly, so only the arithmetic of decoding separates us from float64: far below the 0.5 pixel
// and 2e-3 that the folder allows for a whole network in float32.
void check_image(const nlohmann::json& model, const nlohmann::json& image, const GoldenTensors& tensors,
                 const std::filesystem::path& name, GoldenCount& count) {
    const size_t classes = model.at("nc"), rows = tensors.at("prediction").shape.at(1);
    const std::vector<float> want = tensors.at("prediction").as<float>();
    std::vector<float> boxes = want;
    if (tensors.has("head0")) {
        boxes = decoded(model, tensors, rows, classes);
        ASSERT_EQ(boxes.size(), want.size());
        for (size_t i = 0; i < want.size(); ++i)
            ASSERT_NEAR(boxes[i], want[i], 2e-6f + 2e-6f * std::abs(want[i])) << name << " at " << i;
        count.check();
    } else {
        count.refuse("heads are not stored, only the boxes that follow from them");
    }
    for (const auto& setting : model.at("nms_settings")) {
        const auto& expected = image.at("nms").at(setting.at("name").get<std::string>());
        std::string why = golden_unsupported(setting);
        if (!expected.value("stable_under_rounding", true)) why = "a decision too close for another rounding";
        if (!why.empty()) {
            count.refuse(why);
            continue;
        }
        const size_t most = setting.at("max_det");
        std::vector<float> detections(most * 6);
        int32_t found = 0;
        compute(cpu, SelectBoxes{.n = 1,
                                 .rows = rows,
                                 .classes = classes,
                                 .threshold = setting.at("conf_thres"),
                                 .iou_threshold = setting.at("iou_thres"),
                                 .max_detections = most,
                                 .boxes = boxes.data(),
                                 .detections = detections.data(),
                                 .count = &found});
        ASSERT_EQ(size_t(found), expected.at("count").get<size_t>()) << name << setting;
        const auto& listed = expected.at("detections");  // of many only the first
        ASSERT_LE(listed.size(), size_t(found)) << name << setting;
        for (size_t i = 0; i < listed.size(); ++i) {
            const auto box = listed[i].get<std::vector<float>>();
            for (size_t k = 0; k < 6; ++k)
                ASSERT_NEAR(detections[6 * i + k], box[k], k < 4 ? 1e-3f : 1e-5f) << name << setting << i;
        }
        count.check();
    }
}

TEST(GoldenDetect, decode_and_select) {
    GoldenCount count;
    for (const auto& folder : models()) {
        const auto model = golden_json(folder / "expected.json");
        golden_case(folder.filename(), model, count, [&] {
            for (const auto& [name, image] : model.at("images").items())
                check_image(model, image, golden_tensors(folder / (name + ".safetensors")), folder / name, count);
        });
    }
}

}  // namespace
