// Every file of the fuzzers' corpus through its harness, in ordinary and sanitized builds that have no libFuzzer.
#include <gtest/gtest.h>

#include "base/file.h"

#define LLVMFuzzerTestOneInput exif_fuzz
#include "tests/fuzz/exif_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput pickle_fuzz
#include "tests/fuzz/pickle_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput image_fuzz
#include "tests/fuzz/image_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput safetensors_fuzz
#include "tests/fuzz/safetensors_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput torch_fuzz
#include "tests/fuzz/torch_fuzz.cpp"
#undef LLVMFuzzerTestOneInput

namespace {

TEST(FuzzCorpus, EveryFile) {
    struct Fuzzer {
        const char* name;
        int (*harness)(const uint8_t*, size_t);
    };
    for (const auto& [name, harness] : {Fuzzer{"exif", exif_fuzz},
                                        {"pickle", pickle_fuzz},
                                        {"image", image_fuzz},
                                        {"safetensors", safetensors_fuzz},
                                        {"torch", torch_fuzz}}) {
        size_t files = 0;
        for (const auto& entry :
             std::filesystem::directory_iterator(TUNDRA_TESTS "/fuzz/corpus/" + std::string(name))) {
            SCOPED_TRACE(entry.path());
            const FileBytes bytes = read_file(entry.path());
            EXPECT_EQ(harness(reinterpret_cast<const uint8_t*>(bytes.memory.get()), bytes.size), 0);
            ++files;
        }
        EXPECT_GE(files, 5u) << name;
    }
}

}  // namespace
