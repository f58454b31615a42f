// Any bytes as a PyTorch file, zip or legacy: an Error, or tensors of the size that their shapes say.
#include <cstdint>

#include "base/error.h"
#include "models/files/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        const TorchFile file = TorchFile::parse(FileBytes::copy(std::as_bytes(std::span(data, size))), "input");
        file.read_all(file.tensors(file.root()), [](const NamedTorchTensor& tensor, std::vector<std::byte> content) {
            size_t bytes = size_of(tensor.tensor.dtype);
            for (const size_t dimension : tensor.tensor.shape) bytes *= dimension;
            if (content.size() != bytes) __builtin_trap();
        });
    } catch (const Error&) {
    }
    return 0;
}
