// Any bytes as the file of a detector: an Error of one line, or a network to which every tensor fits. It needs the
// networks, which scripts/fuzz.sh does not build: the corpus and changes of it run in the tests, also with sanitizers.
#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "models/files/detector_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        const DetectorModel model =
            detector_model(parse_weights("input.pt", FileBytes::copy(std::as_bytes(std::span(data, size)))));
        if (model.classes.empty() || model.state.empty()) __builtin_trap();
    } catch (const Error& error) {
        if (std::strchr(error.what(), '\n')) __builtin_trap();
    }
    return 0;
}
