#include "models/files/keras_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <set>

#include "base/json.h"
#include "models/files/keras_pixels.h"

namespace {

using nlohmann::json;

bool all_are(const json& value, double wanted) {
    const std::vector<double> numbers = keras_numbers(value);
    return !numbers.empty() && std::ranges::all_of(numbers, [&](double x) { return x == wanted; });
}

// "softmax" of "softmax", {"class_name": "softmax"}, {"config": "softmax"}.
std::string function_name(const json& value) {
    if (value.is_null()) return "linear";
    if (value.is_string()) return value.get<std::string>();
    const std::string inner = text_of(value, "config");
    return inner.empty() ? text_of(value, "class_name") : inner;
}

// The class in the keys of Keras 3; only layers with weights need one.
std::string key_of(const std::string& class_name) {
    if (class_name == "BatchNormalization") return "batch_normalization";
    std::string key = class_name;
    for (char& c : key) c = char(std::tolower(c));
    return key;
}

// The layers of a model and of the models inside it, in the order of the computation.
void flatten(const json& model, const std::string& prefix, int depth, std::string& name,
             std::vector<KerasLayer>& layers) {
    if (depth > kKerasDepth) throw KerasRefusal{"it has models inside models inside models"};
    const json& config = member(model, "config");
    const json& list = config.is_array() ? config : member(config, "layers");  // Keras before 2.2.3: a bare list
    if (!list.is_array()) throw KerasRefusal{"it is a class of its own, " + text_of(model, "class_name")};
    if (const std::string own = text_of(config, "name"); !own.empty()) name += (name.empty() ? "" : " > ") + own;
    std::map<std::string, size_t> used;
    for (const json& one : list) {
        KerasLayer layer;
        layer.class_name = text_of(one, "class_name");
        layer.config = member(one, "config");
        layer.inputs = member(one, "inbound_nodes");
        layer.name = text_of(layer.config, "name");
        if (layer.name.empty()) layer.name = text_of(one, "name");
        const std::string key = key_of(layer.class_name);
        const size_t number = used[key]++;
        layer.key = fmt::format("{}layers/{}{}", prefix, key, number ? fmt::format("_{}", number) : "");
        const std::string& type = layer.class_name;
        if (type == "Functional" || type == "Sequential" || type == "Model")
            flatten(one, layer.key + "/", depth + 1, name, layers);
        else
            layers.push_back(std::move(layer));
    }
}

class Checker {
public:
    Checker(KerasConfig& result, const StoredVariable& stored) : result_(result), stored_(stored) {}

    void layer(const KerasLayer& l) {
        static const std::set<std::string_view> idle = {
            "Dropout",      "SpatialDropout2D", "GaussianNoise",         "GaussianDropout",
            "AlphaDropout", "Identity",         "ActivityRegularization"};
        const std::string& type = l.class_name;
        if (type == "InputLayer") return input(l);
        take_size(l);
        if (type.starts_with("Random") && type != "RandomCrop") return;
        if (idle.contains(type)) return;
        if (convolutions_ == 0 && pixels_.take(l, stored_)) return;
        if (text_of(l.config, "data_format") == "channels_first") l.refuse("has the channels first");
        if (type == "Conv2D" || type == "Convolution2D") return convolution(l);
        if (type == "BatchNormalization") return normalization(l);
        if (type == "ZeroPadding2D") return padding(l);
        if (type == "MaxPooling2D") return max_pooling(l);
        if (type == "Add" || type == "Merge") return void(++additions_);
        if (type == "Activation" || type == "ReLU" || type == "Softmax") return activation(l);
        if (type == "GlobalAveragePooling2D" || type == "AveragePooling2D") return average_pooling(l);
        if (type == "Flatten" && pools_ == 1) return;
        if (type == "Dense") return dense(l);
        if (type == "Lambda") l.refuse("holds Python code");
        l.refuse("is not part of ResNet-50, 101 or 152 of keras.applications with one Dense layer");
    }

    void finish() {
        const size_t blocks = (convolutions_ - std::min<size_t>(convolutions_, 5)) / 3;
        if ((blocks != 16 && blocks != 33 && blocks != 50) || convolutions_ != 3 * blocks + 5 ||
            normalizations_ != convolutions_ || additions_ != blocks || relus_ != 3 * blocks + 1 || max_pools_ != 1)
            throw KerasRefusal{
                fmt::format("its {} convolutions, {} normalizations, {} additions and {} ReLUs are not those of "
                            "ResNet-50, 101 or 152",
                            convolutions_, normalizations_, additions_, relus_)};
        result_.normalize = pixels_.normalize();
    }

private:
    void input(const KerasLayer& l) {
        take_size(l);
        if (inputs_++ && convolutions_) l.refuse("is a second input");
    }

    // The first size that is stated, by an InputLayer or in older files by the first layer.
    void take_size(const KerasLayer& l) {
        for (const char* key : {"batch_shape", "batch_input_shape"}) {
            const json& shape = member(l.config, key);
            if (!shape.is_array() || shape.size() != 4 || result_.image_size) continue;
            if (!shape[1].is_number_unsigned() || !shape[2].is_number_unsigned()) continue;
            if (shape[1] != shape[2])
                l.refuse("takes {} x {} pixels, and tundra's classifiers squares only", shape[2].get<size_t>(),
                         shape[1].get<size_t>());
            result_.image_size = shape[1].get<size_t>();
        }
    }

    std::string own_name(const KerasLayer& l) {
        for (const bool old_names : {false, true})
            if (const std::string name = torchvision_name(l.name, old_names); !name.empty()) return name;
        l.refuse("is not part of ResNet-50, 101 or 152 of keras.applications");
    }

    void convolution(const KerasLayer& l) {
        ++convolutions_;
        const std::string name = own_name(l);
        const bool first_block = name.starts_with("layer") && name.substr(6).starts_with(".0.") && name[5] != '1';
        const bool halves = first_block && (name.ends_with("conv1") || name.ends_with("downsample.0"));
        const json &strides = member(l.config, "strides"), &older = member(l.config, "subsample");
        const json& given = strides.is_null() ? older : strides;
        if (!given.is_null() && !all_are(given, name == "conv1" || halves ? 2 : 1))
            l.refuse("has strides {}, and keras.applications {}", one_line(given), name == "conv1" || halves ? 2 : 1);
        if (const json& rate = member(l.config, "dilation_rate"); !rate.is_null() && !all_are(rate, 1))
            l.refuse("is dilated");
        if (const json& groups = member(l.config, "groups"); !groups.is_null() && !all_are(groups, 1))
            l.refuse("has groups");
        if (function_name(member(l.config, "activation")) != "linear") l.refuse("has an activation");
    }

    void normalization(const KerasLayer& l) {
        ++normalizations_;
        own_name(l);
        const json& epsilon = member(l.config, "epsilon");
        const double value = epsilon.is_number() ? epsilon.get<double>() : 1e-3;
        if (result_.epsilon && result_.epsilon != value) l.refuse("has epsilon {}, others {}", value, result_.epsilon);
        if (!(value > 0 && value < 1)) l.refuse("has epsilon {}", value);
        if (member(l.config, "scale") == json(false) || member(l.config, "center") == json(false))
            l.refuse("has no scale or no offset");
        result_.epsilon = value;
    }

    void padding(const KerasLayer& l) {
        const json& given = member(l.config, "padding");
        const double wanted = convolutions_ == 0 ? 3 : 1;
        if (!all_are(given, wanted) || convolutions_ > 1) l.refuse("pads by {}", one_line(given));
        pool_padded_ |= convolutions_ == 1;
    }

    void max_pooling(const KerasLayer& l) {
        ++max_pools_;
        const json& strides = member(l.config, "strides");
        if (!all_are(member(l.config, "pool_size"), 3) || !all_are(strides, 2) || !pool_padded_)
            l.refuse(
                "is not the one of today's keras.applications, which pads by 1, then takes 3 x 3 with strides of 2; "
                "Keras before 2.2 had no padding there");
    }

    void average_pooling(const KerasLayer& l) {
        const size_t side = (result_.image_size ? result_.image_size : 224) / 32;
        if (l.class_name == "AveragePooling2D" && !all_are(member(l.config, "pool_size"), double(side)))
            l.refuse("does not pool the whole image");
        if (++pools_ > 1) l.refuse("is the second one of its kind");
    }

    void dense(const KerasLayer& l) {
        if (pools_ != 1) l.refuse("comes without global average pooling before it");
        if (!result_.head.empty())
            l.refuse("is a second Dense layer, after '{}'; tundra's networks have one", result_.head);
        result_.head = l.name;
        result_.activation = "linear";
        output(l, function_name(member(l.config, "activation")));
    }

    void activation(const KerasLayer& l) {
        const std::string name = l.class_name == "ReLU"      ? "relu"
                                 : l.class_name == "Softmax" ? "softmax"
                                                             : function_name(member(l.config, "activation"));
        if (l.class_name == "ReLU")
            for (const char* key : {"max_value", "negative_slope", "threshold"})
                if (const json& value = member(l.config, key); value.is_number() && value != json(0.0))
                    l.refuse("has {} = {}", key, one_line(value));
        if (!result_.head.empty()) return output(l, name);
        if (name != "relu" || pools_) l.refuse("is '{}' where a ResNet has {}", name, pools_ ? "none" : "relu");
        ++relus_;
    }

    void output(const KerasLayer& l, const std::string& name) {
        if (name != "softmax" && name != "sigmoid" && name != "linear")
            l.refuse("ends the network with '{}', and tundra knows softmax, and sigmoid for one output", name);
        if (name == "linear") return;
        if (result_.activation != "linear") l.refuse("follows '{}'", result_.activation);
        result_.activation = name;
    }

    KerasConfig& result_;
    const StoredVariable& stored_;
    KerasPixels pixels_;
    size_t inputs_ = 0, convolutions_ = 0, normalizations_ = 0, additions_ = 0, relus_ = 0, max_pools_ = 0, pools_ = 0;
    bool pool_padded_ = false;
};

}  // namespace

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

KerasConfig read_keras_config(const std::string& text, const StoredVariable& stored) {
    KerasConfig result;
    std::vector<KerasLayer> layers;
    try {
        constexpr size_t limit = size_t(16) << 20;  // a hundred times what a ResNet-152 takes
        if (text.size() > limit) throw KerasRefusal{fmt::format("its architecture has {} bytes", text.size())};
        const json model = parse_foreign(text);
        if (!model.is_object()) throw KerasRefusal{"its architecture is not JSON"};
        flatten(model, "", 0, result.name, layers);
        Checker checker(result, stored);
        for (const KerasLayer& layer : layers) checker.layer(layer);
        checker.finish();
    } catch (const KerasRefusal& refusal) {
        result.refusal = refusal.text;
    }
    result.layers = std::move(layers);
    return result;
}
