// Weight files in the safetensors layout: reads them with every check that the format asks for, and writes files that
// other readers accept.
//
// u64 little-endian N; N bytes of JSON {name: {dtype, shape, data_offsets: [begin, end)}, "__metadata__": {text:
// text}}; data, row-major and little-endian, covered by the tensors without gap or overlap.
// https://github.com/huggingface/safetensors#format
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/dtype.h"
#include "base/file.h"

struct FileTensor {
    std::string name;
    DType dtype;
    std::vector<size_t> shape;
    std::span<const std::byte> data;  // a view; not aligned when it comes from a file
};

// Owns the bytes behind its tensors. Errors are Fault::damaged and name the file, the tensor and the value.
// The header has at most 100 MB, as the format says. Types that nothing here reads are no error until they are needed.
class SafetensorsFile {
public:
    static SafetensorsFile open(const std::filesystem::path& path);
    static SafetensorsFile parse(FileBytes bytes, std::string label);  // label: what errors call the file

    std::span<const FileTensor> tensors() const { return tensors_; }  // in the order of their data
    const FileTensor* find(std::string_view name) const;              // null if there is none
    const FileTensor& at(std::string_view name) const;                // Fault::damaged if there is none
    const std::map<std::string, std::string>& metadata() const { return metadata_; }

private:
    std::string label_;
    FileBytes bytes_;
    std::vector<FileTensor> tensors_;
    std::unordered_map<std::string_view, size_t> index_;
    std::map<std::string, std::string> metadata_;
};

// Tensors of wide types come first, otherwise in the given order; equal arguments give equal bytes. `durable` and
// `calls` are those of write_file_durably().
void write_safetensors(const std::filesystem::path& path, std::span<const FileTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {}, bool durable = true,
                       const FileCalls& calls = {});

// A copy as T, whose size must be that of the stored type.
template <class T>
std::vector<T> elements(const FileTensor& tensor) {
    std::vector<T> values(tensor.data.size() / sizeof(T));
    std::copy_n(tensor.data.data(), values.size() * sizeof(T), reinterpret_cast<std::byte*>(values.data()));
    return values;
}
