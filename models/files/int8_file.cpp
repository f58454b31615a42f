#include "models/files/int8_file.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "models/int8.h"

namespace {

std::string layer_of(std::string_view name) { return std::string(name.substr(0, name.rfind('.'))); }

}  // namespace

void take_int8(WeightFile& file) {
    const nlohmann::json about = parse_foreign(file.metadata.at(kInt8));
    const double format = number_of(about, "format");
    if (!(format >= 1)) fail(Fault::damaged, "{}: its {} cannot be read", file.path, kInt8);
    if (format > kInt8Format)
        fail(Fault::usage, "{}: was quantized by a newer tundra, in format {}; this one reads format {}", file.path,
             format, kInt8Format);
    for (auto entry = file.state.begin(); entry != file.state.end();) {
        const auto next = std::next(entry);
        if (entry->first.ends_with(kWeightScale) || entry->first.ends_with(kRange))
            file.int8.insert(file.state.extract(entry));
        entry = next;
    }
    if (file.int8.empty()) fail(Fault::damaged, "{}: says that it is quantized, and has no scales", file.path);
    for (const StoredTensor& tensor : file.tensors) {
        const bool scaled =
            tensor.name.ends_with(".weight") && file.int8.contains(layer_of(tensor.name) + std::string(kWeightScale));
        if (scaled && tensor.dtype != DType::i8)
            fail(Fault::damaged, "{}: {} is of type {}, and its scales are for I8", file.path, tensor.name,
                 to_string(tensor.dtype));
        if (!scaled && tensor.dtype == DType::i8)
            fail(Fault::damaged, "{}: has no tensor {}{}, which the bytes of {} need", file.path, layer_of(tensor.name),
                 kWeightScale, tensor.name);
    }
}

void join_int8(const WeightFile& file, StateDict& state, Int8Layers& layers, const std::function<Model()>& network) {
    if (file.int8.empty()) return;
    state.insert(file.int8.begin(), file.int8.end());
    try {
        layers = int8_layers(state);
        check_int8(network());
    } catch (const Error& error) {
        fail(Fault::damaged, "{}: {}", file.path, error.what());
    }
}

std::vector<FileTensor> file_tensors(const StateDict& state, std::vector<std::vector<int8_t>>& bytes) {
    std::vector<FileTensor> tensors;
    for (const auto& [name, tensor] : state)
        if (name.ends_with(".weight") && state.contains(layer_of(name) + std::string(kWeightScale))) {
            bytes.emplace_back(tensor.values.begin(), tensor.values.end());
            tensors.push_back({name, DType::i8, tensor.shape, std::as_bytes(std::span(bytes.back()))});
        } else {
            tensors.push_back({name, DType::f32, tensor.shape, std::as_bytes(std::span(tensor.values))});
        }
    return tensors;
}
