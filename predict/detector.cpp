#include "predict/detector.h"

#include <algorithm>
#include <cmath>

namespace {

constexpr size_t kMaxTraces = 8;
constexpr float kUnit = 1 / 255.0f;
constexpr float kGrey = 0.447f * 255;  // beside reduced images

std::vector<float> repeated(std::initializer_list<float> row, size_t n) {
    std::vector<float> result;
    for (size_t i = 0; i < n; ++i) result.insert(result.end(), row);
    return result;
}

// Boxes of a pass, in pixels of the whole image.
BoxLevel level_of(const Pass& pass, BoxLevel level, size_t w) {
    level.stride /= pass.scale;
    for (auto& anchor : level.anchors)
        for (float& side : anchor) side /= pass.scale;
    if (pass.mirrored) level.mirror = float(w);
    return level;
}

}  // namespace

std::vector<Pass> detector_passes(size_t h, size_t w, const Model& network, bool augmented) {
    const size_t stride = network.stride, levels = network.levels.size();
    const auto pass = [&](double scale, bool mirrored, size_t first, size_t last) {
        const auto frame = [&](size_t side) {
            return size_t(std::ceil(double(side) * scale / double(stride))) * stride;
        };
        return Pass{float(scale), mirrored, size_t(double(h) * scale), size_t(double(w) * scale), frame(h), frame(w),
                    first,        last};
    };
    if (!augmented) return {pass(1, false, 0, levels)};
    return {pass(1, false, 0, levels - 1), pass(0.83, true, 0, levels), pass(0.67, false, 1, levels)};
}

Detector::Detector(Device& device, const YoloModel& model, const DetectorOptions& options, Arena* arena)
    : network_(model.network()), options_(options), own_arena_(device), arena_(arena ? *arena : own_arena_) {
    Graph declarations(options.precision);
    const size_t side = network_.stride;
    channels_ = device.image_channels(options.precision);
    network_.trace(declarations.input("x", {1, side, side, channels_}, options.precision));
    parameters_ = std::make_unique<Parameters>(device, declarations);
    load(model.state, model.file_name);
}

void Detector::load(const StateDict& state, const std::string& where) {
    for (const std::string& number : bad_numbers(state))  // NaN scores are never candidates: every image would be empty
        fail(Fault::damaged, "{}: {}; download or train the weights again", where, number);
    upload(state, *parameters_, where);
}

Detector::Trace& Detector::trace(size_t h, size_t w) {
    for (auto t = traces_.begin(); t != traces_.end(); ++t)
        if (t->h == h && t->w == w) {
            traces_.splice(traces_.begin(), traces_, t);
            return traces_.front();
        }
    if (traces_.size() == kMaxTraces) traces_.pop_back();
    const size_t n = options_.batch;
    auto graph = std::make_unique<Graph>(options_.precision);
    Trace t{.h = h, .w = w, .images = graph->input("images", {n, h, w, 3}, DType::u8), .boxes = {}, .program = {}};
    const Value color = graph->input("color", {n, 2}, DType::f32);
    const std::vector<Pass> passes = detector_passes(h, w, network_, options_.augmented);
    std::vector<Value> transforms, heads, scores;
    std::vector<BoxLevel> levels;
    for (const Pass& pass : passes) {
        transforms.push_back(graph->input("transform", {n, 6}, DType::f32));
        const Value x = image_batch(t.images, transforms.back(), color,
                                    {.out_h = pass.out_h,
                                     .out_w = pass.out_w,
                                     .out_channels = channels_,
                                     .normalize = {{kUnit, kUnit, kUnit}, {0, 0, 0}},
                                     .inner_h = pass.inner_h,
                                     .inner_w = pass.inner_w,
                                     .grey = kGrey});
        const std::vector<Value> outputs = network_.trace(x);
        for (size_t i = pass.first_level; i < pass.last_level; ++i) {
            heads.push_back(outputs[i]);
            if (!network_.anchors) scores.push_back(outputs[network_.levels.size() + i]);
            levels.push_back(level_of(pass, network_.levels[i], w));
        }
    }
    const Value boxes = network_.anchors ? decode_boxes(heads, levels, network_.classes)
                                         : decode_distances(heads, scores, levels, options_.threshold);
    t.boxes = select_boxes(boxes, {.threshold = options_.threshold,
                                   .iou_threshold = options_.iou_threshold,
                                   .max_detections = options_.max_boxes});
    t.program = std::make_unique<Program>(arena_, std::move(graph), *parameters_,
                                          std::array{t.boxes.detections, t.boxes.count}, ProgramOptions{.batch = n});
    for (size_t i = 0; i < passes.size(); ++i) {
        const float across = float(w) / float(passes[i].inner_w), down = float(h) / float(passes[i].inner_h);
        const bool mirrored = passes[i].mirrored;
        t.program->write<float>(transforms[i],
                                repeated({mirrored ? -across : across, 0, mirrored ? float(w) : 0, 0, down, 0}, n));
    }
    t.program->write<float>(color, repeated({1, 0}, n));
    traces_.push_front(std::move(t));
    return traces_.front();
}

std::vector<std::vector<Box>> Detector::run(std::span<const uint8_t> images, size_t h, size_t w,
                                            std::vector<bool>* overflown) {
    const size_t bytes = h * w * 3, n = images.size() / bytes;
    require(n * bytes == images.size() && n >= 1 && n <= options_.batch,
            "detector: {} bytes for at most {} images of {} x {}", images.size(), options_.batch, h, w);
    Trace& t = trace(h, w);
    padded_.assign(images.begin(), images.end());
    padded_.resize(options_.batch * bytes);
    t.program->write<uint8_t>(t.images, padded_);
    t.program->run();
    const std::vector<int32_t> count = t.program->read<int32_t>(t.boxes.count);
    const std::vector<float> found = t.program->read<float>(t.boxes.detections);
    std::vector<std::vector<Box>> result(n);
    if (overflown) overflown->assign(n, false);
    for (size_t i = 0; i < n; ++i) {
        if (count[i] < 0 && overflown) (*overflown)[i] = true;
        if (count[i] < 0 && !overflown)
            fail(Fault::not_finite, "the detector's output is not finite: numbers overflow in the network{}",
                 options_.precision == DType::f32 ? "" : "; use --precision fp32");
        for (int32_t k = 0; k < count[i]; ++k) {
            const float* b = &found[(i * options_.max_boxes + size_t(k)) * 6];
            result[i].push_back({b[0], b[1], b[2], b[3], b[4], int(b[5])});
        }
    }
    return result;
}
