#include "models/detector.h"

namespace {

constexpr size_t kMostTraces = 8;
constexpr float kUnit = 1 / 255.0f;

std::vector<float> repeated(std::initializer_list<float> row, size_t n) {
    std::vector<float> result;
    for (size_t i = 0; i < n; ++i) result.insert(result.end(), row);
    return result;
}

}  // namespace

Detector::Detector(Device& device, const YoloModel& model, const DetectorOptions& options)
    : device_(device), config_(model.config), options_(options), arena_(device) {
    Graph declarations(options.precision);
    const size_t side = config_.largest_stride();
    yolov5(declarations.input("x", {1, side, side, 3}, options.precision), config_);
    parameters_ = std::make_unique<Parameters>(device, declarations);
    load(model.state, model.file_name);
}

void Detector::load(const State& state, const std::string& where) { upload(state, *parameters_, where); }

Detector::Trace& Detector::trace(size_t h, size_t w) {
    for (auto t = traces_.begin(); t != traces_.end(); ++t)
        if (t->h == h && t->w == w) {
            traces_.splice(traces_.begin(), traces_, t);
            return traces_.front();
        }
    if (traces_.size() == kMostTraces) traces_.pop_back();
    const size_t n = options_.batch;
    auto graph = std::make_unique<Graph>(options_.precision);
    Trace t{.h = h,
            .w = w,
            .pictures = graph->input("pictures", {n, h, w, 3}, DType::u8),
            .transform = graph->input("transform", {n, 6}, DType::f32),
            .color = graph->input("color", {n, 2}, DType::f32),
            .boxes = {},
            .program = {}};
    const Value x = image_batch(t.pictures, t.transform, t.color,
                                {.out_h = h, .out_w = w, .normalize = {{kUnit, kUnit, kUnit}, {0, 0, 0}}});
    t.boxes = select_boxes(decode_boxes(yolov5(x, config_), config_.levels, config_.classes),
                           {.threshold = options_.threshold, .overlap = options_.overlap, .most = options_.most});
    t.program = std::make_unique<Program>(arena_, std::move(graph), *parameters_, std::array{t.boxes.detections, t.boxes.count});
    t.program->write<float>(t.transform, repeated({1, 0, 0, 0, 1, 0}, n));
    t.program->write<float>(t.color, repeated({1, 0}, n));
    traces_.push_front(std::move(t));
    return traces_.front();
}

std::vector<std::vector<Box>> Detector::run(std::span<const uint8_t> pictures, size_t h, size_t w) {
    const size_t bytes = h * w * 3, n = pictures.size() / bytes;
    require(n * bytes == pictures.size() && n >= 1 && n <= options_.batch, "detector: {} bytes for at most {} pictures of {} x {}",
            pictures.size(), options_.batch, h, w);
    Trace& t = trace(h, w);
    padded_.assign(pictures.begin(), pictures.end());
    padded_.resize(options_.batch * bytes);
    t.program->write<uint8_t>(t.pictures, padded_);
    t.program->run();
    const std::vector<int32_t> count = t.program->read<int32_t>(t.boxes.count);
    const std::vector<float> found = t.program->read<float>(t.boxes.detections);
    std::vector<std::vector<Box>> result(n);
    for (size_t i = 0; i < n; ++i)
        for (size_t k = 0; k < size_t(count[i]); ++k) {
            const float* b = &found[(i * options_.most + k) * 6];
            result[i].push_back({b[0], b[1], b[2], b[3], b[4], int(b[5])});
        }
    return result;
}
