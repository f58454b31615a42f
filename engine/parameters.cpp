#include "engine/parameters.h"

#include <cmath>
#include <numbers>

#include "base/random.h"
#include "kernels/types.h"

namespace {

constexpr size_t kAlign = 64;  // elements: 16-byte vectors and cache lines never straddle two parameters

std::vector<float> numbers_at(Device& device, const void* address, size_t count, DType dtype) {
    std::vector<std::byte> bytes(count * size_of(dtype));
    device.download(bytes.data(), address, bytes.size());
    std::vector<float> result(count);
    for (size_t i = 0; i < count; ++i) {
        if (dtype == DType::f32) result[i] = reinterpret_cast<const float*>(bytes.data())[i];
        if (dtype == DType::bf16) result[i] = float(reinterpret_cast<const bf16*>(bytes.data())[i]);
        if (dtype == DType::f16) result[i] = float(reinterpret_cast<const fp16*>(bytes.data())[i]);
        if (dtype == DType::i8) result[i] = float(reinterpret_cast<const int8_t*>(bytes.data())[i]);
    }
    return result;
}

template <class T>
std::vector<T> rounded(std::span<const float> values) {
    return std::vector<T>(values.begin(), values.end());
}

// Uniform numbers in (0, 1), a pure function of (seed, name, index).
struct Random {
    uint64_t key = 0xcbf29ce484222325u;
    Random(uint64_t seed, const std::string& name) {
        for (unsigned char c : std::to_string(seed) + "/" + name) key = (key ^ c) * 0x100000001b3u;
    }
    double operator()(size_t i) const { return (double(mix(key + (i + 1) * kSplitmixStep) >> 11) + 0.5) * 0x1p-53; }
};

}  // namespace

Parameters::Parameters(Device& device, const Graph& graph, const Options& options) : device_(device) {
    groups_[size_t(ParameterRole::weight)].dtype = graph.compute;
    groups_[size_t(ParameterRole::int8_weight)].dtype = DType::i8;
    for (const bool trained : {false, true})
        for (const ValueInfo& info : graph.values) {
            if (info.kind != ValueKind::parameter || options.trained(info.name) != trained) continue;
            ParameterGroup& g = group(info.spec.role);
            index_[info.name] = entries_.size();
            entries_.push_back({info.name, info.shape, info.spec, g.count, trained});
            g.count += (numel(info.shape) + kAlign - 1) / kAlign * kAlign;
            if (!trained) g.frozen = g.count;
        }
    for (ParameterGroup& g : groups_) {
        if (options.gradients || g.dtype == DType::f32) g.master = Buffer(device, g.count * sizeof(float));
        if (g.dtype != DType::f32) g.copy = Buffer(device, g.count * size_of(g.dtype));
        if (options.gradients && &g != &group(ParameterRole::statistic))
            g.gradient = Buffer(device, g.count * size_of(g.dtype));
    }
}

const Parameters::Entry& Parameters::entry(const std::string& name) const {
    const auto found = index_.find(name);
    require(found != index_.end(), "the network has no parameter {}", name);
    return entries_[found->second];
}

size_t Parameters::scalar_count() const {
    size_t n = 0;
    for (const Entry& e : entries_)
        if (e.spec.role != ParameterRole::statistic) n += numel(e.shape);
    return n;
}

void* Parameters::address(const std::string& name) const {
    const Entry& e = entry(name);
    const ParameterGroup& g = group(e.spec.role);
    if (g.dtype != DType::f32) return g.copy.as<std::byte>() + e.offset * size_of(g.dtype);
    return g.master.as<float>() + e.offset;
}

void* Parameters::gradient(const std::string& name) const {
    const Entry& e = entry(name);
    const ParameterGroup& g = group(e.spec.role);
    require(g.gradient.data() != nullptr, "parameter {} has no gradient", name);
    return g.gradient.as<std::byte>() + e.offset * size_of(g.dtype);
}

void Parameters::set(const std::string& name, std::span<const float> values) {
    const Entry& e = entry(name);
    const ParameterGroup& g = group(e.spec.role);
    require(values.size() == numel(e.shape), "parameter {} has shape {}, {} values were given", name,
            to_string(e.shape), values.size());
    if (g.master.data()) device_.upload(g.master.as<float>() + e.offset, values.data(), values.size_bytes());
    if (g.dtype == DType::bf16) device_.upload(address(name), rounded<bf16>(values).data(), values.size() * 2);
    if (g.dtype == DType::f16) device_.upload(address(name), rounded<fp16>(values).data(), values.size() * 2);
    if (g.dtype == DType::i8) device_.upload(address(name), rounded<int8_t>(values).data(), values.size());
}

std::vector<float> Parameters::get(const std::string& name) const {
    const Entry& e = entry(name);
    const ParameterGroup& g = group(e.spec.role);
    if (!g.master.data()) return numbers_at(device_, address(name), numel(e.shape), g.dtype);
    std::vector<float> values(numel(e.shape));
    device_.download(values.data(), g.master.as<float>() + e.offset, values.size() * sizeof(float));
    return values;
}

std::vector<float> Parameters::get_gradient(const std::string& name) const {
    const Entry& e = entry(name);
    return numbers_at(device_, gradient(name), numel(e.shape), group(e.spec.role).dtype);
}

void initialize(Parameters& parameters, uint64_t seed) {
    for (const Parameters::Entry& e : parameters.entries()) {
        const Random random(seed, e.name);
        std::vector<float> values(numel(e.shape));
        const double out = double(e.shape[0]), in = double(values.size()) / out;  // in: per output, kernel included
        const double kernel = e.shape.size() == 4 ? double(e.shape[1] * e.shape[2]) : 1;
        auto uniform = [&](double bound) {
            for (size_t i = 0; i < values.size(); ++i) values[i] = float(bound * (2 * random(i) - 1));
        };
        switch (e.spec.init) {
            case Initializer::zeros: break;
            case Initializer::ones: std::fill(values.begin(), values.end(), 1.0f); break;
            case Initializer::kaiming_normal_fan_out:
                for (size_t i = 0; i < values.size(); ++i)  // Box & Muller
                    values[i] = float(std::sqrt(2 / (out * kernel)) * std::sqrt(-2 * std::log(random(2 * i))) *
                                      std::cos(2 * std::numbers::pi * random(2 * i + 1)));
                break;
            case Initializer::kaiming_uniform_fan_in: uniform(1 / std::sqrt(in)); break;
            case Initializer::glorot_uniform: uniform(std::sqrt(6 / (in + out * kernel))); break;
            case Initializer::uniform_fan_in:
                uniform(1 / std::sqrt(double(e.spec.fan_in ? e.spec.fan_in : size_t(in))));
                break;
        }
        parameters.set(e.name, values);
    }
}
