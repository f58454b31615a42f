// Reference cases from outside: where they lie, and safetensors files read into named arrays.
//
// The folder is $TUNDRA_GOLDEN, or the copy beside the tests. Sizes, class counts, settings and names come from the
// files of its cases. A test counts the cases that it ran and refused with GoldenCount; a folder in which it finds no
// case that it knows is a failure.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/error.h"

inline std::filesystem::path golden_folder(const std::string& kind) {
    const char* folder = std::getenv("TUNDRA_GOLDEN");
    return std::filesystem::path(folder ? folder : TUNDRA_TESTS "/golden") / kind;
}

inline std::vector<std::filesystem::path> golden_files(const std::string& kind, const std::string& extension) {
    std::vector<std::filesystem::path> files;
    const auto folder = golden_folder(kind);
    if (std::filesystem::is_directory(folder))
        for (const auto& entry : std::filesystem::directory_iterator(folder))
            if (entry.path().extension() == extension) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

inline nlohmann::json golden_json(const std::filesystem::path& file) {
    std::ifstream in(file);
    if (!in) throw std::runtime_error("cannot open " + file.string());
    return nlohmann::json::parse(in);
}

// Class names: a list, or an object {"0": name, "1": name}.
inline std::vector<std::string> golden_names(const nlohmann::json& names) {
    if (names.is_array()) return names;
    std::vector<std::string> list(names.size());
    for (const auto& [number, name] : names.items()) list.at(std::stoul(number)) = name;
    return list;
}

// Why a setting of non-maximum suppression cannot be run, or "".
inline std::string golden_unsupported(const nlohmann::json& setting) {
    if (setting.value("multi_label", false)) return "several labels per box are not supported";
    if (setting.value("agnostic", false)) return "boxes of different classes never suppress each other here";
    return "";
}

struct GoldenArray {
    std::string dtype;
    std::vector<size_t> shape;
    std::vector<uint8_t> bytes;

    // Converted to T, whatever the file holds (F32, F64, I32, I64, U8).
    template <class T>
    std::vector<T> as() const {
        const auto convert = [&]<class From>(From) {
            std::vector<T> values(bytes.size() / sizeof(From));
            for (size_t i = 0; i < values.size(); ++i) {
                From from;
                std::memcpy(&from, &bytes[i * sizeof(From)], sizeof(From));
                values[i] = T(from);
            }
            return values;
        };
        if (dtype == "F32") return convert(float());
        if (dtype == "F64") return convert(double());
        if (dtype == "I64") return convert(int64_t());
        if (dtype == "I32") return convert(int32_t());
        if (dtype == "U8") return convert(uint8_t());
        throw std::runtime_error("golden array of type " + dtype);
    }
};

struct GoldenTensors {
    std::map<std::string, GoldenArray> arrays;
    std::map<std::string, std::string> metadata;

    bool has(const std::string& name) const { return arrays.contains(name); }
    const GoldenArray& at(const std::string& name) const {
        if (!has(name)) throw std::runtime_error("golden file without " + name);
        return arrays.at(name);
    }
};

inline GoldenTensors golden_tensors(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    const std::vector<char> all{std::istreambuf_iterator<char>(in), {}};
    uint64_t header_bytes = 0;
    if (all.size() < 8) throw std::runtime_error("cannot read " + file.string());
    std::memcpy(&header_bytes, all.data(), 8);
    if (header_bytes > all.size() - 8) throw std::runtime_error("truncated: " + file.string());
    const auto header = nlohmann::json::parse(all.begin() + 8, all.begin() + 8 + ptrdiff_t(header_bytes));
    GoldenTensors tensors;
    for (const auto& [name, entry] : header.items()) {
        if (name == "__metadata__") {
            tensors.metadata = entry.get<std::map<std::string, std::string>>();
            continue;
        }
        const auto range = entry.at("data_offsets").get<std::vector<size_t>>();
        if (range.at(1) > all.size() - 8 - header_bytes || range[0] > range[1])
            throw std::runtime_error("truncated: " + file.string());
        const auto data = all.begin() + 8 + ptrdiff_t(header_bytes);
        tensors.arrays[name] = {entry.at("dtype"),
                                entry.at("shape").get<std::vector<size_t>>(),
                                {data + ptrdiff_t(range[0]), data + ptrdiff_t(range[1])}};
    }
    return tensors;
}

// Counts cases; its end prints them and fails the test if none ran.
class GoldenCount {
public:
    ~GoldenCount() {
        for (const auto& [reason, count] : refused_) printf("%zu cases refused: %s\n", count, reason.c_str());
        printf("%zu cases checked\n", checked_);
        EXPECT_GT(checked_, 0u) << "no golden case of a known kind was found";
    }
    void check() { ++checked_; }
    void refuse(const std::string& reason) { ++refused_[reason]; }

private:
    size_t checked_ = 0;
    std::map<std::string, size_t> refused_;
};

// Runs one case, whose description is `expected`. An Error is a good answer where `may_refuse` says so (true, or the
// reason), and elsewhere a failure of this case only.
template <class Body>
void golden_case(const std::string& name, const nlohmann::json& expected, GoldenCount& count, const Body& body) {
    SCOPED_TRACE(name);
    const nlohmann::json allowed = expected.is_object() ? expected.value("may_refuse", nlohmann::json()) : nullptr;
    try {
        body();
    } catch (const Error& error) {
        if (allowed.is_string() || allowed == true)
            count.refuse(error.what());
        else
            ADD_FAILURE() << error.what();
    } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
    }
}

// The device that computes the cases: cpu, or what TUNDRA_GOLDEN_DEVICE names (scripts/gpu_verify.sh: cuda).
inline const char* golden_device() {
    const char* name = std::getenv("TUNDRA_GOLDEN_DEVICE");
    return name ? name : "cpu";
}
