// Hostile and broken PyTorch files: nothing is executed, nothing crashes, no size is believed, one clear line each.
#include "models/files/torch_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "tests/files.h"
#include "tests/golden.h"
#include "tests/pickle_writer.h"

namespace {

struct TensorText {
    std::vector<int32_t> shape{2, 2}, strides{2, 1};
    int32_t offset = 0, elements = 4;
    std::string storage_class = "FloatStorage", key = "0";
};

std::string tensor_op(const TensorText& t) {
    return "ctorch._utils\n_rebuild_tensor_v2\n((" + text_op("storage") + "ctorch\n" + t.storage_class + "\n" +
           text_op(t.key) + text_op("cpu") + int_op(t.elements) + "tQ" + int_op(t.offset) + tuple_op(t.shape) +
           tuple_op(t.strides) + "\x89}tR";
}

std::string dict_of(const std::string& items) { return pickle_of(dict_op(items)); }

const std::string kSixteen(16, '\x3f');

std::string checkpoint(const std::string& pickle, const std::string& storage = kSixteen) {
    return zip_of({{"a/data.pkl", pickle}, {"a/data/0", storage}});
}

WeightFile read(const std::string& bytes) { return read_bytes(bytes); }

void refused(const std::string& bytes, const std::string& part) {
    SCOPED_TRACE(part);
    try {
        read(bytes);
        FAIL() << "accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, Fault::damaged);
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
        EXPECT_LT(std::strlen(error.what()), 1000u);
    }
}

void tensor_refused(const TensorText& tensor, const std::string& part, const std::string& storage = kSixteen) {
    refused(checkpoint(dict_of(text_op("w") + tensor_op(tensor)), storage), part);
}

TEST(TorchFile, TheSmallestCheckpointIsRead) {
    const WeightFile file = read(checkpoint(dict_of(text_op("w") + tensor_op({}))));
    ASSERT_EQ(file.tensors.size(), 1u);
    EXPECT_EQ(file.state.at("w").shape, (Shape{2, 2}));
    EXPECT_EQ(file.state.at("w").values.size(), 4u);
}

TEST(TorchFile, CallsStayRecords) {
    const std::filesystem::path witness =
        std::filesystem::temp_directory_path() / ("tundra_witness_" + std::to_string(getpid()));
    const std::string command = "touch " + witness.string();
    const std::vector<std::string> gadgets{
        "cos\nsystem\n" + text_op(command) + "\x85R",
        "cposix\nsystem\n" + text_op(command) + "\x85R",
        "csubprocess\nPopen\n" + text_op(command) + "\x85\x81}b",
        "c__builtin__\neval\n" + text_op("__import__('os').system('" + command + "')") + "\x85R",
        "ctorch.jit.annotations\neval\n" + text_op(command) + "\x85R",
        "ctorch._utils\n_rebuild_tensor_v2\ncos\nsystem\n" + text_op(command) + "\x85R\x85\x81",
    };
    for (const std::string& gadget : gadgets) {
        const std::string items = text_op("evil") + gadget + text_op("w") + tensor_op({});
        try {
            const WeightFile file = read(checkpoint(dict_of(items)));
            EXPECT_EQ(file.tensors.size(), 1u);
        } catch (const Error& error) {
            EXPECT_EQ(error.fault, Fault::damaged);
        }
        EXPECT_THROW(read(checkpoint(pickle_of(gadget))), Error);  // alone it holds no weights
    }
    const std::string alone = checkpoint(pickle_of(gadgets[0]));
    const TorchFile file = TorchFile::parse(FileBytes::copy(std::as_bytes(std::span(alone))), "x.pt");
    EXPECT_EQ(file.root().type_name(), "os.system");
    EXPECT_EQ(file.root().arguments()[0].text(), command);
    EXPECT_FALSE(exists(witness));
}

TEST(TorchFile, BrokenPicklesAreRefused) {
    const auto pickle_refused = [](const std::string& pickle, const std::string& part) {
        refused(checkpoint(pickle), part);
    };
    pickle_refused("", "STOP");
    pickle_refused("\x80\x02}", "STOP");
    pickle_refused(".", "more values");
    pickle_refused("\x80\x07}.", "protocol");
    pickle_refused(pickle_of("}") + "x", "after the end");
    pickle_refused(pickle_of("}}"), "left over");
    pickle_refused(pickle_of("(}"), "left over");
    pickle_refused(pickle_of("(ios\nsystem\n"), "an object of the class os.system");
    pickle_refused(pickle_of("}2"), "no weight file needs");
    pickle_refused(pickle_of("R"), "more values");
    pickle_refused(pickle_of("}(R"), "more values");
    pickle_refused(pickle_of("NNR"), "tuple");
    pickle_refused(pickle_of("N)R"), "not a name");
    pickle_refused(pickle_of(")Na"), "not a list");
    pickle_refused(pickle_of("](NNu"), "not a dict");
    pickle_refused(pickle_of("}(Nu"), "key without");
    pickle_refused(pickle_of("]Nb"), "state");
    pickle_refused(pickle_of("t"), "never begun");
    pickle_refused(pickle_of("NN\x93"), "without a name");
    pickle_refused(pickle_of("h\5"), "recalls");
    pickle_refused(pickle_of("j\xff\xff\xff\xff"), "recalls");
    pickle_refused("X\xff\xff\xff\xff", "bytes at byte");
    pickle_refused("\x8e" + std::string(8, '\xff'), "bytes at byte");
    pickle_refused("\x95" + std::string(8, '\xff') + "N.", "bytes at byte");
    pickle_refused("\x8b\xff\xff\xff\xff", "bytes at byte");
    pickle_refused("cos\nsystem", "without an end");
    pickle_refused("c" + std::string(5000, 'x') + "\ny\n.", "too long");
    // A memo index of 2^32 - 1 is a number like any other.
    EXPECT_EQ(read(checkpoint(pickle_of("}r\xff\xff\xff\xff(" + text_op("w") + tensor_op({}) + "u"))).tensors.size(),
              1u);
}

TEST(TorchFile, DepthCyclesAndBombs) {
    refused(checkpoint(pickle_of(std::string("}") + "(" + text_op("w") + std::string(1'000'000, '}') + "u")), "");
    refused(checkpoint(pickle_of(std::string("N") + std::string(1'000'000, '\x85'))), "deeper");
    refused(checkpoint(pickle_of(std::string(3'000'000, ')'))), "values");
    refused(checkpoint(pickle_of(std::string(1000, '('))), "");
    // A dict that contains itself, beside a tensor.
    refused(checkpoint(pickle_of("}q\1(" + text_op("self") + "h\1" + text_op("w") + tensor_op({}) + "u")), "deeper");
    // Thirty levels of pairs of the level below: 2^30 paths.
    std::string bomb = "N";
    for (int level = 0; level < 30; ++level) bomb += std::string("q\1h\1\x86");
    refused(checkpoint(dict_of(text_op("w") + tensor_op({}) + text_op("bomb") + bomb)), "paths");
}

TEST(TorchFile, LyingTensorsAreRefused) {
    tensor_refused({.shape = {2, 3}, .strides = {3, 1}}, "reaches element 5");
    tensor_refused({.strides = {-2, 1}}, "negative");
    tensor_refused({.shape = {-2, 2}}, "negative");
    tensor_refused({.offset = -1}, "begins at");
    tensor_refused({.offset = 1}, "reaches element 4");
    tensor_refused({.strides = {2}}, "strides");
    tensor_refused({.shape = {1, 1, 1, 1, 1, 1, 1, 1, 1}, .strides = {1, 1, 1, 1, 1, 1, 1, 1, 1}}, "dimensions");
    tensor_refused({.shape = {2147483647, 2147483647, 2147483647}, .strides = {2147483647, 2147483647, 2147483647}},
                   "64 bits");
    tensor_refused({.shape = {2147483647, 2147483647}, .strides = {0, 0}}, "larger than");  // 2^62 copies of one number
    tensor_refused({.shape = {100'000'000}, .strides = {0}}, "larger than");
    tensor_refused({.elements = 2147483647}, "its tensors say");
    tensor_refused({.elements = 3, .key = "0"}, "its tensors say");
    tensor_refused({.elements = -4}, "claims -4");
    tensor_refused({}, "its tensors say", std::string(12, '\0'));
    tensor_refused({.storage_class = "DoubleStorage"}, "its tensors say");
    tensor_refused({.storage_class = "ComplexFloatStorage"}, "ComplexFloatStorage");
    tensor_refused({.storage_class = "QInt8Storage"}, "QInt8Storage");
    tensor_refused({.key = "1"}, "is missing");
    tensor_refused({.key = "../../../../etc/passwd"}, "is missing");
    EXPECT_EQ(read(checkpoint(dict_of(text_op("w") + tensor_op({.shape = {0, 5}, .strides = {5, 1}}))))
                  .state.at("w")
                  .values.size(),
              0u);
    EXPECT_EQ(read(checkpoint(dict_of(text_op("w") + tensor_op({.shape = {3, 4}, .strides = {0, 1}}))))
                  .state.at("w")
                  .values.size(),
              12u);
}

TEST(TorchFile, BrokenArchivesAreRefused) {
    const std::string pickle = dict_of(text_op("w") + tensor_op({}));
    const ZipRecord head{"a/data.pkl", pickle}, storage{"a/data/0", kSixteen};
    const auto with = [](ZipRecord record, auto&& change) {
        change(record);
        return record;
    };
    EXPECT_EQ(read(zip_of({head, storage, {"../../evil", "x"}, {"/etc/passwd", "x"}})).tensors.size(), 1u);
    EXPECT_FALSE(std::filesystem::exists("../../evil"));
    refused(zip_of({head, with(storage, [](ZipRecord& r) { r.crc = 1; })}), "zip archive");
    refused(zip_of({with(head, [](ZipRecord& r) { r.crc = 1; }), storage}), "zip archive");
    refused(zip_of({head, with(storage, [](ZipRecord& r) { r.local_name = "a/data/1"; })}), "zip archive");
    refused(zip_of({head, with(storage, [](ZipRecord& r) { r.flags = 1; })}), "encrypted");
    refused(zip_of({head, with(storage, [](ZipRecord& r) { r.method = 12; })}), "method 12");
    refused(zip_of({head, with(storage, [](ZipRecord& r) { r.size = 4'000'000'000u; })}), "zip archive");
    refused(zip_of({head, with(storage, [](ZipRecord& r) { r.size = 20; })}), "zip archive");
    refused(zip_of({head, with(storage, [](ZipRecord& r) { r.method = 8; })}), "zip archive");
    refused(zip_of({head, storage, storage}), "two records have the same name");
    refused(zip_of({head, storage,
                    with(storage,
                         [](ZipRecord& r) {
                             r.same_place_as = 1;
                             r.name = "a/data/1";
                         })}),
            "zip archive");
    refused(zip_of({head, storage, {"b/data.pkl", pickle}}), "two checkpoints");
    refused(zip_of({head, storage, {"a/code/x.py", ""}}), "TorchScript");
    refused(zip_of({head, storage, {"a/constants.pkl", ""}}), "TorchScript");
    refused(zip_of({head, storage, {"a/byteorder", "big"}}), "byte order");
    refused(zip_of({{"data.pkl", pickle}, storage}), "without a PyTorch checkpoint");
    refused(zip_of({{"a/b/data.pkl", pickle}}), "without a PyTorch checkpoint");
#if defined(TUNDRA_HDF5)                                                       // otherwise a usage error
    refused(zip_of({{"model.weights.h5", ""}, {"config.json", ""}}), "HDF5");  // a Keras archive
#endif
    refused("PK\3\4", "zip archive");
}

TEST(TorchFile, WhatIsNoCheckpointIsNamed) {
    refused("", "empty");
    refused("<!DOCTYPE html><html>", "web page");
    refused("\n <HTML>", "web page");
    refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 280\n", "Git LFS");
    refused("\x80\x04\x95N.", "pickle");
    std::string tar(600, '\0');
    tar.replace(257, 5, "ustar");
    refused(tar, "tar archive");
    refused(std::string(100, 'x'), "not a weight file");
}

TEST(TorchFile, ASafetensorsHeaderMayLookLikeAPickle) {
    std::string header = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    header.resize(0x0480, ' ');  // the file starts with 80 04
    EXPECT_EQ(read(raw(uint64_t(header.size())) + header + raw(2.5f)).state.at("w").values,
              SharedFloats(std::vector<float>{2.5f}));
}

TEST(TorchFile, ManyWholeNumbersAreRefused) {
    const auto bytes = [](int32_t rows) {
        return checkpoint(
            dict_of(text_op("w") +
                    tensor_op(
                        {.shape = {rows, 4096}, .strides = {0, 1}, .elements = 4096, .storage_class = "ByteStorage"})),
            std::string(4096, '\1'));
    };
    refused(bytes(4097), "integer tensors hold 16781312 numbers");
    EXPECT_EQ(read(bytes(2)).integers.at("w"), std::vector<int64_t>(8192, 1));
}

// Whatever is left of a file or changed in it: an Error or the weights, never anything else.
TEST(TorchFile, EveryTruncationAndManyFlips) {
    for (const char* name :
         {"all_deflated_unaligned.pth", "views.pth", "zip64_end.pth", "dtypes_legacy.pth", "views_legacy.pth"}) {
        SCOPED_TRACE(name);
        const std::string whole = content(std::filesystem::path(TUNDRA_TESTS "/golden/pth") / name);
        for (size_t size = 0; size < whole.size(); size += 64) EXPECT_THROW(read(whole.substr(0, size)), Error) << size;
        EXPECT_THROW(read(whole.substr(0, whole.size() - 1)), Error);
        size_t accepted = 0;
        for (size_t i = 0; i < whole.size(); i += 3) {
            std::string changed = whole;
            changed[i] = char(changed[i] ^ (1 << i % 8));
            try {
                read(changed);
                ++accepted;
            } catch (const Error& error) {
                EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
            }
        }
        // A zip file protects its records by checksums; dates, padding and legacy weights are protected by nothing.
        std::printf("%s: %zu of %zu flips go unnoticed\n", name, accepted, whole.size() / 3);
    }
}

}  // namespace
