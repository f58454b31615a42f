// `tundra import`: turns any weight file into safetensors, so that the original is no longer needed.
#include <fmt/format.h>

#include "app/command.h"
#include "app/terminal.h"
#include "base/file.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "models/files/yolov5_file.h"

namespace {

using nlohmann::json;

// Every tensor under its name; floats as float32, integers as int64.
void write_plain(const std::string& path, const WeightFile& file) {
    std::vector<FileTensor> tensors;
    for (const StoredTensor& t : file.tensors) {
        if (const auto floats = file.state.find(t.name); floats != file.state.end())
            tensors.push_back({t.name, DType::f32, t.shape, std::as_bytes(std::span(floats->second.values))});
        else if (const auto integers = file.integers.find(t.name); integers != file.integers.end())
            tensors.push_back({t.name, DType::i64, t.shape, std::as_bytes(std::span(integers->second))});
    }
    std::map<std::string, std::string> metadata = file.metadata;
    metadata["format"] = "pt";
    if (!file.model.class_names.empty()) metadata["class_names"] = one_line(json(file.model.class_names));
    write_safetensors(path, tensors, metadata);
}

int run(const std::string& from, const std::string& to) {
    check_output("--out", to, {from});
    WeightFile file = read_weights(from);
    const std::string what = file.model.text;
    if (file.model.task == "detect")
        write_yolov5(to, yolov5_model(std::move(file)));
    else
        write_plain(to, file);
    Progress progress(true);
    print_line(progress, fmt::format("{}: {}", to, what));
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto paths = std::make_shared<std::pair<std::string, std::string>>();
    app.add_option("FILE", paths->first, "weight file of PyTorch (.pt, .pth), Keras (.h5) or safetensors")->required();
    app.add_option("-o,--out", paths->second, "safetensors file to write")->required()->type_name("FILE");
    return [paths] { return run(paths->first, paths->second); };
}

}  // namespace

Command import_command() {
    return {.name = "import",
            .summary = "Turn a weight file of PyTorch or Keras into safetensors.",
            .examples = {"tundra import md_v5a.0.0.pt -o megadetector.safetensors"},
            .add = add};
}
