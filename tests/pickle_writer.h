// Pickles and PyTorch files for tests, written by hand.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "models/files/weights.h"
#include "tests/zip_writer.h"

inline std::string text_op(const std::string& text) { return "X" + raw(uint32_t(text.size())) + text; }
inline std::string int_op(int32_t value) { return "J" + raw(value); }
inline std::string class_op(const std::string& name) {
    const size_t dot = name.rfind('.');
    return "c" + name.substr(0, dot) + "\n" + name.substr(dot + 1) + "\n";
}

inline std::string tuple_op(const std::vector<int32_t>& values) {
    std::string result = "(";
    for (const int32_t value : values) result += int_op(value);
    return result + "t";
}

inline std::string pickle_of(const std::string& body) { return "\x80\x02" + body + "."; }
inline std::string dict_op(const std::string& items) { return "}(" + items + "u"; }

// The weights of a file with these bytes, by the one way in that users have.
inline WeightFile read_bytes(const std::string& bytes, const std::string& extension = ".pt") {
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("tundra_weights_" + std::to_string(getpid()) + extension);
    std::ofstream(path, std::ios::binary) << bytes;
    struct Removed {
        const std::filesystem::path& path;
        ~Removed() { std::filesystem::remove(path); }
    } const removed{path};
    return read_weights(path);
}
