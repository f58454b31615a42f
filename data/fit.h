// Brings an image of any size to the input frame of a network: stretched, center-cropped, or letterboxed.
#pragma once

#include "data/image.h"
#include "data/resize.h"

enum class FitMode {
    stretch,  // both sides to `size`; the aspect ratio is lost, the content is not (as Keras' directory iterator)
    crop,  // torchvision's Resize + CenterCrop: shorter side to `shorter`, longer to int(shorter * longer / shorter),
           // then the middle `size`; offsets round half to even. Images longer than 16:1 are first cut.
    letterbox  // as large as fits, centered, the rest grey 114: for detectors (data/resize.h)
};

struct Fit {
    size_t size = 224;  // width; also the height if that is 0
    FitMode mode = FitMode::stretch;
    Filter filter = Filter::antialias;
    size_t shorter = 0;  // of FitMode::crop; 0: round(size * 256 / 224)
    size_t height = 0;   // of FitMode::letterbox

    size_t h() const { return height ? height : size; }
    size_t w() const { return size; }
    size_t bytes() const { return h() * w() * 3; }

    bool operator==(const Fit&) const = default;
};

size_t shorter_side(const Fit& fit);  // of FitMode::crop: `shorter`, or what 0 stands for

// rgb: (h, w, 3)
void fit_image(const Image& image, const Fit& fit, uint8_t* rgb);

// rgb: (out_h, out_w, 3) of the letterbox
void letterbox_image(const Image& image, const Letterbox& box, Filter filter, uint8_t* rgb);

// How decode_image() may save work for this fit: with antialiasing a JPEG may be decoded at 1/2, 1/4 or 1/8 as long as
// at least twice the wanted size is left (measured in tests/fit_test.cpp: mean error below 0.1 of 255, maximum 4);
// the other filters pick single pixels and need all of them.
DecodeOptions options_for(const Fit& fit, DecodeOptions options = {});
