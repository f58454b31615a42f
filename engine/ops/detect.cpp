// decode_boxes and select_boxes: from the heads of a detector to boxes.
#include "kernels/detect.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

constexpr size_t kMaxLevels = 12;  // four of each of three test-time augmentation passes

template <class T>
struct DecodeAll {
    size_t count;
    DecodeBoxes<T> level[kMaxLevels];
};
template <class Device, class T>
void compute(const Device& device, const DecodeAll<T>& all) {
    for (size_t l = 0; l < all.count; ++l) compute(device, all.level[l]);
}

struct Decode {
    static constexpr std::string_view name = "decode_boxes";
    std::vector<BoxLevel> levels;
    std::vector<Shape> heads;
    size_t classes, rows;
    void bind(auto& k, auto& slot) const {
        k.count = heads.size();
        size_t first_row = 0;
        for (size_t l = 0; l < heads.size(); ++l) {
            auto& level = k.level[l];
            level.n = heads[l][0], level.h = heads[l][1], level.w = heads[l][2], level.classes = classes;
            level.stride = levels[l].stride, level.mirror = levels[l].mirror;
            for (size_t a = 0; a < 3; ++a) std::ranges::copy(levels[l].anchors[a], level.anchors[a]);
            level.first_row = first_row, level.rows = rows;
            first_row += 3 * level.h * level.w;
            slot.in("head", l, level.head);
        }
        slot.out("boxes", k.level[0].boxes);
        for (size_t l = 1; l < heads.size(); ++l) k.level[l].boxes = k.level[0].boxes;
    }
};

template <class T>
struct DecodeAllDistances {
    size_t count;
    DecodeDistances<T> level[kMaxLevels];
};
template <class Device, class T>
void compute(const Device& device, const DecodeAllDistances<T>& all) {
    for (size_t l = 0; l < all.count; ++l) compute(device, all.level[l]);
}

struct Distances {
    static constexpr std::string_view name = "decode_distances";
    std::vector<BoxLevel> levels;
    std::vector<Shape> scores;
    size_t rows;
    float threshold;
    void bind(auto& k, auto& slot) const {
        k.count = scores.size();
        size_t first_row = 0;
        for (size_t l = 0; l < scores.size(); ++l) {
            auto& level = k.level[l];
            level.n = scores[l][0], level.h = scores[l][1], level.w = scores[l][2], level.classes = scores[l][3];
            level.stride = levels[l].stride, level.mirror = levels[l].mirror, level.threshold = threshold;
            level.first_row = first_row, level.rows = rows;
            first_row += level.h * level.w;
            slot.in("box", l, level.box), slot.in("score", l, level.score);
        }
        slot.out("boxes", k.level[0].boxes);
        for (size_t l = 1; l < scores.size(); ++l) k.level[l].boxes = k.level[0].boxes;
    }
};

struct Select {
    static constexpr std::string_view name = "select_boxes";
    Shape boxes;
    SelectBoxesOptions o;
    void bind(auto& k, auto& slot) const {
        k.n = boxes[0], k.rows = boxes[1], k.classes = boxes[2] - 5;
        k.threshold = o.threshold, k.iou_threshold = o.iou_threshold, k.max_detections = o.max_detections;
        slot.in("boxes", k.boxes);
        slot.out("detections", k.detections), slot.out("count", k.count);
    }
};

}  // namespace

Value decode_boxes(Values heads, std::span<const BoxLevel> levels, size_t classes) {
    require(!heads.empty() && heads.size() == levels.size() && heads.size() <= kMaxLevels,
            "decode_boxes: {} heads, {} levels; up to {} are possible", heads.size(), levels.size(), kMaxLevels);
    size_t rows = 0;
    std::vector<Shape> shapes;
    NamedValues in;
    for (Value head : heads) {
        const Shape& s = head.shape();
        require(s.size() == 4 && s[0] == heads[0].shape()[0] && s[3] == 3 * (5 + classes),
                "decode_boxes: a head has shape {}; {} classes and three anchors need {} channels", to_string(s),
                classes, 3 * (5 + classes));
        in[fmt::format("head{}", shapes.size())] = head;
        shapes.push_back(s);
        rows += 3 * s[1] * s[2];
    }
    const Shape boxes{shapes[0][0], rows, 5 + classes};
    return add_node<DecodeAll>(Decode{{levels.begin(), levels.end()}, shapes, classes, rows}, in,
                               {{"boxes", boxes, DType::f32}})["boxes"];
}

Value decode_distances(Values boxes, Values scores, std::span<const BoxLevel> levels, float threshold) {
    require(!scores.empty() && boxes.size() == scores.size() && scores.size() == levels.size() &&
                scores.size() <= kMaxLevels && threshold >= 0,
            "decode_distances: {} heads for boxes, {} for scores, {} levels", boxes.size(), scores.size(),
            levels.size());
    size_t rows = 0;
    std::vector<Shape> shapes;
    NamedValues in;
    for (size_t l = 0; l < scores.size(); ++l) {
        const Shape& s = scores[l].shape();
        require(s.size() == 4 && s[0] == scores[0].shape()[0] && s[3] == scores[0].shape()[3] &&
                    boxes[l].shape() == Shape{s[0], s[1], s[2], 4 * kDistanceBins},
                "decode_distances: level {} has boxes {} and scores {}", l, to_string(boxes[l].shape()), to_string(s));
        in[fmt::format("box{}", l)] = boxes[l], in[fmt::format("score{}", l)] = scores[l];
        shapes.push_back(s);
        rows += s[1] * s[2];
    }
    const Shape result{shapes[0][0], rows, 5 + shapes[0][3]};
    return add_node<DecodeAllDistances>(Distances{{levels.begin(), levels.end()}, shapes, rows, threshold}, in,
                                        {{"boxes", result, DType::f32}})["boxes"];
}

SelectedBoxes select_boxes(Value boxes, const SelectBoxesOptions& o) {
    const Shape& s = boxes.shape();
    require(s.size() == 3 && s[2] > 5 && boxes.dtype() == DType::f32, "select_boxes: boxes have shape {} and type {}",
            to_string(s), to_string(boxes.dtype()));
    require(o.threshold >= 0 && o.max_detections > 0, "select_boxes: threshold {}, at most {}", o.threshold,
            o.max_detections);
    NamedValues out =
        add_node<SelectBoxes>(Select{s, o}, {{"boxes", boxes}},
                              {{"detections", {s[0], o.max_detections, 6}, DType::f32}, {"count", {s[0]}, DType::i32}});
    return {out["detections"], out["count"]};
}
