// Every file of the fuzzers' corpus through its harness, in ordinary and sanitized builds that have no libFuzzer.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "engine/device.h"
#include "engine/graph.h"
#include "engine/parameters.h"
#include "models/files/detector_file.h"
#include "tests/checkpoints.h"

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

// One change of the kind `kind` to a file, at a place that `random` chooses.
std::string with_change(Records records, uint32_t kind, std::mt19937& random) {
    const auto below = [&](size_t n) { return size_t(random() % std::max<size_t>(n, 1)); };
    std::vector<std::string*> tensors;
    for (ZipRecord& r : records)
        if (r.name.find("/data/") != r.name.npos && !r.content.empty()) tensors.push_back(&r.content);
    std::string &tensor = *tensors[below(tensors.size())], &pickle = pickle_in(records);
    switch (kind) {
        case 0: pickle[below(pickle.size())] ^= char(1 << below(8)); break;
        case 1:    // a number of one byte: a side, a stride, an offset, a count of elements, a setting
        case 2: {  // or of two
            const std::string op = kind == 1 ? "K" : "M";
            const size_t at = pickle.find(op, below(pickle.size()));
            const std::array values = {0, 1, 2, 3, 64, 255, int(uint8_t(pickle[(at + 1) % pickle.size()]) ^ 1)};
            if (at != pickle.npos && at + 1 < pickle.size()) pickle[at + 1] = char(values[below(values.size())]);
            break;
        }
        case 3: std::swap(tensor, *tensors[below(tensors.size())]); break;
        case 4: tensor.resize(below(tensor.size())); break;
        case 5: tensor += tensor; break;
        case 6: tensor[below(tensor.size())] ^= char(1 << below(8)); break;
        case 7: tensor.assign(tensor.size(), char(below(256))); break;
        case 8: std::erase_if(records, [&](const ZipRecord& r) { return &r.content == &tensor; }); break;
        case 9: {
            const std::array types = {"HalfStorage", "FloatStorage", "DoubleStorage", "LongStorage", "ByteStorage"};
            const std::string from = types[below(2)], to = types[below(types.size())];
            for (size_t at = 0; (at = pickle.find("\n" + from + "\n", at)) != pickle.npos; at += to.size())
                pickle.replace(at + 1, from.size(), to);
            break;
        }
        default: break;
    }
    std::string file = zip_of(records);
    if (kind == 10) file.resize(below(file.size()));
    if (kind == 11) file[below(file.size())] ^= char(1 << below(8));
    return file;
}

std::optional<DetectorModel> read(const std::string& file) {
    try {
        return detector_model(read_bytes(file));
    } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
        EXPECT_TRUE(error.fault == Fault::usage || error.fault == Fault::damaged) << error.what();
        return {};
    }
}

// Whatever is changed in a file: an Error of one line, or a network with each of its
// tensors in its shape. scripts/fuzz.sh asks for more changes than the 24 of each seed, which take 2 s.
TEST(FuzzCorpus, WhateverIsChangedInAFile) {
    const char* const wanted = std::getenv("TUNDRA_CHANGES");
    const uint32_t changes = wanted ? uint32_t(std::atoi(wanted)) : 24, kinds = 12;
    const std::unique_ptr<Device> device = open_device("cpu", {.threads = 1});
    std::mt19937 random(1);
    size_t accepted = 0, refused = 0;
    std::vector<std::filesystem::path> seeds{TUNDRA_TESTS "/golden/yolo/yolov5_p6_tiny/model.pt"};
    for (const auto& seed : std::filesystem::directory_iterator(TUNDRA_TESTS "/fuzz/corpus/detector"))
        seeds.push_back(seed.path());
    std::ranges::sort(seeds);
    for (const std::filesystem::path& seed : seeds) {
        const Records records = records_of(seed);
        const std::string name = seed.filename();
        EXPECT_EQ(read(zip_of(records)).has_value(), name.find("refused") == name.npos) << name;
        for (uint32_t i = 0; i < changes; ++i) {
            SCOPED_TRACE(fmt::format("{}, change {}", name, i));
            const std::optional<DetectorModel> model = read(with_change(records, i % kinds, random));
            ++(model ? accepted : refused);
            if (!model) continue;
            EXPECT_GT(model->classes.size(), 0u);
            const Model network = model->network();
            Graph graph;
            network.trace(graph.input("x", {1, network.stride, network.stride, 3}, DType::f32));
            Parameters parameters(*device, graph);
            EXPECT_NO_THROW(upload(model->state, parameters, name));  // checks every name and shape
        }
    }
    EXPECT_GT(refused, accepted / 4);
    EXPECT_GT(accepted, refused / 4);
}

}  // namespace
