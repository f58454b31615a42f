// Any bytes as the pickle of an otherwise sound checkpoint, past the checksums that stop most changes to a whole file.
#include <cstdint>

#include "base/error.h"
#include "models/files/torch_file.h"
#include "tests/zip_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::vector<ZipRecord> records{{"a/data.pkl", std::string(reinterpret_cast<const char*>(data), size)}};
    // The sizes that the storages of the seeds have.
    for (const size_t bytes : {432, 16, 16, 16, 16, 16, 8, 32, 8, 480, 400, 96})
        records.push_back({"a/data/" + std::to_string(records.size() - 1), std::string(bytes, '\x11')});
    const std::string archive = zip_of(records);
    try {
        const TorchFile file = TorchFile::parse(FileBytes::copy(std::as_bytes(std::span(archive))), "input");
        file.read_all(file.tensors(file.root()), [](const NamedTorchTensor&, std::vector<std::byte>) {});
    } catch (const Error&) {
    }
    return 0;
}
