// What layers before a network do to pixels: made for it (Rescaling, Normalization), or arithmetic that Keras 2 and 3
// turn into layers, as preprocess_input() inside a functional model.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "models/files/keras_layer.h"

class KerasPixels {
public:
    // False if the layer is no arithmetic on pixels. Errors: KerasRefusal.
    bool take(const KerasLayer& layer, const StoredVariable& stored);

    // As --normalize has it, "bgr:103.939,116.779,123.68/1,1,1"; "" if no layer changed the pixels.
    std::string normalize() const;

private:
    bool operate(const KerasLayer& layer);
    bool take_channels(const KerasLayer& layer, const nlohmann::json& arguments, bool keras2);
    bool stack(const KerasLayer& layer, const nlohmann::json& arguments);
    void standardize(const KerasLayer& layer, const StoredVariable& stored);
    void affine(const std::vector<double>& scale, const std::vector<double>& shift);
    void reorder(const std::array<size_t, 3>& order);

    // y[c] = x[from[c]] * scale[c] + shift[c]
    std::array<double, 3> scale_{1, 1, 1}, shift_{};
    std::array<size_t, 3> from_{0, 1, 2};
    bool used_ = false;
    std::map<std::string, size_t> channels_;  // of layers x[..., i]
};
