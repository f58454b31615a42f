// What the tests of detectors share: the network's input of a golden case, and its detections under the settings of
// non-maximum suppression that the case lists.
#pragma once

#include <cmath>

#include "data/fit.h"
#include "engine/program.h"
#include "tests/golden.h"

// The pixels that the network sees: stored, or letterboxed here as the case says.
inline Image golden_network_input(const std::filesystem::path& folder, const nlohmann::json& image,
                                  const GoldenTensors& tensors) {
    if (tensors.has("letterboxed_rgb_hwc")) {
        const GoldenArray& stored = tensors.at("letterboxed_rgb_hwc");
        return {.h = stored.shape.at(0), .w = stored.shape.at(1), .rgb = stored.as<uint8_t>()};
    }
    const Decoded decoded = read_image((folder / image.at("file").get<std::string>()).string());
    EXPECT_TRUE(decoded.usable()) << decoded.text;
    const nlohmann::json& wanted = image.at("letterbox");
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

// The network's input as a batch of one image in [0, 1].
struct GoldenPicture {
    Value images, transform, color, x;
    GoldenPicture(Graph& graph, size_t h, size_t w)
        : images(graph.input("pictures", {1, h, w, 3}, DType::u8)),
          transform(graph.input("transform", {1, 6}, DType::f32)),
          color(graph.input("color", {1, 2}, DType::f32)) {
        constexpr float unit = 1 / 255.0f;
        x = image_batch(images, transform, color,
                        {.out_h = h, .out_w = w, .normalize = {{unit, unit, unit}, {0, 0, 0}}});
    }
    void write(Program& program, const Image& input) const {
        program.write<uint8_t>(images, input.rgb);
        program.write<float>(transform, std::array{1.0f, 0.0f, 0.0f, 0.0f, 1.0f, 0.0f});
        program.write<float>(color, std::array{1.0f, 0.0f});
    }
};

// select_boxes with every setting of `expected` that can be run.
class GoldenSelections {
public:
    // `boxes`: those that a threshold needs. What the program has to keep is added to `keep`.
    GoldenSelections(const nlohmann::json& expected, const std::function<Value(float threshold)>& boxes,
                     std::vector<Value>& keep, GoldenCount& count)
        : count_(count) {
        for (const nlohmann::json& setting : expected.at("nms_settings")) {
            if (const std::string why = golden_unsupported(setting); !why.empty()) {
                count.refuse(why);
                continue;
            }
            settings_.push_back(setting);
            const float threshold = setting.at("conf_thres");
            selected_.push_back(select_boxes(boxes(threshold), {.threshold = threshold,
                                                                .iou_threshold = setting.at("iou_thres"),
                                                                .max_detections = setting.at("max_det")}));
            keep.push_back(selected_.back().detections);
            keep.push_back(selected_.back().count);
        }
    }

    void check(Program& program, const nlohmann::json& image, double box_tolerance, double score_tolerance) const {
        for (size_t s = 0; s < settings_.size(); ++s) {
            const nlohmann::json& wanted = image.at("nms").at(settings_[s].at("name").get<std::string>());
            // A network in float32 may fall on the other side of a decision that is this close.
            nlohmann::json margins = wanted.value("margins", nlohmann::json::object());
            // Sets are compared, so the order of two scores counts only where the list was cut.
            if (wanted.at("count") < settings_[s].at("max_det")) margins.erase("score_gap");
            const bool near = std::any_of(margins.begin(), margins.end(), [](const nlohmann::json& m) {
                return m.is_number() && m.get<double>() < 1e-6;
            });
            if (!wanted.value("stable_under_rounding", true) || near) {
                count_.refuse("a decision too close for another rounding");
                continue;
            }
            SCOPED_TRACE(settings_[s].dump());
            const std::vector<float> found = program.read<float>(selected_[s].detections);
            const size_t n = size_t(program.read<int32_t>(selected_[s].count)[0]);
            ASSERT_EQ(n, wanted.at("count").get<size_t>());
            std::vector<bool> used(n);
            for (const nlohmann::json& row : wanted.at("detections")) {
                const auto box = row.get<std::vector<float>>();
                bool matched = false;
                for (size_t i = 0; i < n && !matched; ++i) {
                    matched =
                        !used[i] && found[6 * i + 5] == box[5] && std::abs(found[6 * i + 4] - box[4]) < score_tolerance;
                    for (size_t k = 0; k < 4; ++k)
                        matched = matched && std::abs(found[6 * i + k] - box[k]) < box_tolerance;
                    if (matched) used[i] = true;
                }
                EXPECT_TRUE(matched) << "no box like " << row.dump();
            }
            count_.check();
        }
    }

private:
    GoldenCount& count_;
    std::vector<nlohmann::json> settings_;
    std::vector<SelectedBoxes> selected_;
};
