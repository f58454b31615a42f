#include "models/state.h"

#include <cmath>

#include "kernels/conv_cpu.h"

namespace {

// (a, b, c) -> (a, c, b): the move of c_in between the two layouts.
std::vector<float> swap_last_two(const std::vector<float>& values, size_t a, size_t b, size_t c) {
    if (b == 1 || c == 1) return values;
    std::vector<float> result(values.size());
    for (size_t i = 0; i < a; ++i)
        for (size_t j = 0; j < b; ++j)
            for (size_t k = 0; k < c; ++k) result[(i * c + k) * b + j] = values[(i * b + j) * c + k];
    return result;
}

// A file's weight in the layout of Parameters, padded with zeros to the network's input channels.
std::vector<float> network_layout(const HostTensor& t, const Shape& shape) {
    const size_t c_in = t.shape[1], kernel = shape[1] * shape[2];
    const std::vector<float> dense = swap_last_two(t.values, shape[0], c_in, kernel);
    if (c_in == shape[3]) return dense;
    std::vector<float> padded(count(shape));
    for (size_t row = 0; row < shape[0] * kernel; ++row) std::copy_n(&dense[row * c_in], c_in, &padded[row * shape[3]]);
    return padded;
}

}  // namespace

State download(const Parameters& parameters) {
    return download(parameters, [&](const Parameters::Entry& e) { return parameters.get(e.name); });
}

State download(const Parameters& parameters, const std::function<std::vector<float>(const Parameters::Entry&)>& values_of) {
    State state;
    for (const Parameters::Entry& e : parameters.entries()) {
        std::vector<float> values = values_of(e);
        Shape shape = e.shape;
        if (shape.size() == 4) {
            const size_t kernel = shape[1] * shape[2], c_in = shape[3] - e.declaration.padding;
            if (c_in != shape[3]) {
                for (size_t row = 0; row < shape[0] * kernel; ++row)
                    std::copy_n(values.begin() + ptrdiff_t(row * shape[3]), c_in, values.begin() + ptrdiff_t(row * c_in));
                values.resize(shape[0] * kernel * c_in);
            }
            values = swap_last_two(values, shape[0], kernel, c_in);
            shape = {shape[0], c_in, shape[1], shape[2]};
        }
        state[e.name] = {shape, std::move(values)};
    }
    return state;
}

void upload(const State& state, Parameters& parameters, const std::string& where) {
    forget_constant_weights();
    for (const Parameters::Entry& e : parameters.entries()) {
        const auto found = state.find(e.name);
        if (found == state.end()) fail(Fault::damaged, "{}: has no tensor {}, which this network needs", where, e.name);
        const HostTensor& t = found->second;
        const Shape& s = e.shape;
        const bool convolution = s.size() == 4;
        const Shape wanted = convolution ? Shape{s[0], s[3] - e.declaration.padding, s[1], s[2]} : s;
        if (t.shape != wanted)
            fail(Fault::damaged, "{}: {} has shape {}, this network needs {}", where, e.name, text(t.shape), text(wanted));
        parameters.set(e.name, convolution ? network_layout(t, s) : t.values);
    }
}

State fold_batch_norm(State state, const std::vector<std::pair<std::string, std::string>>& conv_bn, double eps) {
    for (const auto& [conv, bn] : conv_bn) {
        HostTensor& weight = state.at(conv + ".weight");
        const size_t channels = weight.shape.size() == 4 ? weight.shape[0] : 0;
        if (weight.values.empty() || weight.values.size() != count(weight.shape))
            fail(Fault::damaged, "{}.weight has shape {}; a convolution has four sizes above 0", conv, text(weight.shape));
        const size_t per_channel = weight.values.size() / channels;
        for (const std::string& name : {bn + ".weight", bn + ".bias", bn + ".running_mean", bn + ".running_var", conv + ".bias"})
            if (const auto found = state.find(name); found != state.end() && found->second.values.size() != channels)
                fail(Fault::damaged, "{} has shape {}, its convolution {} channels", name, text(found->second.shape), channels);
        const auto &scale = state.at(bn + ".weight").values, &shift = state.at(bn + ".bias").values;
        const auto &mean = state.at(bn + ".running_mean").values, &var = state.at(bn + ".running_var").values;
        HostTensor& bias = state[conv + ".bias"];
        if (bias.values.empty()) bias = {{channels}, std::vector<float>(channels)};
        for (size_t c = 0; c < channels; ++c) {
            const double factor = scale[c] / std::sqrt(double(var[c]) + eps);
            for (size_t i = 0; i < per_channel; ++i) {
                float& w = weight.values[c * per_channel + i];
                w = float(w * factor);
            }
            bias.values[c] = float((double(bias.values[c]) - mean[c]) * factor + shift[c]);
        }
        for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) state.erase(bn + part);
    }
    return state;
}
