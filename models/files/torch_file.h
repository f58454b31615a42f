// PyTorch checkpoints without Python: zip files (torch 1.6 and later) and the legacy layout before it.
//
// The pickle becomes an inert tree (models/files/pickle.h); a tensor is recognised by the name of the function that
// would rebuild it, and by nothing else. Every size, stride and offset is checked against its storage before memory is
// taken. TorchScript and tar files are refused by name; tensors of types that tundra does not read (complex, float8,
// quantised) are listed and refused when they are read.
// https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/file.h"
#include "models/files/pickle.h"
#include "models/files/zip_file.h"

struct TorchTensor {
    DType dtype = DType::f32;
    std::vector<size_t> shape{}, strides{};  // strides and offset in elements
    size_t offset = 0;
    std::string storage{};      // key of the storage
    size_t storage_bytes = 0;   // according to the pickle
    std::string unsupported{};  // the name of its type if it cannot be read; then only its shape is known
};

struct NamedTorchTensor {
    std::string name;
    TorchTensor tensor;
    size_t container = 0;  // so much of the name leads to the dict or the outermost module that holds it: "state_dict."
};

struct TorchContent {
    std::vector<NamedTorchTensor> tensors{};                     // in the order of the file
    std::vector<std::pair<std::string, PickleValue>> modules{};  // the outermost ones, by their names
};

class TorchFile {
public:
    static TorchFile open(const std::filesystem::path& path);
    static TorchFile parse(FileBytes bytes, std::string label);
    bool is_legacy() const { return !zip_; }
    static bool recognises(std::span<const std::byte> bytes);  // by the first bytes: zip, or the legacy magic number

    PickleValue root() const { return tree_->value(); }

    // Nothing if `value` is not a tensor; Fault::damaged if it is one that contradicts itself.
    std::optional<TorchTensor> tensor(PickleValue value) const;

    // Every tensor below `value`: entries of dicts, elements of lists and attributes of objects by their key, modules
    // as in a state_dict (parameters, persistent buffers, children); "a.b.0.weight".
    TorchContent content(PickleValue value) const;
    std::vector<NamedTorchTensor> tensors(PickleValue value) const { return content(value).tensors; }

    // What the pickle asks Python to call or to make that no weight needs, "os.system('rm x')"; none of it is run.
    std::vector<std::string> foreign_code() const;

    // The elements, made contiguous, row-major; read_all reads every storage once.
    std::vector<std::byte> read(const TorchTensor& tensor) const;
    void read_all(const std::vector<NamedTorchTensor>& tensors,
                  const std::function<void(const NamedTorchTensor&, std::vector<std::byte>)>& visit) const;

    // Small text records beside the weights, "megadetector_info.json" for one; nothing if it is missing.
    std::optional<std::string> record(const std::string& name) const;

private:
    TorchFile() = default;
    void parse_zip();
    void parse_legacy();
    std::vector<std::byte> storage(const std::string& key) const;
    size_t storage_size(const std::string& key) const;
    std::vector<std::byte> gather(const TorchTensor& tensor, std::span<const std::byte> storage) const;

    std::string label_, folder_;  // folder_: the archive's top folder, with its slash
    FileBytes bytes_;
    std::vector<std::byte> pickle_;
    std::unique_ptr<ZipFile> zip_;                                // null for the legacy layout
    std::map<std::string, std::span<const std::byte>> storages_;  // of the legacy layout
    std::unique_ptr<PickleTree> tree_;
};
