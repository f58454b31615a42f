#include "predict/evaluation.h"

#include <nlohmann/json.hpp>

#include "base/csv.h"
#include "base/file.h"

using nlohmann::json;

namespace {

json part_json(const Dataset& data, const Predictions& part) {
    json rows = json::array();
    for (const Prediction& p : part.rows) {
        const Sample& sample = data.samples[p.sample];
        rows.push_back({{"file", data.path(sample)},
                        {"label", data.classes[p.label]},
                        {"predicted", data.classes[p.predicted]},
                        {"confidence", p.confidence},
                        {"loss", p.loss},
                        {"camera", sample.camera}});
    }
    return {{"loss", part.mean_loss()},
            {"metrics", to_json(part.metrics(data), data.classes)},
            {"predictions", std::move(rows)}};
}

}  // namespace

void write_evaluation(const std::filesystem::path& path, const Dataset& data,
                      const std::vector<std::pair<std::string, const Predictions*>>& parts, const std::string& input) {
    json content = {{"classes", data.classes}, {"parts", json::object()}};
    if (!input.empty()) content["input"] = input;
    for (const auto& [name, part] : parts)
        if (!part->rows.empty()) content["parts"][name] = part_json(data, *part);
    write_file_durably(
        path, [&](FileWriter& out) { out.write(content.dump(1, ' ', false, json::error_handler_t::replace)); });
}

void write_bad_files(const std::filesystem::path& path, const std::vector<FailedImage>& files) {
    write_file_durably(path, [&](FileWriter& out) {
        out.write("path,code,used,text\n");
        for (const FailedImage& f : files)
            out.write(
                fmt::format("{},{},{},{}\n", csv_field(f.path), f.code, f.used ? "yes" : "no", csv_field(f.text)));
    });
}
