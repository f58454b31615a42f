// Heads and boxes for tests of the detector's loss: the cases of tests/data/detect_loss, and random ones.
#pragma once

#include <fmt/format.h>

#include <random>

#include "kernels/detect_loss.h"
#include "tests/golden.h"

struct DetectLossCase {
    struct Level {
        size_t h, w;
        float stride, balance;
        std::array<float, 6> anchors;
        std::vector<float> head, dhead;  // dhead: expected, for dloss = 1
    };
    std::string name;
    DetectLossShape shape;
    std::vector<Level> levels;
    std::vector<float> boxes, loss, parts, matches;  // the last three: expected
};

// Fills the level array of a forward or backward operation; the heads' addresses come from `head(l)` and `dhead(l)`.
template <class Op, class Head, class DHead>
void set_levels(Op& op, const DetectLossCase& c, const Head& head, const DHead& dhead) {
    for (size_t l = 0; l < c.levels.size(); ++l) {
        const auto& from = c.levels[l];
        op.level[l].h = from.h, op.level[l].w = from.w, op.level[l].stride = from.stride,
        op.level[l].balance = from.balance;
        for (size_t k = 0; k < 6; ++k) op.level[l].anchors[k / 2][k % 2] = from.anchors[k];
        op.level[l].head = head(l), op.level[l].dhead = dhead(l);
    }
}

inline DetectLossCase stored_detect_loss_case(const std::filesystem::path& file) {
    const GoldenTensors tensors = golden_tensors(file);
    const auto spec = nlohmann::json::parse(tensors.metadata.at("spec"));
    const auto shape = tensors.at("boxes").shape;
    DetectLossCase c{.name = file.stem().string(),
                     .shape = {.n = shape.at(0),
                               .classes = spec.at("classes"),
                               .max_boxes = shape.at(1),
                               .levels = spec.at("strides").size(),
                               .box_gain = spec.at("gains")[0],
                               .objectness_gain = spec.at("gains")[1],
                               .class_gain = spec.at("gains")[2],
                               .smoothing = spec.at("smoothing"),
                               .anchor_threshold = spec.at("ratio")},
                     .levels = {},
                     .boxes = tensors.at("boxes").as<float>(),
                     .loss = tensors.at("loss").as<float>(),
                     .parts = tensors.at("parts").as<float>(),
                     .matches = tensors.at("matches").as<float>()};
    for (size_t l = 0; l < c.shape.levels; ++l) {
        const GoldenArray& head = tensors.at(fmt::format("head{}", l));
        DetectLossCase::Level level{head.shape.at(1),
                                    head.shape.at(2),
                                    spec.at("strides")[l],
                                    spec.at("balance")[l],
                                    {},
                                    head.as<float>(),
                                    tensors.at(fmt::format("dhead{}", l)).as<float>()};
        for (size_t k = 0; k < 6; ++k) level.anchors[k] = spec.at("anchors")[l][k / 2][k % 2];
        c.levels.push_back(level);
    }
    return c;
}

inline std::vector<DetectLossCase> stored_detect_loss_cases() {
    std::vector<DetectLossCase> cases;
    for (const auto& entry : std::filesystem::directory_iterator(TUNDRA_TESTS "/data/detect_loss"))
        if (entry.path().extension() == ".safetensors") cases.push_back(stored_detect_loss_case(entry.path()));
    std::ranges::sort(cases, {}, &DetectLossCase::name);
    return cases;
}

struct RandomDetectLoss {
    size_t n, h, w, classes, most, levels = 3;  // h, w: of the first level, which has stride 8
    float smoothing = 0;
};
inline DetectLossCase random_detect_loss_case(const RandomDetectLoss& r, unsigned seed) {
    std::mt19937 generator(seed);
    const auto uniform = [&] { return std::uniform_real_distribution<float>(0, 1)(generator); };
    std::normal_distribution<float> normal(0, 1.5f);
    DetectLossCase c{.name = fmt::format("{} images, {}x{}, {} classes, {} boxes", r.n, r.h, r.w, r.classes, r.most),
                     .shape = {.n = r.n,
                               .classes = r.classes,
                               .max_boxes = r.most,
                               .levels = r.levels,
                               .box_gain = 0.05f,
                               .objectness_gain = 1,
                               .class_gain = 0.5f,
                               .smoothing = r.smoothing,
                               .anchor_threshold = 4},
                     .levels = {},
                     .boxes = {},
                     .loss = {},
                     .parts = {},
                     .matches = {}};
    for (size_t l = 0; l < r.levels; ++l) {
        const float stride = float(8 << l);
        DetectLossCase::Level level{std::max<size_t>(1, r.h >> l),
                                    std::max<size_t>(1, r.w >> l),
                                    stride,
                                    1.0f / float(1 + l),
                                    {stride, 2 * stride, 2 * stride, stride, 3 * stride, 3 * stride},
                                    {},
                                    {}};
        level.head.resize(r.n * level.h * level.w * 3 * (5 + r.classes));
        for (float& x : level.head) x = normal(generator);
        c.levels.push_back(level);
    }
    for (size_t k = 0; k < r.n * r.most; ++k)
        for (const float value :
             {float(generator() % (r.classes + 1)) - 1, uniform() * float(8 * r.w), uniform() * float(8 * r.h),
              4 + 60 * uniform() * uniform(), 4 + 60 * uniform() * uniform()})
            c.boxes.push_back(value);
    return c;
}
