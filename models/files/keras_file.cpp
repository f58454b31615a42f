#include "models/files/keras_file.h"

#include <cstdio>

#include "models/files/hdf5_file.h"

namespace {

// "layer3.0.conv2", or "" if the name follows neither scheme.
std::string torchvision_name(const std::string& layer, bool old_names) {
    unsigned stage, block, part;
    int end = 0;
    char kind[5];
    if (!old_names) {
        if (layer == "conv1_conv") return "conv1";
        if (layer == "conv1_bn") return "bn1";
        if (std::sscanf(layer.c_str(), "conv%1u_block%3u_%1u_%4[a-z]%n", &stage, &block, &part, kind, &end) < 4)
            return "";
        const bool conv = std::string_view(kind) == "conv";
        if (size_t(end) != layer.size() || stage < 2 || stage > 5 || block < 1 || part > 3) return "";
        if (!conv && std::string_view(kind) != "bn") return "";
        const std::string prefix = fmt::format("layer{}.{}.", stage - 1, block - 1);
        return part == 0 ? fmt::format("{}downsample.{}", prefix, conv ? 0 : 1)
                         : fmt::format("{}{}{}", prefix, conv ? "conv" : "bn", part);
    }
    if (layer == "conv1") return "conv1";
    if (layer == "bn_conv1") return "bn1";
    const bool conv = layer.starts_with("res");
    if (!conv && !layer.starts_with("bn")) return "";
    char letter, branch[3];
    const char* rest = layer.c_str() + (conv ? 3 : 2);
    block = 0;
    // 2a, 3d; the deeper networks count 3b1, 3b2 after 3a.
    if (std::sscanf(rest, "%1u%c_branch%2[12abc]%n", &stage, &letter, branch, &end) == 3) {
        block = unsigned(letter - 'a');
    } else if (std::sscanf(rest, "%1ub%3u_branch%2[12abc]%n", &stage, &block, branch, &end) != 3) {
        return "";
    }
    if (rest[end] != '\0' || stage < 2 || stage > 5 || block > 100) return "";
    const std::string prefix = fmt::format("layer{}.{}.", stage - 1, block);
    if (std::string_view(branch) == "1") return fmt::format("{}downsample.{}", prefix, conv ? 0 : 1);
    if (branch[0] != '2' || branch[1] == '\0') return "";
    return fmt::format("{}{}{}", prefix, conv ? "conv" : "bn", branch[1] - 'a' + 1);
}

// "conv1/conv1_gamma_1:0" -> "gamma": the role of a dataset in its layer.
std::string variable_name(std::string path, const std::string& layer) {
    path = path.substr(path.rfind('/') + 1);
    path = path.substr(0, path.find(':'));
    if (path.starts_with(layer + "_")) path = path.substr(layer.size() + 1);
    const size_t underscore = path.rfind('_');
    if (underscore != path.npos && path.find_first_not_of("0123456789", underscore + 1) == path.npos)
        path.resize(underscore);
    return path;
}

std::string torch_variable(const std::string& variable) {
    if (variable == "kernel" || variable == "W" || variable == "gamma") return "weight";
    if (variable == "bias" || variable == "b" || variable == "beta") return "bias";
    if (variable == "moving_mean" || variable == "running_mean") return "running_mean";
    if (variable == "moving_variance" || variable == "running_std") return "running_var";
    return "";
}

// (rows, columns) -> (columns, rows); a kernel is (h * w, c_in, c_out) -> (c_out, c_in, h * w), two such steps in one.
HostTensor reversed(const FileTensor& tensor) {
    const std::vector<float> from = elements<float>(tensor);
    const Shape& s = tensor.shape;
    const size_t c_out = s.back(), c_in = s[s.size() - 2], kernel = s.size() == 4 ? s[0] * s[1] : 1;
    std::vector<float> to(from.size());
    for (size_t k = 0; k < kernel; ++k)
        for (size_t i = 0; i < c_in; ++i)
            for (size_t o = 0; o < c_out; ++o) to[(o * c_in + i) * kernel + k] = from[(k * c_in + i) * c_out + o];
    return {s.size() == 4 ? Shape{c_out, c_in, s[0], s[1]} : Shape{c_out, c_in}, std::move(to)};
}

}  // namespace

KerasWeights read_keras(const std::filesystem::path& path) {
    const SafetensorsFile file = read_hdf5(path);
    KerasWeights weights;
    // A whole model's file keeps its weights in a folder, beside the optimizer's.
    bool whole = false, keras3 = false;
    for (const FileTensor& tensor : file.tensors()) {
        whole |= tensor.name.starts_with("model_weights/");
        keras3 |= tensor.name.starts_with("layers/") || tensor.name.starts_with("_layer_checkpoint_dependencies/");
        weights.old_names |= tensor.name.find("bn_conv1/") != std::string::npos;
    }
    if (keras3)
        fail(Fault::damaged, "{}: is a Keras 3 weights file (.weights.h5); save it in the older .h5 form",
             path.string());
    std::string head;
    for (const FileTensor& tensor : file.tensors()) {
        std::string name = tensor.name;
        if (whole && !name.starts_with("model_weights/")) continue;
        if (whole) name = name.substr(name.find('/') + 1);
        const std::string layer = name.substr(0, name.find('/'));
        const std::string part = torch_variable(variable_name(name, layer));
        std::string target = torchvision_name(layer, weights.old_names);
        // The last layer has a name chosen by its author.
        const bool dense = tensor.shape.size() == 2 && part == "weight";
        if (target.empty() && (dense || tensor.shape.size() == 1) && (head.empty() || head == layer)) {
            head = layer;
            target = "fc";
        }
        if (target.empty() || part.empty() || tensor.dtype != DType::f32)
            fail(Fault::damaged, "{}: '{}' is not part of a Keras ResNet-50; other Keras models are not supported",
                 path.string(), tensor.name);
        HostTensor value =
            tensor.shape.size() == 4 || dense ? reversed(tensor) : HostTensor{tensor.shape, elements<float>(tensor)};
        if (!weights.state.emplace(target + "." + part, std::move(value)).second)
            fail(Fault::damaged, "{}: '{}' occurs twice", path.string(), tensor.name);
    }
    if (!weights.state.contains("conv1.weight"))
        fail(Fault::damaged, "{}: holds no weights of a Keras ResNet-50", path.string());
    return weights;
}
