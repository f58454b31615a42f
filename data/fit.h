// From a picture of any size to the square of a network: stretched, or shorter side scaled and the centre cut out.
#pragma once

#include "data/picture.h"
#include "kernels/image.h"

enum class FitMode {
    stretch,  // both sides to `size`; the aspect ratio is lost, nothing of the picture is (Keras' directory iterator)
    crop      // torchvision's Resize + CenterCrop: shorter side to `shorter`, longer to int(shorter * longer / shorter),
              // then the middle `size`; offsets round half to even. Of pictures longer than 16:1 the middle only.
};

struct Fit {
    size_t size = 224;
    FitMode mode = FitMode::stretch;
    Filter filter = Filter::antialias;
    size_t shorter = 0;  // of FitMode::crop; 0: round(size * 256 / 224)

    bool operator==(const Fit&) const = default;
};

// rgb: (size, size, 3)
void fit_picture(const Picture& picture, const Fit& fit, uint8_t* rgb);

// What decode_picture() may do for this fit: with antialiasing a JPEG decoded at 1/2, 1/4 or 1/8 will do as long as at
// least twice the wanted size is left (measured in tests/fit_test.cpp: mean error below 0.1 of 255, largest 4);
// the other filters pick single pixels and need them all.
DecodeOptions options_for(const Fit& fit, DecodeOptions options = {});
