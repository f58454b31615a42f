// Which layers of a network run on bytes: all that can, or where these do not pass the check, fewer.
#pragma once

#include <functional>
#include <span>

#include "engine/plan.h"
#include "models/model.h"
#include "predict/precision_check.h"

// A classifier or a detector that is quantized.
class QuantizedSubject {
public:
    virtual ~QuantizedSubject() = default;
    virtual Model model() const = 0;  // in float32
    // The network as a function of the pixels of one image, with these layers on bytes (none: in float32) and
    // `after_step` as in ProgramOptions.
    virtual std::function<void(std::span<const uint8_t>)> open(const Int8Layers& layers,
                                                               const std::function<void(const Step&)>& after_step) = 0;
    // Its answers with these layers on bytes beside those in float32, on the images with these numbers.
    virtual PrecisionCheck check(const Int8Layers& layers, const std::vector<uint32_t>& samples) = 0;
};

// What a convolution loses on bytes: with it alone on bytes, the sum of the squared differences of the sigmoids of the
// network's outputs from float32, as a share of the sum of their squares, summed over the outputs. Sigmoids, because
// what is added to a score far below 0 or above changes no answer.
struct LayerError {
    std::string layer;
    double error, share;  // of the network's arithmetic
};
// Of each convolution in `layers`, on these images; first those that lose most for their share. `progress` is told how
// many layers are done.
std::vector<LayerError> errors_of_layers(QuantizedSubject& subject, const Int8Layers& layers,
                                         const std::vector<std::vector<uint8_t>>& images,
                                         const std::function<void(size_t)>& progress = {});

struct ChosenLayers {
    Int8Layers layers{};
    PrecisionCheck check{};  // the last
    size_t checks = 0;       // how many were made
    bool passed = false;     // else no layers do
};

// First, `all` are checked on the images `holdout`. If they fail, up to three further tries keep in float32 the layers
// that lose most for their share on `images`, pixels of images that are not in `holdout`: so many that the errors of
// the others have a half, a quarter, an eighth of the sum. A try is checked on half of the images in `holdout` that
// can be read: the first, third, fifth and seventh eighth of them, in order, so that few bursts are in both halves. The
// first that loses no more than half of each limit there, or else the last if it passes, is checked on the other half,
// which is final: that half has chosen nothing, so further tries do not make it likelier that a network passes there by
// chance, and fails if it lacks a row of the first check. No further try is made if each half has too few images, or if
// more than half of the arithmetic would stay in float32. `say` gets lines for people: the tries and their tables.
ChosenLayers choose_layers(QuantizedSubject& subject, const Int8Layers& all,
                           const std::vector<std::vector<uint8_t>>& images, const std::vector<uint32_t>& holdout,
                           const std::function<void(const std::string&)>& say,
                           const std::function<void(size_t)>& progress = {});
