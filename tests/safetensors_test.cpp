// safetensors files: what is written comes back, and every malformed case is refused with one clear line.
#include "base/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "tests/files.h"

namespace {

namespace fs = std::filesystem;

struct Folder {
    fs::path path = fs::temp_directory_path() / ("tundra_safetensors_" + std::to_string(getpid()));
    Folder() { fs::create_directories(path); }
    ~Folder() { fs::remove_all(path); }
    fs::path operator/(const char* name) const { return path / name; }
    size_t entries() const { return size_t(std::distance(fs::directory_iterator(path), fs::directory_iterator())); }
};

std::string file_of(const std::string& header, size_t data_bytes) {
    const uint64_t size = header.size();
    return std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(data_bytes, '\1');
}

SafetensorsFile parse(const std::string& text) {
    return SafetensorsFile::parse(FileBytes::copy(std::as_bytes(std::span(text))), "x.safetensors");
}

void refused(const std::string& text, const std::string& part) {
    SCOPED_TRACE(part);
    try {
        parse(text);
        FAIL() << "accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, Fault::damaged);
        EXPECT_NE(std::string(error.what()).find("x.safetensors"), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
}

std::string one_tensor(const std::string& shape, const std::string& offsets, const std::string& dtype = "I32") {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

TEST(Safetensors, WhatIsWrittenComesBack) {
    const Folder folder;
    const std::vector<float> floats{1.5f, -2, 3};
    const std::vector<uint8_t> small{7, 8, 9, 10, 11};
    const std::vector<int64_t> scalar{-5};
    const std::vector<FileTensor> tensors{{"b \"quoted\" ünï", DType::u8, {5}, std::as_bytes(std::span(small))},
                                          {"a", DType::f32, {3, 1}, std::as_bytes(std::span(floats))},
                                          {"n", DType::i64, {}, std::as_bytes(std::span(scalar))},
                                          {"empty", DType::bf16, {0, 4}, {}}};
    write_safetensors(folder / "m", tensors, {{"k", "v\n"}, {"step", "12"}});
    const SafetensorsFile file = SafetensorsFile::open(folder / "m");
    ASSERT_EQ(file.tensors().size(), 4u);
    EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"k", "v\n"}, {"step", "12"}}));
    EXPECT_EQ(elements<float>(file.at("a")), floats);
    EXPECT_EQ(elements<uint8_t>(file.at("b \"quoted\" ünï")), small);
    EXPECT_EQ(elements<int64_t>(file.at("n")), scalar);
    EXPECT_EQ(file.at("a").shape, (std::vector<size_t>{3, 1}));
    EXPECT_EQ(file.at("empty").data.size(), 0u);
    EXPECT_EQ(file.find("other"), nullptr);
    EXPECT_THROW(file.at("other"), Error);
    EXPECT_EQ(file.tensors()[0].name, "n");  // the widest first

    const std::string bytes = content(folder / "m");
    uint64_t header;
    std::memcpy(&header, bytes.data(), 8);
    EXPECT_EQ(header % 8, 0u);
    write_safetensors(folder / "again", tensors, {{"step", "12"}, {"k", "v\n"}});
    EXPECT_EQ(content(folder / "again"), bytes);
    EXPECT_EQ(folder.entries(), 2u);  // no temporary file is left
}

TEST(Safetensors, AcceptsWhatTheRulesAllow) {
    EXPECT_EQ(parse(file_of("{}", 0)).tensors().size(), 0u);
    EXPECT_EQ(parse(file_of("\r\n\t {} \r\n\t ", 0)).tensors().size(), 0u);
    EXPECT_EQ(parse(file_of(one_tensor("[2,0]", "[0,0]"), 0)).at("t").shape[1], 0u);
    EXPECT_EQ(parse(file_of(one_tensor("[]", "[0,4]"), 4)).at("t").data.size(), 4u);
    EXPECT_EQ(parse(file_of(one_tensor("[3]", "[0,3]", "U8"), 3)).at("t").data.size(), 3u);
    // Listed in another order than stored, one of them unaligned.
    const SafetensorsFile file =
        parse(file_of(R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},)"
                      R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{}})",
                      5));
    EXPECT_EQ(file.tensors()[0].name, "a");
    EXPECT_EQ(file.at("b").data.data(), file.at("a").data.data() + 1);
}

TEST(Safetensors, RefusesMalformedFiles) {
    refused("", "too few");
    refused(std::string(7, '\0'), "too few");
    refused(std::string("\x3f\0\0\0\0\0\0\0", 8), "claims");
    refused(std::string("\xff\xff\xff\0\0\0\0\0", 8), "claims");
    refused(std::string("\x01\xe1\xf5\x05\0\0\0\0", 8), "limit");  // 100,000,001
    refused(std::string(8, '\xff'), "limit");
    refused(file_of("\xff", 0), "begin");
    refused(file_of("{", 0), "JSON");
    refused(file_of("", 0), "begin");
    refused(file_of("[]", 0), "begin");
    refused(file_of("\xef\xbb\xbf{}", 0), "begin");
    refused(file_of("{\"\xff\":{}}", 0), "JSON");
    refused(file_of("{}x", 0), "JSON");
    refused(file_of(std::string("{}\0", 3), 0), "zero byte");
    refused(file_of(R"({"t":5})", 0), "number");
    refused(file_of(R"({"t":null})", 0), "null");
    refused(file_of(R"({"t":{}})", 0), "lacks");
    refused(file_of(R"({"t":{"dtype":"I32","shape":[1]}})", 4), "lacks");
    refused(file_of(R"({"t":{"dtype":"I32","shape":[1],"data_offsets":[0,4],"more":[1]}})", 4), "array");
    refused(file_of(R"({"t":{"dtype":"I32","dtype":"I32","shape":[1],"data_offsets":[0,4]}})", 4), "twice");
    refused(file_of(R"({"t":{"dtype":"I32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", 4), "twice");
    refused(file_of(one_tensor("[1]", "[0,4]", "F5"), 4), "F5");
    refused(file_of(one_tensor("[3]", "[0,2]", "F4"), 2), "whole number of bytes");
    refused(file_of(one_tensor("[4]", "[0,4]", "F4"), 4), "need 2");
    refused(file_of(one_tensor("[-1]", "[0,4]"), 4), "negative");
    refused(file_of(one_tensor("[1.0]", "[0,4]"), 4), "integer");
    refused(file_of(one_tensor("[99999999999999999999]", "[0,4]"), 4), "integer");
    refused(file_of(one_tensor("[[1]]", "[0,4]"), 4), "array");
    refused(file_of(one_tensor("[1]", "[0]"), 4), "range");
    refused(file_of(one_tensor("[1]", "[0,4,4]"), 4), "range");
    refused(file_of(one_tensor("[1]", "[4,0]"), 4), "range");
    refused(file_of(one_tensor("[1]", "[4,8]"), 8), "begins");          // a hole at the start
    refused(file_of(one_tensor("[1]", "[0,4]"), 6), "after the last");  // a trailer
    refused(file_of(one_tensor("[1]", "[0,4]"), 2), "ends at");         // two bytes missing
    refused(file_of(one_tensor("[2]", "[0,4]"), 4), "need 8");          // shape and range disagree
    refused(file_of(one_tensor("[18446744073709551615,2]", "[0,4]"), 4), "64 bits");
    refused(file_of(one_tensor("[4611686018427387904]", "[0,0]"), 0), "64 bits");
    refused(file_of(one_tensor("[18446744073709551615,2,0]", "[0,0]"), 0), "64 bits");
    refused(file_of(R"({"__metadata__":{"a":1}})", 0), "metadata");
    refused(file_of(R"({"__metadata__":{"a":"1","a":"2"}})", 0), "twice");
    refused(file_of(R"({"__metadata__":{"a":{}}})", 0), "object");
    refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "twice");
    refused(file_of("{\"" + std::string(70'000, 'n') + "\":{}}", 0), "lacks");
    refused(file_of(std::string(100'000, '['), 0), "begin");
    refused(file_of("{\"t\":" + std::string(100'000, '['), 0), "array");

    std::string twice = one_tensor("[1]", "[0,4]");
    refused(file_of(twice.substr(0, twice.size() - 1) + "," + twice.substr(1), 4), "twice");
    std::string overlapping = "{";
    for (int i = 0; i < 10; ++i)
        overlapping +=
            (i ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})";
    refused(file_of(overlapping + "}", 16), "begins");
}

// Every type, rank and size that the format has: such a file is sound, whether or not anything reads its elements.
TEST(Safetensors, WhatTheFormatAllows) {
    const std::tuple<const char*, const char*, size_t> types[] = {
        {"U16", "[3]", 6},     {"U32", "[1]", 4},         {"U64", "[2]", 16},
        {"C64", "[2]", 16},    {"F8_E4M3", "[5]", 5},     {"F8_E5M2", "[5]", 5},
        {"F8_E8M0", "[1]", 1}, {"F8_E4M3FNUZ", "[1]", 1}, {"F8_E5M2FNUZ", "[1]", 1},
        {"F6_E2M3", "[4]", 3}, {"F6_E3M2", "[8]", 6},     {"F4", "[3,2]", 3},
        {"I32", "[]", 4},      {"F32", "[0,7]", 0},       {"F32", "[1,1,1,1,1,1,1,1,1,1,1,1]", 4}};
    for (const auto& [type, shape, bytes] : types) {
        const SafetensorsFile file = parse(file_of(one_tensor(shape, fmt::format("[0,{}]", bytes), type), bytes));
        EXPECT_EQ(to_string(file.tensors()[0].dtype), type);
        EXPECT_EQ(file.tensors()[0].data.size(), bytes) << type;
    }
    const std::string metadata = R"({"__metadata__":{"a":")" + std::string(20'000'000, 'm') + "\"}}";
    EXPECT_EQ(parse(file_of(metadata, 0)).metadata().at("a").size(), 20'000'000u);
}

TEST(Safetensors, EveryTruncationIsRefused) {
    const std::string whole = file_of(one_tensor("[3]", "[0,12]"), 12);
    for (size_t size = 0; size < whole.size(); ++size) EXPECT_THROW(parse(whole.substr(0, size)), Error) << size;
}

TEST(Safetensors, WriterRefusesWhatReadersWould) {
    const Folder folder;
    const std::vector<float> x{1};
    const FileTensor good{"a", DType::f32, {1}, std::as_bytes(std::span(x))};
    FileTensor bad = good;
    bad.shape = {2};
    EXPECT_THROW(write_safetensors(folder / "m", std::vector{bad}), Error);
    EXPECT_THROW(write_safetensors(folder / "m", std::vector{good, good}), Error);
    bad = good;
    bad.name = "__metadata__";
    EXPECT_THROW(write_safetensors(folder / "m", std::vector{bad}), Error);
    bad.name = "\xff";
    EXPECT_THROW(write_safetensors(folder / "m", std::vector{bad}), Error);
    EXPECT_EQ(folder.entries(), 0u);
}

TEST(File, ReadErrorsNameTheFile) {
    const Folder folder;
    EXPECT_THROW(read_file(folder / "none"), Error);
    EXPECT_THROW(read_file(folder.path), Error);
    std::ofstream(folder / "five") << "12345";
    EXPECT_EQ(read_file(folder / "five").size, 5u);
    EXPECT_THROW(read_file(folder / "five", 4), Error);
}

void write_text(const fs::path& path, std::string_view text, const FileCalls& calls = {}) {
    write_file_durably(
        path, [&](FileWriter& file) { file.write(text); }, true, calls);
}

TEST(File, AFailedWriteLeavesTheOldContent) {
    const Folder folder;
    const fs::path path = folder / "state";
    write_text(path, "old");
    FileCalls full, broken_sync, broken_rename;
    full.write = [](int, const void*, size_t) { return errno = ENOSPC, ssize_t(-1); };
    broken_sync.fsync = [](int) { return errno = EIO, -1; };
    broken_rename.rename = [](const char*, const char*) { return errno = EACCES, -1; };
    for (const FileCalls& calls : {full, broken_sync, broken_rename}) {
        try {
            write_text(path, "new", calls);
            FAIL() << "written";
        } catch (const Error& error) {
            EXPECT_EQ(error.fault, Fault::environment);
            EXPECT_NE(std::string(error.what()).find("state"), std::string::npos) << error.what();
        }
        EXPECT_EQ(content(path), "old");
        EXPECT_EQ(folder.entries(), 1u);
    }
    EXPECT_THROW(write_file_durably(path,
                                    [](FileWriter& file) {
                                        file.write("half");
                                        throw std::runtime_error("stopped");
                                    }),
                 std::runtime_error);
    EXPECT_EQ(content(path), "old");
    EXPECT_EQ(folder.entries(), 1u);
    EXPECT_THROW(write_text(folder / "no/such/folder", "x"), Error);
}

TEST(File, ShortWritesAndInterruptionsAreContinued) {
    const Folder folder;
    FileCalls slow;
    int count = 0;
    slow.write = [&](int file, const void* bytes, size_t size) {
        if (++count % 3 == 0) return errno = EINTR, ssize_t(-1);
        return ::write(file, bytes, std::min<size_t>(size, 2));
    };
    write_text(folder / "f", "0123456789", slow);
    EXPECT_EQ(content(folder / "f"), "0123456789");
}

}  // namespace
