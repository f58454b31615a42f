#include "models/state.h"

#include <bit>
#include <cmath>

#include "base/aligned_memory.h"
#include "kernels/layout.h"

namespace {

// (a, b, c) -> (a, c, b): converts between the two layouts.
std::vector<float> swap_last_two(const std::vector<float>& values, size_t a, size_t b, size_t c) {
    if (b == 1 || c == 1) return values;
    std::vector<float> result(values.size());
    for (size_t i = 0; i < a; ++i)
        for (size_t j = 0; j < b; ++j)
            for (size_t k = 0; k < c; ++k) result[(i * c + k) * b + j] = values[(i * b + j) * c + k];
    return result;
}

// The convolution before a folded normalization: a factor per output channel, and its bias.
struct Folded {
    std::vector<double> factor;
    std::vector<float> bias;
};

Folded fold(const StateDict& state, const std::string& conv, const std::string& bn, double eps) {
    const HostTensor& weight = state.at(conv + ".weight");
    const size_t channels = weight.shape.size() == 4 ? weight.shape[0] : 0;
    if (weight.values.empty() || weight.values.size() != numel(weight.shape))
        fail(Fault::damaged, "{}.weight has shape {}; a convolution has four sizes above 0", conv,
             to_string(weight.shape));
    for (const std::string& name :
         {bn + ".weight", bn + ".bias", bn + ".running_mean", bn + ".running_var", conv + ".bias"})
        if (const auto found = state.find(name); found != state.end() && found->second.values.size() != channels)
            fail(Fault::damaged, "{} has shape {}, its convolution {} channels", name, to_string(found->second.shape),
                 channels);
    const SharedFloats &scale = state.at(bn + ".weight").values, &shift = state.at(bn + ".bias").values;
    const SharedFloats &mean = state.at(bn + ".running_mean").values, &var = state.at(bn + ".running_var").values;
    const auto before = state.find(conv + ".bias");
    Folded result{std::vector<double>(channels), std::vector<float>(channels)};
    for (size_t c = 0; c < channels; ++c) {
        const double factor = result.factor[c] = scale[c] / std::sqrt(double(var[c]) + eps);
        const double bias = before == state.end() ? 0 : before->second.values[c];
        result.bias[c] = float((bias - mean[c]) * factor + shift[c]);
    }
    return result;
}

// Whether the values are finite, in a loop that the compiler vectorizes: 100 MB of weights take 10 ms.
bool all_finite(std::span<const float> values) {
    constexpr uint32_t exponent = 0x7f800000;
    uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (size_t i = 0; i < values.size(); ++i)
        largest = std::max(largest, std::bit_cast<uint32_t>(values[i]) & exponent);
    return largest != exponent;
}

}  // namespace

std::string bad_number(const std::string& name, const HostTensor& tensor) {
    const bool variance = name.ends_with("running_var");
    if (!variance && all_finite({tensor.values.data(), tensor.values.size()})) return "";
    const auto bad =
        std::ranges::find_if(tensor.values, [&](float x) { return !std::isfinite(x) || (variance && x < 0); });
    if (bad == tensor.values.end()) return "";
    std::vector<size_t> index(tensor.shape.size());
    size_t rest = size_t(bad - tensor.values.begin());
    for (size_t i = index.size(); i-- > 0; rest /= tensor.shape[i]) index[i] = rest % tensor.shape[i];
    return fmt::format("{}[{}] is {}{}", name, fmt::join(index, ", "), *bad,
                       std::isfinite(*bad) ? ", and a variance cannot be negative" : "");
}

std::vector<std::string> bad_numbers(const StateDict& state) {
    std::vector<std::string> texts;
    for (const auto& [name, tensor] : state)
        if (std::string text = bad_number(name, tensor); !text.empty()) texts.push_back(std::move(text));
    return texts;
}

StateDict download(const Parameters& parameters) {
    return download(parameters, [&](const Parameters::Entry& e) { return parameters.get(e.name); });
}

StateDict download(const Parameters& parameters,
                   const std::function<std::vector<float>(const Parameters::Entry&)>& values_of) {
    StateDict state;
    for (const Parameters::Entry& e : parameters.entries()) {
        std::vector<float> values = values_of(e);
        Shape shape = e.shape;
        if (shape.size() == 4) {
            const size_t kernel = shape[1] * shape[2], c_in = shape[3] - e.spec.padding;
            if (c_in != shape[3]) {
                for (size_t row = 0; row < shape[0] * kernel; ++row)
                    std::copy_n(values.begin() + ptrdiff_t(row * shape[3]), c_in,
                                values.begin() + ptrdiff_t(row * c_in));
                values.resize(shape[0] * kernel * c_in);
            }
            values = swap_last_two(values, shape[0], kernel, c_in);
            shape = {shape[0], c_in, shape[1], shape[2]};
        }
        state[e.name] = {shape, std::move(values)};
    }
    return state;
}

void upload(const StateDict& state, Parameters& parameters, const std::string& where, const Folding& folding) {
    prepare_upload(state, parameters, where, folding)();
}

std::function<void()> prepare_upload(StateDict state, Parameters& parameters, const std::string& where,
                                     const Folding& folding) {
    std::map<std::string, Folded> folds;
    for (const auto& [conv, bn] : folding.conv_bn) folds.emplace(conv, fold(state, conv, bn, folding.eps));
    const auto fold_of = [](const std::map<std::string, Folded>& folds, const std::string& name) {
        const auto found = folds.find(name.substr(0, name.rfind('.')));
        return found == folds.end() ? nullptr : &found->second;
    };
    for (const Parameters::Entry& e : parameters.entries()) {
        const Shape& s = e.shape;
        if (s.size() == 1 && fold_of(folds, e.name)) continue;  // the bias of a folded convolution
        const auto found = state.find(e.name);
        if (found == state.end()) fail(Fault::damaged, "{}: has no tensor {}, which this network needs", where, e.name);
        const Shape wanted = s.size() == 4 ? Shape{s[0], s[3] - e.spec.padding, s[1], s[2]} : s;
        if (found->second.shape != wanted)
            fail(Fault::damaged, "{}: {} has shape {}, this network needs {}", where, e.name,
                 to_string(found->second.shape), to_string(wanted));
    }
    return [state = std::move(state), folds = std::move(folds), fold_of, &parameters] {
        size_t largest = 0;
        for (const Parameters::Entry& e : parameters.entries()) largest = std::max(largest, numel(e.shape));
        const AlignedMemory memory = aligned_memory(largest * sizeof(float));
        for (const Parameters::Entry& e : parameters.entries()) {
            const Folded* const folded = fold_of(folds, e.name);
            if (e.shape.size() == 4) {
                const std::span<float> values(static_cast<float*>(memory.get()), numel(e.shape));
                compute(Cpu{}, ConvWeight{.c_out = e.shape[0],
                                          .c_in = e.shape[3] - e.spec.padding,
                                          .kernel = e.shape[1] * e.shape[2],
                                          .padded_c_in = e.shape[3],
                                          .x = state.at(e.name).values.data(),
                                          .factor = folded ? folded->factor.data() : nullptr,
                                          .y = values.data()});
                parameters.set(e.name, values);
            } else if (folded && e.shape.size() == 1) {
                parameters.set(e.name, folded->bias);
            } else {
                parameters.set(e.name, state.at(e.name).values);
            }
        }
    };
}

StateDict fold_batch_norm(StateDict state, const Folding& folding) {
    for (const auto& [conv, bn] : folding.conv_bn) {
        Folded result = fold(state, conv, bn, folding.eps);
        HostTensor& weight = state.at(conv + ".weight");
        const size_t per_channel = weight.values.size() / weight.shape[0];
        const std::span<float> values = weight.values.mutable_data();
        for (size_t i = 0; i < values.size(); ++i) values[i] = float(values[i] * result.factor[i / per_channel]);
        state[conv + ".bias"] = {{weight.shape[0]}, std::move(result.bias)};
        for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) state.erase(bn + part);
    }
    return state;
}

std::span<float> SharedFloats::mutable_data() {
    if (!owned_ || owned_.use_count() > 2)
        *this = SharedFloats(std::vector<float>(begin(), end()));  // 2: owned_ and memory_
    return *owned_;
}
