// Any bytes as a JPEG with EXIF: never fails, and texts are short and free of control characters.
#include <cstdint>

#include "data/exif.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const Exif exif = read_exif({data, size});
    for (const std::string& text : {exif.date, exif.make, exif.model, exif.serial}) {
        if (text.size() > 64) __builtin_trap();
        for (const unsigned char c : text)
            if (c < 0x20) __builtin_trap();
    }
    if (exif.orientation < 1 || exif.orientation > 8) __builtin_trap();
    exif_seconds(exif.date);
    return 0;
}
