// The state of a network on the host: named float arrays in the layout of weight files, and their transfer to
// a device and back.
//
// Convolution weights are (c_out, c_in, kernel_h, kernel_w) in a StateDict, as in PyTorch's files, and (c_out,
// kernel_h, kernel_w, c_in) in Parameters. All other tensors have the same layout in both.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "engine/parameters.h"

// Copy-on-write float array. float32 data that was read from a file is referenced, not copied.
class SharedFloats {
public:
    SharedFloats() = default;
    SharedFloats(std::vector<float> values)
        : owned_(std::make_shared<std::vector<float>>(std::move(values))), memory_(owned_), view_(*owned_) {}
    SharedFloats(std::shared_ptr<const void> memory, std::span<const float> view)
        : memory_(std::move(memory)), view_(view) {}
    SharedFloats(const SharedFloats&) = default;
    SharedFloats& operator=(const SharedFloats&) = default;
    SharedFloats(SharedFloats&& other) noexcept
        : owned_(std::move(other.owned_)), memory_(std::move(other.memory_)), view_(std::exchange(other.view_, {})) {}
    SharedFloats& operator=(SharedFloats&& other) noexcept {
        owned_ = std::move(other.owned_), memory_ = std::move(other.memory_), view_ = std::exchange(other.view_, {});
        return *this;
    }

    const float* data() const { return view_.data(); }
    size_t size() const { return view_.size(); }
    bool empty() const { return view_.empty(); }
    const float* begin() const { return view_.data(); }
    const float* end() const { return view_.data() + view_.size(); }
    const float& operator[](size_t i) const { return view_[i]; }
    friend bool operator==(const SharedFloats& a, const SharedFloats& b) {
        return std::equal(a.begin(), a.end(), b.begin(), b.end());
    }

    std::span<float> mutable_data();  // copies first if other arrays share the values

private:
    std::shared_ptr<std::vector<float>> owned_;  // null: the values belong to memory_, such as a file
    std::shared_ptr<const void> memory_;
    std::span<const float> view_;
};

struct HostTensor {
    Shape shape;
    SharedFloats values;
};

using StateDict = std::map<std::string, HostTensor>;

// The first number of a tensor that no network can use, NaN, an infinity or a variance below 0, as
// "layer1.0.bn1.running_var[5] is -0.1, and a variance cannot be negative"; "" if there is none. A ReLU of oneDNN makes
// 0 of NaN, so a damaged network would answer, and with confidence.
std::string bad_number(const std::string& name, const HostTensor& tensor);
std::vector<std::string> bad_numbers(const StateDict& state);  // one text per tensor that has any

StateDict download(const Parameters& parameters);
// The same, but with `values` instead of the parameters: an average of the weights.
StateDict download(const Parameters& parameters,
                   const std::function<std::vector<float>(const Parameters::Entry&)>& values);

// Normalizations that are folded into the convolutions before them, for inference: W' = W * scale / sqrt(var + eps),
// b' = (b - mean) * scale / sqrt(var + eps) + shift, in double. Jacob et al. 2018, https://arxiv.org/abs/1712.05877
struct Folding {
    std::vector<std::pair<std::string, std::string>> conv_bn = {};  // names
    double eps = 0;
};

// Every parameter must be in the state with the right shape; others are ignored. Padding input channels become
// zero, and download() omits them. `where` names the state in messages. Errors: Fault::damaged.
void upload(const StateDict& state, Parameters& parameters, const std::string& where, const Folding& folding = {});

// The same in two parts: this checks; the function that it returns copies the numbers.
std::function<void()> prepare_upload(StateDict state, Parameters& parameters, const std::string& where,
                                     const Folding& folding = {});

// The state without the folded normalizations; each of their convolutions has a bias.
StateDict fold_batch_norm(StateDict state, const Folding& folding);
