#include "predict/detector.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

Detector::Detector(Device& device, const DetectorModel& model, const DetectorOptions& options, Arena* arena)
    : device_(device),
      network_(model.network()),
      options_(options),
      own_arena_(device),
      arena_(arena ? *arena : own_arena_) {
    require((options.precision == DType::i8) == !network_.int8.empty(), "{}: is {}quantized, asked to run in {}",
            model.file_name, network_.int8.empty() ? "not " : "", precision_name(options.precision));
    Graph declarations(traced_type(options.precision));
    const size_t side = network_.stride;
    channels_ = device.image_channels(options.precision);
    network_.trace(declarations.input("x", {1, side, side, channels_}, declarations.compute));
    if (options.precision == DType::i8) use_int8(declarations, network_.int8);
    parameters_ = std::make_unique<Parameters>(device, declarations);
    if (!device.facts().host_memory) make_room_for_planes(kPlanesAlignment);
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
    auto graph = std::make_unique<Graph>(traced_type(options_.precision));
    Trace t{.h = h, .w = w, .images = graph->input("images", {n, h, w, 3}, DType::u8), .places = {}, .program = {}};
    Value images = t.images;
    if (planes_.data()) {
        t.places = graph->input("places", {n, sizeof(CameraPlace) / sizeof(int32_t)}, DType::i32);
        images =
            camera_batch(images, graph->external("planes", {planes_.bytes()}, DType::u8, planes_.data()), t.places);
    }
    const Value color = graph->input("color", {n, 2}, DType::f32);
    const std::vector<Pass> passes = detector_passes(h, w, network_, options_.augmented);
    std::vector<Value> transforms, heads, scores;
    std::vector<BoxLevel> levels;
    for (const Pass& pass : passes) {
        transforms.push_back(graph->input("transform", {n, 6}, DType::f32));
        const Value x = image_batch(images, transforms.back(), color,
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
    const Value decoded = network_.anchors ? decode_boxes(heads, levels, network_.classes)
                                           : decode_distances(heads, scores, levels, options_.threshold);
    const SelectedBoxes boxes = select_boxes(decoded, {.threshold = options_.threshold,
                                                       .iou_threshold = options_.iou_threshold,
                                                       .max_detections = options_.max_boxes});
    if (options_.precision == DType::i8) use_int8(*graph, network_.int8);
    t.program =
        std::make_shared<Program>(arena_, std::move(graph), *parameters_, std::array{boxes.detections, boxes.count},
                                  ProgramOptions{.batch = n, .after_step = options_.after_step});
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

// Programs hold the address of the planes, so all are traced again; images of one camera never come here twice.
void Detector::make_room_for_planes(size_t bytes) {
    if (bytes <= planes_.bytes()) return;
    traces_.clear();
    planes_ = Buffer();
    planes_ = Buffer(device_, bytes + bytes / 4);
    device_.reserve_staging(planes_.data(), planes_.bytes());
}

std::vector<DetectorImage> Detector::images_of(std::span<const uint8_t> pixels, size_t h, size_t w) {
    const size_t bytes = h * w * 3, n = pixels.size() / bytes;
    require(n * bytes == pixels.size(), "detector: {} bytes for images of {} x {}", pixels.size(), h, w);
    std::vector<DetectorImage> images(n);
    for (size_t i = 0; i < n; ++i) images[i].bytes = pixels.subspan(i * bytes, bytes);
    return images;
}

Detector::Started Detector::start(std::span<const DetectorImage> images, size_t h, size_t w) {
    require(!images.empty() && images.size() <= options_.batch, "detector: {} images for a batch of {}", images.size(),
            options_.batch);
    // Pixels fill the first rows of the batch, planes the others, so that each kind is one upload.
    std::vector<Piece> pixels, planes;
    std::vector<CameraPlace> places(options_.batch);
    std::vector<size_t> rows(images.size());
    size_t plane_bytes = 0;
    for (size_t i = 0; i < images.size(); ++i)
        if (images[i].place.h == 0) {
            require(images[i].bytes.size() == h * w * 3, "detector: {} bytes for an image of {} x {}",
                    images[i].bytes.size(), h, w);
            rows[i] = pixels.size();
            pixels.push_back({images[i].bytes.data(), images[i].bytes.size()});
        }
    for (size_t i = 0; i < images.size(); ++i)
        if (images[i].place.h != 0) {
            rows[i] = pixels.size() + planes.size();
            places[rows[i]] = images[i].place;
            places[rows[i]].offset = int32_t(plane_bytes / kPlanesAlignment);
            planes.push_back({images[i].bytes.data(), images[i].bytes.size()});
            plane_bytes += images[i].bytes.size();
        }
    require(planes.empty() || (planes_.data() && plane_bytes % kPlanesAlignment == 0),
            "detector: planes of {} bytes on the device {}", plane_bytes, device_.kind());
    make_room_for_planes(plane_bytes);
    Trace& t = trace(h, w);
    if (!pixels.empty()) t.program->write(t.images, pixels);  // rows beyond them keep other images
    if (!planes.empty()) device_.upload_async(planes_.data(), planes);
    if (t.places) {
        const Piece piece{places.data(), places.size() * sizeof(CameraPlace)};
        t.program->write(t.places, {&piece, 1});
    }
    const size_t run = t.program->start();
    return {t.program, run, std::move(rows)};
}

std::vector<std::vector<Box>> Detector::finish(const Started& started, std::vector<bool>* overflown) {
    const std::span<const std::byte> bytes = started.program->finish(started.run);
    std::vector<float> found(options_.batch * options_.max_boxes * 6);
    std::vector<int32_t> count(options_.batch);
    std::memcpy(found.data(), bytes.data(), found.size() * sizeof(float));
    std::memcpy(count.data(), bytes.data() + found.size() * sizeof(float), count.size() * sizeof(int32_t));
    std::vector<std::vector<Box>> result(started.rows.size());
    if (overflown) overflown->assign(result.size(), false);
    for (size_t i = 0; i < result.size(); ++i) {
        const size_t row = started.rows[i];
        if (count[row] < 0 && overflown) (*overflown)[i] = true;
        if (count[row] < 0 && !overflown)
            fail(Fault::not_finite, "the detector's output is not finite: numbers overflow in the network{}",
                 options_.precision == DType::f32 ? "" : "; use --precision fp32");
        for (int32_t k = 0; k < count[row]; ++k) {
            const float* b = &found[(row * options_.max_boxes + size_t(k)) * 6];
            result[i].push_back({b[0], b[1], b[2], b[3], b[4], int(b[5])});
        }
    }
    return result;
}
