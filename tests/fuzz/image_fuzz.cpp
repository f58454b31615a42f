// Any bytes as an image: pixels of the size that is told, or trouble with a text; the same for the planes of a JPEG.
#include <cstdint>

#include "data/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const DecodeOptions options{.max_pixels = 1'000'000};
    const Bytes file{data, size};
    const Decoded decoded = decode_image(file, options);
    const Image& image = decoded.image;
    if (decoded.usable() && image.rgb.size() != image.h * image.w * 3) __builtin_trap();
    if (image.h * image.w > options.max_pixels) __builtin_trap();
    if (!decoded.usable() && decoded.trouble == DecodeStatus::none) __builtin_trap();
    unsigned sum = 0;
    for (const uint8_t value : image.rgb) sum += value;
    DecodeOptions smaller = options;
    smaller.enough_h = smaller.enough_w = 16;
    for (const uint8_t value : decode_image(file, smaller).image.rgb) sum += value;
    const Planes planes = decode_planes(file, options);
    for (const uint8_t value : planes.bytes) sum += value;
    volatile unsigned keep = sum;
    (void)keep;
    return 0;
}
