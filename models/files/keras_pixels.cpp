#include "models/files/keras_pixels.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace {

using nlohmann::json;

void collect(const json& value, std::vector<double>& numbers, int depth = 0) {
    if (value.is_number()) numbers.push_back(value.get<double>());
    if (depth > kKerasDepth) return;
    if (value.is_array())
        for (const json& one : value) collect(one, numbers, depth + 1);
    if (value.is_object()) collect(member(member(value, "config"), "value"), numbers, depth + 1);
}

}  // namespace

std::vector<double> keras_numbers(const json& value) {
    std::vector<double> numbers;
    collect(value, numbers);
    return numbers;
}

bool KerasPixels::take(const KerasLayer& l, const StoredVariable& stored) {
    if (l.class_name == "Rescaling")
        affine(keras_numbers(member(l.config, "scale")), keras_numbers(member(l.config, "offset")));
    else if (l.class_name == "Normalization")
        standardize(l, stored);
    else
        return operate(l);
    return true;
}

bool KerasPixels::operate(const KerasLayer& l) {
    const std::string& type = l.class_name;
    const bool keras2 = type == "TFOpLambda" || type == "SlicingOpLambda";
    const json& node = l.inputs.is_array() && l.inputs.size() == 1 ? l.inputs[0] : json();
    std::string operation = keras2 ? text_of(l.config, "function") : type;
    operation = operation.substr(operation.rfind('.') + 1);
    const json& arguments = keras2 ? node : member(node, "args");
    if (!arguments.is_array() || arguments.empty()) return false;
    if (operation == "getitem" || operation == "GetItem") return take_channels(l, arguments, keras2);
    if (operation == "Stack") return stack(l, arguments);
    if (operation == "cast" || operation == "Cast") {  // of bytes to floats; one to bytes would round
        const json& type = member(keras2 && arguments.size() == 4 ? arguments[3] : l.config, "dtype");
        return !used_ || one_line(type).find("int") == std::string::npos;
    }
    // The tensor comes first: 1 - x would be another computation.
    const bool tensor_first =
        keras2 ? arguments[0].is_string() && arguments[0] != "_CONSTANT_VALUE" : arguments[0].is_object();
    std::vector<double> by;
    if (keras2 && arguments.size() == 4)
        by = keras_numbers(member(arguments[3], operation == "bias_add" ? "bias" : "y"));
    else if (!keras2 && arguments.size() == 2 && text_of(arguments[1], "class_name") != "__keras_tensor__")
        by = keras_numbers(arguments[1]);
    if (by.empty() || !tensor_first) return false;
    std::vector<double> other = by;
    if (operation == "truediv" || operation == "TrueDivide" || operation == "Divide") {
        for (double& x : other) x = 1 / x;
        affine(other, {0});
    } else if (operation == "multiply" || operation == "Multiply" || operation == "mul") {
        affine(by, {0});
    } else if (operation == "add" || operation == "Add" || operation == "bias_add") {
        affine({1}, by);
    } else if (operation == "subtract" || operation == "Subtract" || operation == "sub") {
        for (double& x : other) x = -x;
        affine({1}, other);
    } else {
        return false;
    }
    return true;
}

void KerasPixels::standardize(const KerasLayer& l, const StoredVariable& stored) {
    std::vector<double> parts[2];
    for (const int i : {0, 1}) {
        const char* const name = i ? "variance" : "mean";
        parts[i] = keras_numbers(member(l.config, name));
        if (parts[i].empty())
            for (const float x : stored(l, name)) parts[i].push_back(x);
    }
    if (parts[0].empty() || parts[1].empty()) l.refuse("has no mean and variance");
    if (member(l.config, "invert") == json(true)) l.refuse("is inverted");
    if (parts[0].size() != parts[1].size()) l.refuse("has {} means and {} variances", parts[0].size(), parts[1].size());
    for (size_t i = 0; i < parts[0].size(); ++i) {
        parts[1][i] = 1 / std::max(std::sqrt(parts[1][i]), 1e-7);  // as Keras bounds it
        parts[0][i] *= -parts[1][i];
    }
    affine(parts[1], parts[0]);
}

// x[..., i], a channel of which stack() makes pixels again, or x[..., ::-1].
bool KerasPixels::take_channels(const KerasLayer& l, const json& arguments, bool keras2) {
    const json& index = keras2 ? member(arguments.back(), "slice_spec") : arguments.back();
    if (!index.is_array() || index.empty()) return false;
    for (size_t i = 0; i + 1 < index.size(); ++i)
        if (!member(index[i], "start").is_null() || !member(member(index[i], "config"), "start").is_null() ||
            index[i].is_number())
            return false;
    const json& last = index.back();
    if (last.is_number_unsigned() && last.get<size_t>() < 3) {
        channels_[l.name] = last.get<size_t>();
        return true;
    }
    const json& slice = keras2 ? last : member(last, "config");
    if (member(slice, "step") != json(-1) || !member(slice, "start").is_null() || !member(slice, "stop").is_null())
        return false;
    reorder({2, 1, 0});
    return true;
}

bool KerasPixels::stack(const KerasLayer& l, const json& arguments) {
    if (!arguments[0].is_array() || arguments[0].size() != 3 || member(l.config, "axis") != json(-1)) return false;
    std::array<size_t, 3> order{};
    for (size_t c = 0; c < 3; ++c) {
        const json& history = member(member(arguments[0][c], "config"), "keras_history");
        if (!history.is_array() || history.empty() || !history[0].is_string()) return false;
        const auto found = channels_.find(history[0].get<std::string>());
        if (found == channels_.end()) return false;
        order[c] = found->second;
    }
    channels_.clear();
    reorder(order);
    return true;
}

std::string KerasPixels::normalize() const {
    if (!channels_.empty()) throw KerasRefusal{"it computes with single colours of a pixel"};
    if (!used_) return "";
    const bool bgr = from_ == std::array<size_t, 3>{2, 1, 0};
    if (!bgr && from_ != std::array<size_t, 3>{0, 1, 2}) throw KerasRefusal{"it mixes the colours of a pixel"};
    std::array<double, 3> mean, deviation;
    for (size_t c = 0; c < 3; ++c) {
        if (scale_[c] == 0 || !std::isfinite(scale_[c]) || !std::isfinite(shift_[c]))
            throw KerasRefusal{"its arithmetic on pixels leaves nothing of them"};
        mean[c] = 0 - shift_[c] / scale_[c], deviation[c] = 1 / scale_[c];
    }
    return fmt::format("{}{}/{}", bgr ? "bgr:" : "", fmt::join(mean, ","), fmt::join(deviation, ","));
}

void KerasPixels::affine(const std::vector<double>& scale, const std::vector<double>& shift) {
    if ((scale.size() != 1 && scale.size() != 3) || (shift.size() != 1 && shift.size() != 3))
        throw KerasRefusal{"its arithmetic on pixels does not have one number or three"};
    if (!channels_.empty()) throw KerasRefusal{"it computes with single colours of a pixel"};
    used_ = true;
    for (size_t c = 0; c < 3; ++c) {
        const double by = scale[scale.size() == 3 ? c : 0];
        scale_[c] *= by;
        shift_[c] = shift_[c] * by + shift[shift.size() == 3 ? c : 0];
    }
}

void KerasPixels::reorder(const std::array<size_t, 3>& order) {
    used_ = true;
    const KerasPixels before = *this;
    for (size_t c = 0; c < 3; ++c)
        from_[c] = before.from_[order[c]], scale_[c] = before.scale_[order[c]], shift_[c] = before.shift_[order[c]];
}
