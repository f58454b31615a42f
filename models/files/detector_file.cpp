#include "models/files/detector_file.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/json.h"
#include "base/safetensors.h"
#include "base/text.h"
#include "kernels/detect.h"
#include "models/files/anchor_free_file.h"
#include "models/files/int8_file.h"
#include "models/files/yolov5_file.h"
#include "models/int8.h"

namespace {

using nlohmann::json;

constexpr std::string_view kVariance = ".bn.running_var";

// What MegaDetector publishes for the release in the file's name, else its general thresholds.
void take_release_by_name(DetectorModel& model) {
    const std::string name = lower(model.file_name);
    const bool a_or_b = name.find("v5a") != name.npos || name.find("v5b") != name.npos;
    if (a_or_b) model.conservative_threshold = 0.05, model.size_note.clear();
    if (name.find("redwood") != name.npos) model.typical_threshold = 0.3;
}

// megadetector_info.json, null if the file has none.
json info_of(const WeightFile& file) {
    const auto found = file.metadata.find("megadetector_info.json");
    if (found == file.metadata.end()) return {};
    const json info = parse_foreign(found->second);
    if (!info.is_object())
        fail(Fault::damaged, "{}: its megadetector_info.json is not a JSON object; download the file again", file.path);
    return info;
}

void take_metadata(const WeightFile& file, DetectorModel& model) {
    const bool five = file.model.text.starts_with("YOLOv5");
    size_t trained = 0;  // by the settings of ultralytics, of YOLOv9's authors and of YOLOv5
    for (const char* key : {"args.imgsz", "opt.imgsz", "train_args.imgsz"})
        if (const auto said = file.metadata.find(key); said != file.metadata.end())
            for (const char* text = said->second.c_str(); *text; ++text)  // of several sides the longest
                if (char* end = nullptr; *text >= '0' && *text <= '9')
                    trained = std::max<size_t>(trained, std::strtoul(text, &end, 10)), text = end - 1;
    if (trained && !five) model.image_size = trained;
    if (five || !trained)
        model.size_note = fmt::format(
            "states no image size and runs at {} pixels, as in MegaDetector{}; `tundra detect --image-size N` sets "
            "another",
            model.image_size, trained ? fmt::format(" (it was trained at {})", trained) : "");
    take_release_by_name(model);
    const json info = info_of(file);
    const auto number = [&](const char* key, double least, double most) -> std::optional<double> {
        const auto found = info.find(key);
        if (found == info.end() || found->is_null()) return {};
        if (found->is_number() && *found >= least && *found <= most) return found->get<double>();
        fail(Fault::damaged, "{}: its megadetector_info.json states {} = {}, not a number from {} to {}", file.path,
             key, shortened(one_line(*found), 100), least, most);
    };
    if (const auto size = number("image_size", 64, 8192)) model.image_size = size_t(*size), model.size_note.clear();
    model.typical_threshold = number("typical_detection_threshold", 0, 1).value_or(model.typical_threshold);
    model.conservative_threshold =
        number("conservative_detection_threshold", 0, 1).value_or(model.conservative_threshold);
    model.whole_padding = text_of(info, "model_type") == "ultralytics";
    model.version = text_of(info, "megadetector_version");
    if (model.version.empty()) model.version = text_of(info, "model_version_string");
    if (model.image_size < 64 || model.image_size > 8192)
        fail(Fault::damaged, "{}: states an image size of {}", file.path, model.image_size);
}

DetectorModel model_as_it_is(WeightFile file) {
    if (file.model.task != "detect")
        fail(Fault::usage, "{}: holds {}; this command takes a detector such as a MegaDetector", file.path,
             file.model.text);
    if (file.model.classes > 256)
        fail(Fault::usage, "{}: has {} classes; at most 256 are possible", file.path, file.model.classes);
    for (const std::string& number : bad_numbers(file.state))
        fail(Fault::damaged, "{}: {}; download or train the weights again", file.path, number);
    DetectorModel model{.file_name = std::filesystem::path(file.path).filename().string(),
                        .classes = file.model.class_names,
                        .notes = std::move(file.notes)};
    for (size_t i = model.classes.size(); i < file.model.classes; ++i)
        model.classes.push_back(fmt::format("class {}", i));
    take_metadata(file, model);
    if (const auto check = file.metadata.find(kBf16Check); check != file.metadata.end())
        model.bf16_check = check->second;
    if (file.model.text.starts_with("YOLOv5")) {
        model.config = read_yolov5(file);
        model.state = std::move(file.state);
    } else {
        AnchorFreeWeights weights = read_anchor_free(file);
        model.others = std::move(weights.config);
        model.state = std::move(weights.state);
        model.whole_padding |= weights.ultralytics;
    }
    join_int8(file, model.state, model.int8, [&] { return model.network(); });
    if (const auto report = file.metadata.find(kInt8); report != file.metadata.end())
        model.int8_report = report->second;
    return model;
}

}  // namespace

Model DetectorModel::network() const {
    Model model = others ? make_model(*others) : make_model(config);
    model.int8 = int8;
    return model;
}

// MegaDetector pads by multiples of 64 if the model's image size is 1280, whatever size it is run at, and of 32
// otherwise; the network may need 64 in either case.
size_t DetectorModel::letterbox_stride() const {
    return std::max<size_t>(image_size == 1280 ? 64 : 32, network().stride);
}

DetectorModel detector_model(WeightFile file) { return folded(model_as_it_is(std::move(file))); }
DetectorModel read_detector(const std::filesystem::path& path) { return detector_model(read_weights(path)); }

DetectorModel read_detector_unfolded(const std::filesystem::path& path) {
    DetectorModel model = model_as_it_is(read_weights(path));
    if (model.others)
        fail(Fault::usage, "{}: is a {}, which can only detect; training starts from a YOLOv5", path.string(),
             model.others->family);
    if (!model.state.contains("model.0" + std::string(kVariance)))
        fail(Fault::usage,
             "{}: its normalization is folded into the weights, so it can only detect; train from the original file",
             path.string());
    return model;
}

DetectorModel folded(DetectorModel model) {
    if (model.others) return model;  // was folded as it was read
    Folding folding{.eps = model.config.epsilon};
    for (const auto& [name, values] : model.state)
        if (name.ends_with(kVariance)) {
            const std::string layer = name.substr(0, name.size() - kVariance.size());
            folding.conv_bn.emplace_back(layer + ".conv", layer + ".bn");
        }
    model.state = fold_batch_norm(std::move(model.state), folding);
    return model;
}

DetectorModel random_detector(Device& device, const std::string& name) {
    DetectorModel model{.file_name = "random " + name, .classes = {"animal", "person", "vehicle"}};
    if (name.starts_with("yolov5"))
        model.config = yolov5_config(name, model.classes.size());
    else
        model.others = anchor_free_config(name, model.classes.size());
    const Model network = model.network();
    Graph graph;
    network.trace(graph.input("x", {1, network.stride, network.stride, 3}, DType::f32));
    Parameters parameters(device, graph);
    initialize(parameters, 1);
    model.state = download(parameters);
    for (auto& [key, tensor] : model.state)
        if (key.find(".cv3.") != key.npos && key.ends_with(".2.bias"))
            std::ranges::fill(tensor.values.mutable_data(), -6.0f);
    return model;
}

void write_detector(const std::filesystem::path& path, const DetectorModel& model) {
    std::vector<std::vector<int8_t>> bytes;
    std::vector<FileTensor> tensors = file_tensors(model.state, bytes);
    json info = {{"typical_detection_threshold", model.typical_threshold},
                 {"conservative_detection_threshold", model.conservative_threshold},
                 {"model_type", model.whole_padding ? "ultralytics"
                                : model.others      ? "yolov9"
                                                    : "yolov5"}};
    if (model.size_note.empty()) info["image_size"] = model.image_size;
    if (!model.version.empty()) info["megadetector_version"] = model.version;
    std::vector<float> bins(kDistanceBins);  // by which this and other programs know such a network
    std::iota(bins.begin(), bins.end(), 0.0f);
    if (model.others)
        tensors.push_back({fmt::format("model.{}.dfl.conv.weight", model.others->family == "YOLO11" ? 23 : 22),
                           DType::f32,
                           {1, kDistanceBins, 1, 1},
                           std::as_bytes(std::span(bins))});
    std::map<std::string, std::string> metadata = model.more;
    metadata["format"] = "pt";
    metadata["tundra.model"] = model.others ? lower(std::string(model.others->family)) : "yolov5";
    metadata["class_names"] = one_line(json(model.classes));
    metadata["megadetector_info.json"] = one_line(info);
    if (model.others) {
        if (model.others->plain_pool) metadata["tundra.plain_pool"] = "1";
    } else {
        metadata["tundra.pool"] = std::to_string(model.config.pool);
        metadata["batch_norm_epsilon"] = fmt::format("{}", model.config.epsilon);
        if (model.config.pool_first) metadata["tundra.pool_first"] = "1";
    }
    if (!model.bf16_check.empty()) metadata[kBf16Check] = model.bf16_check;
    if (!model.int8_report.empty()) metadata[kInt8] = model.int8_report;
    write_safetensors(path, tensors, metadata);
}
