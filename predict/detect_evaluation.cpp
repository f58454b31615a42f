#include "predict/detect_evaluation.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "predict/in_turn.h"

using nlohmann::json;

namespace {

constexpr float kMinWrittenScore = 0.05f;

// From pixels of the frame to shares of the image; boxes are cut at the margins.
FoundBox in_image(const Box& box, const Letterbox& place) {
    const auto share = [](float at, size_t before, size_t inner) {
        return std::clamp((at - float(before)) / float(inner), 0.0f, 1.0f);
    };
    const float x1 = share(box.x1, place.left, place.inner_w), x2 = share(box.x2, place.left, place.inner_w);
    const float y1 = share(box.y1, place.top, place.inner_h), y2 = share(box.y2, place.top, place.inner_h);
    return {uint32_t(box.category), std::min(box.score, 1.0f), x1, y1, x2 - x1, y2 - y1};
}

}  // namespace

FoundBoxes find_boxes(Detector& detector, const Dataset& data, const std::vector<uint32_t>& samples,
                      const LoaderOptions& options, Cache* cache, const std::function<bool(size_t)>& progress) {
    FoundBoxes result;
    if (samples.empty()) return result;
    LoaderOptions in_order = options;
    in_order.batch = detector.options().batch;
    in_order.shuffle = in_order.drop_last = false;
    in_order.epochs = 1;
    in_order.boxes.reset();
    in_order.augment = {};
    in_order.memory = &detector.device().host_memory();
    Loader loader(data, samples, in_order, cache);
    const size_t h = options.fit.h(), w = options.fit.w();
    std::vector<bool> overflown;
    size_t done = 0;
    const auto start = [&](const Batch& batch) {
        return detector.start(Detector::images_of(batch.images, h, w), h, w);
    };
    for_each_batch(loader, detector.device(), start, [&](const Batch& batch, const Detector::Started& started) {
        const auto boxes = detector.finish(started, &overflown);
        for (size_t row = 0; row < batch.labels.size(); ++row) {
            if (batch.samples[row] >= 0) ++done;
            if (batch.labels[row] < 0) continue;  // unreadable, or beyond the end
            result.overflown += overflown[row];
            const Sample& sample = data.samples[size_t(batch.samples[row])];
            const Letterbox place = place_in_frame(sample, options.fit);
            ImageBoxes image{.truth = sample.boxes, .found = {}, .h = sample.h, .w = sample.w};
            for (const Box& box : boxes[row]) image.found.push_back(in_image(box, place));
            result.samples.push_back(uint32_t(batch.samples[row]));
            result.images.push_back(std::move(image));
        }
        return !progress || progress(done);
    });
    result.bad_files = loader.bad_files();
    return result;
}

void write_box_evaluation(const std::filesystem::path& path, const Dataset& data,
                          const std::vector<std::pair<std::string, const FoundBoxes*>>& parts) {
    json content = {{"task", "detect"}, {"classes", data.classes}, {"parts", json::object()}};
    for (const auto& [name, part] : parts) {
        if (part->images.empty()) continue;
        json rows = json::array();
        for (size_t i = 0; i < part->images.size(); ++i) {
            const ImageBoxes& p = part->images[i];
            const Sample& sample = data.samples[part->samples[i]];
            json truth = json::array(), found = json::array();
            for (const TrueBox& t : p.truth) truth.push_back({t.category, t.x, t.y, t.w, t.h});
            for (const FoundBox& f : p.found)
                if (f.score >= kMinWrittenScore) found.push_back({f.category, f.x, f.y, f.w, f.h, f.score});
            rows.push_back({{"file", data.path(sample)},
                            {"camera", sample.camera},
                            {"width", p.w},
                            {"height", p.h},
                            {"truth", std::move(truth)},
                            {"found", std::move(found)}});
        }
        content["parts"][name] = {{"metrics", to_json(measure_boxes(part->images, data.classes.size()), data.classes)},
                                  {"pictures", std::move(rows)}};
    }
    write_file_durably(
        path, [&](FileWriter& out) { out.write(content.dump(-1, ' ', false, json::error_handler_t::replace)); });
}
