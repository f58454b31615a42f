// decode_boxes and select_boxes: from the heads of a detector to boxes.
#include "kernels/detect.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

template <class T>
struct DecodeAll {
    std::vector<DecodeBoxes<T>> levels;
};
template <class Device, class T>
void compute(const Device& device, const DecodeAll<T>& all) {
    for (const DecodeBoxes<T>& level : all.levels) compute(device, level);
}

struct Decode final : KernelOp<Decode> {
    std::vector<BoxLevel> levels;
    size_t classes;
    Decode(std::span<const BoxLevel> levels, size_t classes) : levels(levels.begin(), levels.end()), classes(classes) {}
    std::string_view name() const override { return "decode_boxes"; }
    template <class T>
    DecodeAll<T> call(Tensors in, Tensors out) const {
        DecodeAll<T> all;
        size_t first_row = 0;
        for (size_t i = 0; i < in.size(); ++i) {
            const Shape& s = in[i].shape;
            const auto& a = levels[i].anchors;
            all.levels.push_back({.n = s[0],
                                  .h = s[1],
                                  .w = s[2],
                                  .classes = classes,
                                  .stride = levels[i].stride,
                                  .anchors = {{a[0][0], a[0][1]}, {a[1][0], a[1][1]}, {a[2][0], a[2][1]}},
                                  .mirror = levels[i].mirror,
                                  .first_row = first_row,
                                  .rows = out[0].shape[1],
                                  .head = in[i].as<T>(),
                                  .boxes = out[0].as<float>()});
            first_row += 3 * s[1] * s[2];
        }
        return all;
    }
};

struct Select final : FloatOp<Select> {
    SelectBoxesOptions o;
    explicit Select(const SelectBoxesOptions& o) : o(o) {}
    std::string_view name() const override { return "select_boxes"; }
    SelectBoxes call(Tensors in, Tensors out) const {
        const Shape& s = in[0].shape;
        return {.n = s[0],
                .rows = s[1],
                .classes = s[2] - 5,
                .threshold = o.threshold,
                .iou_threshold = o.overlap,
                .max_detections = o.most,
                .boxes = in[0].as<float>(),
                .detections = out[0].as<float>(),
                .count = out[1].as<int32_t>()};
    }
};

}  // namespace

Value decode_boxes(Values heads, std::span<const BoxLevel> levels, size_t classes) {
    require(!heads.empty() && heads.size() == levels.size(), "decode_boxes: {} heads, {} levels", heads.size(),
            levels.size());
    size_t rows = 0;
    for (Value head : heads) {
        const Shape& s = head.shape();
        require(s.size() == 4 && s[0] == heads[0].shape()[0] && s[3] == 3 * (5 + classes),
                "decode_boxes: a head has shape {}; {} classes and three anchors need {} channels", text(s), classes,
                3 * (5 + classes));
        rows += 3 * s[1] * s[2];
    }
    return heads[0].graph->add_node(std::make_shared<const Decode>(levels, classes), heads,
                                    {{{heads[0].shape()[0], rows, 5 + classes}, DType::f32}})[0];
}

SelectedBoxes select_boxes(Value boxes, const SelectBoxesOptions& o) {
    const Shape& s = boxes.shape();
    require(s.size() == 3 && s[2] > 5 && boxes.dtype() == DType::f32, "select_boxes: boxes have shape {} and type {}",
            text(s), name(boxes.dtype()));
    require(o.threshold >= 0 && o.most > 0, "select_boxes: threshold {}, at most {}", o.threshold, o.most);
    const auto out = boxes.graph->add(Select(o), {boxes}, {{{s[0], o.most, 6}, DType::f32}, {{s[0]}, DType::i32}});
    return {out[0], out[1]};
}
