#include "app/detect/detection.h"

#include <algorithm>
#include <cmath>
#include <span>

using nlohmann::ordered_json;

namespace {

double six_digits(double value) { return std::round(value * 1e6) / 1e6; }

double cut(double value, double digits) { return std::floor(value * digits) / digits; }

// Center and length in float32, as in the reference, then the start in double.
struct Span {
    double start, length;
};
Span normalized(float from, float to, size_t side) {
    const float middle = (from + to) / 2 / float(side), length = (to - from) / float(side);
    return {cut(double(middle) - double(length) / 2, 1e4), cut(double(length), 1e4)};
}

}  // namespace

std::vector<Box> image_boxes(const std::vector<Box>& boxes, const Letterbox& l, const ImageRegion& region,
                             bool whole_padding) {
    const double gain = std::min(double(l.out_h) / double(region.h), double(l.out_w) / double(region.w));
    struct Axis {
        size_t side, start;
        float pad, gain;
        float pixel(float v) const {
            return std::nearbyint(std::clamp((v - pad) / gain, 0.0f, float(side))) + float(start);
        }
    };
    const auto axis = [&](size_t side, size_t start, size_t frame) {
        const double inner = double(side) * gain;
        if (!whole_padding) return Axis{side, start, float((double(frame) - inner) / 2), float(gain)};
        const double whole = std::nearbyint(inner);
        return Axis{side, start, float(std::nearbyint((double(frame) - whole) / 2 - 0.1)), float(whole / double(side))};
    };
    const Axis x = axis(region.w, region.left, l.out_w), y = axis(region.h, region.top, l.out_h);
    std::vector<Box> result;
    for (const Box& b : boxes)
        result.push_back({x.pixel(b.x1), y.pixel(b.y1), x.pixel(b.x2), y.pixel(b.y2), b.score, b.category});
    return result;
}

std::vector<Detection> detections_of(const std::vector<Box>& boxes, size_t h, size_t w) {
    std::vector<Detection> result;
    for (const Box& b : boxes) {
        const Span x = normalized(b.x1, b.x2, w), y = normalized(b.y1, b.y2, h);
        result.push_back({b.category + 1, cut(double(b.score), 1e3), x.start, y.start, x.length, y.length});
    }
    return result;
}

ClassScores class_scores(const std::vector<float>& probabilities) {
    ClassScores scores;
    for (size_t c = 0; c < probabilities.size(); ++c) scores.emplace_back(uint32_t(c), probabilities[c]);
    std::ranges::stable_sort(scores, std::ranges::greater(), &ClassScores::value_type::second);
    return scores;
}

ordered_json megadetector_entry(const ImageResult& result, const EntryOptions& options) {
    ordered_json entry{{"file", result.file}};
    if (options.size && result.failure.empty()) entry["width"] = result.w, entry["height"] = result.h;
    if (options.date && !result.date.empty()) entry["datetime"] = result.date;
    if (!result.failure.empty()) {
        entry["failure"] = result.failure;
        entry["detections"] = nullptr;
        return entry;
    }
    entry["detections"] = ordered_json::array();
    for (const Detection& d : result.detections) {
        ordered_json box{
            {"category", std::to_string(d.category)}, {"conf", d.confidence}, {"bbox", {d.x, d.y, d.w, d.h}}};
        for (const auto& [number, score] : std::span(d.classes).first(std::min(kTopClasses, d.classes.size())))
            box["classifications"].push_back({std::to_string(number), six_digits(score)});
        entry["detections"].push_back(std::move(box));
    }
    for (size_t c = 0; c < std::min(options.quality.size(), result.quality.size()); ++c)
        entry["quality"][options.quality[c]] = six_digits(result.quality[c]);
    return entry;
}

ordered_json to_json(const ImageResult& result) {
    ordered_json json = megadetector_entry(result, {.size = true, .date = true});
    if (!result.reason.empty()) json["reason"] = result.reason;
    if (result.damaged) json["damaged"] = true;
    if (!result.camera.empty()) json["camera"] = result.camera;
    if (!result.sequence.empty()) json["sequence"] = result.sequence;
    return json;
}

ImageResult result_from_json(const ordered_json& json) {
    ImageResult result{.file = json.at("file")};
    const auto field = [&](const char* key) { return json.contains(key) && !json[key].is_null(); };
    if (field("failure")) result.failure = json["failure"];
    if (field("reason")) result.reason = json["reason"];
    if (field("datetime")) result.date = json["datetime"];
    if (field("width") && field("height")) result.w = json["width"], result.h = json["height"];
    result.damaged = json.value("damaged", false);
    result.camera = json.value("camera", "");
    result.sequence = json.value("sequence", "");
    if (result.failure.empty())
        for (const ordered_json& d : json.at("detections")) {
            const auto box = d.at("bbox").get<std::vector<double>>();
            Detection& detection =
                result.detections.emplace_back(Detection{std::stoi(d.at("category").get<std::string>()), d.at("conf"),
                                                         box.at(0), box.at(1), box.at(2), box.at(3)});
            if (d.contains("classifications"))
                for (const ordered_json& c : d["classifications"])
                    detection.classes.emplace_back(uint32_t(std::stoul(c.at(0).get<std::string>())), c.at(1));
        }
    return result;
}
