#include "models/files/weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "base/text.h"
#include "kernels/types.h"
#include "models/files/checkpoint_facts.h"
#include "models/files/int8_file.h"
#include "models/files/keras_file.h"
#include "models/files/recognise.h"
#include "models/int8.h"

namespace {

using nlohmann::json;

bool is_real(DType type) { return to_string(type)[0] == 'F' || type == DType::bf16; }

template <class From, class To>
std::vector<To> converted(std::span<const std::byte> bytes) {
    std::vector<To> values(bytes.size() / sizeof(From));
    for (size_t i = 0; i < values.size(); ++i) {
        From from;
        std::memcpy(&from, bytes.data() + i * sizeof(From), sizeof(From));
        values[i] = To(from);
    }
    return values;
}

bool is_quantized(const WeightFile& file) { return file.metadata.contains(kInt8); }

// Networks hold little but counters as integers; as int64 a small deflated file could take gigabytes.
constexpr size_t kIntegersLimit = size_t(1) << 24;

void check_integers(const WeightFile& file) {
    size_t total = 0;
    for (const StoredTensor& tensor : file.tensors)
        if (!(is_quantized(file) && tensor.dtype == DType::i8) && is_readable(tensor.dtype) && !is_real(tensor.dtype))
            total += numel(tensor.shape);
    if (total > kIntegersLimit)
        fail(Fault::damaged,
             "{}: its integer tensors hold {} numbers, the limit is {}; tundra takes weights in floating "
             "point, not quantised ones",
             file.path, total, kIntegersLimit);
}

void add(WeightFile& file, const StoredTensor& tensor, std::span<const std::byte> bytes) {
    std::optional<std::vector<float>> floats;
    switch (tensor.dtype) {
        case DType::f64: floats = converted<double, float>(bytes); break;
        case DType::f32: floats = converted<float, float>(bytes); break;
        case DType::f16: floats = converted<fp16, float>(bytes); break;
        case DType::bf16: floats = converted<bf16, float>(bytes); break;
        case DType::i64: file.integers[tensor.name] = converted<int64_t, int64_t>(bytes); break;
        case DType::i32: file.integers[tensor.name] = converted<int32_t, int64_t>(bytes); break;
        case DType::i16: file.integers[tensor.name] = converted<int16_t, int64_t>(bytes); break;
        case DType::i8:
            if (is_quantized(file))
                floats = converted<int8_t, float>(bytes);
            else
                file.integers[tensor.name] = converted<int8_t, int64_t>(bytes);
            break;
        case DType::u8:
        case DType::boolean: file.integers[tensor.name] = converted<uint8_t, int64_t>(bytes); break;
        default: break;  // a type that nothing here reads
    }
    if (floats && tensor.name.ends_with("num_batches_tracked"))  // of a state_dict whose every tensor was converted
        file.integers[tensor.name].assign(floats->begin(), floats->end());
    else if (floats)
        file.state[tensor.name] = {tensor.shape, std::move(*floats)};
}

// What is known of a file before its values are read.
struct Content {
    std::vector<CheckpointTensor> tensors{};
    json facts = json::object();
    FoundNetwork found{};

    // Finds the network; fills in what `file` says of it.
    void find(WeightFile& file) {
        found = find_network(tensors, stated_classes(facts));
        file.notes.insert(file.notes.end(), found.notes.begin(), found.notes.end());
        if (!found.found) return;
        file.source = found.container.substr(0, found.container.size() - !found.container.empty());
        file.prefix = found.prefix.substr(found.container.size());
    }
    // The name under which tensor i is read, "" if it is not. Of an unknown network all are.
    std::string name(size_t i) const { return found.found ? found.names[i] : tensors[i].name; }
};

Content read_safetensors(WeightFile& file, FileBytes bytes) {
    file.layout = "safetensors";
    const std::shared_ptr<const void> memory = bytes.memory;
    const SafetensorsFile stored = SafetensorsFile::parse(std::move(bytes), file.path);
    file.metadata = stored.metadata();
    Content content;
    for (const auto& [key, value] : stored.metadata()) {
        json parsed = parse_foreign(value);
        content.facts[key] = parsed.is_discarded() ? json(value) : std::move(parsed);
    }
    if (!file.metadata.contains("tundra.model") && !file.metadata.contains("tundra.normalize"))
        file.metadata.merge(metadata_of(content.facts));
    for (const FileTensor& tensor : stored.tensors())
        content.tensors.push_back({.name = tensor.name, .shape = tensor.shape, .real = is_real(tensor.dtype)});
    content.find(file);
    for (size_t i = 0; i < content.tensors.size(); ++i)
        if (const std::string name = content.name(i); !name.empty())
            file.tensors.push_back({name, stored.tensors()[i].dtype, stored.tensors()[i].shape});
    check_integers(file);
    for (size_t i = 0; i < content.tensors.size(); ++i) {
        const std::string name = content.name(i);
        const FileTensor& tensor = stored.tensors()[i];
        const auto* const numbers = reinterpret_cast<const float*>(tensor.data.data());
        if (name.empty()) continue;
        if (tensor.dtype == DType::f32 && reinterpret_cast<uintptr_t>(numbers) % alignof(float) == 0)
            file.state[name] = {tensor.shape, SharedFloats(memory, {numbers, tensor.data.size() / sizeof(float)})};
        else
            add(file, {name, tensor.dtype, tensor.shape}, tensor.data);
    }
    if (is_quantized(file)) take_int8(file);
    return content;
}

Content read_keras_file(WeightFile& file, std::span<const std::byte> bytes) {
    KerasWeights weights = read_keras(file.path, bytes);
    file.layout = weights.layout;
    file.metadata = std::move(weights.metadata);
    file.notes = std::move(weights.notes);
    if (!weights.other.empty()) file.model.text = weights.other;
    Content content;
    for (const auto& [name, tensor] : weights.state) {
        file.tensors.push_back({name, DType::f32, tensor.shape});
        content.tensors.push_back({.name = name, .shape = tensor.shape});
    }
    content.find(file);
    file.state = std::move(weights.state);
    return content;
}

// Names at the top of a checkpoint, for the message that it has no weights.
std::string keys_of(PickleValue root) {
    std::vector<std::string> keys;
    for (size_t i = 0; i < std::min<size_t>(root.size(), 10); ++i) keys.emplace_back(root.key(i).text().substr(0, 60));
    if (!root.type_name().empty()) return fmt::format("it holds an object of the class {}", root.type_name());
    return keys.empty() ? "it holds no names" : fmt::format("it holds {}", fmt::join(keys, ", "));
}

Content read_torch(WeightFile& file, FileBytes bytes) {
    file.torch = std::make_shared<const TorchFile>(TorchFile::parse(std::move(bytes), file.path));
    file.layout = file.torch->is_legacy() ? "PyTorch legacy" : "PyTorch zip";
    const PickleValue root = file.torch->root();
    TorchContent stored = file.torch->content(root);
    Content content{.facts = facts_of(root)};
    if (stored.tensors.empty())
        fail(Fault::damaged, "{}: is a PyTorch file without weights; {}", file.path, keys_of(root));
    file.metadata = metadata_of(content.facts);
    if (const std::optional<std::string> record = file.torch->record("megadetector_info.json"))
        file.metadata["megadetector_info.json"] = *record;

    for (const NamedTorchTensor& t : stored.tensors)
        content.tensors.push_back({.name = t.name,
                                   .shape = t.tensor.shape,
                                   .real = !t.tensor.unsupported.empty() || is_real(t.tensor.dtype),
                                   .container = t.container,
                                   .storage = fmt::format("{} {}", t.tensor.storage, t.tensor.offset)});
    content.find(file);
    std::vector<NamedTorchTensor> chosen;
    std::map<std::string_view, size_t> seen;
    for (size_t i = 0; i < stored.tensors.size(); ++i) {
        const std::string name = content.name(i), &type = stored.tensors[i].tensor.unsupported;
        if (name.empty()) continue;
        if (!type.empty())
            fail(Fault::damaged, "{}: tensor {} is of type '{}', which tundra does not read", file.path, name, type);
        if (seen[stored.tensors[i].name]++)
            fail(Fault::damaged, "{}: two tensors are called '{}'", file.path, stored.tensors[i].name);
        chosen.push_back({name, stored.tensors[i].tensor});
        file.tensors.push_back({name, stored.tensors[i].tensor.dtype, stored.tensors[i].tensor.shape});
    }
    check_integers(file);
    file.torch->read_all(chosen, [&](const NamedTorchTensor& tensor, std::vector<std::byte> values) {
        add(file, {tensor.name, tensor.tensor.dtype, tensor.tensor.shape}, values);
    });
    return content;
}

// The hub's folders have the settings of a network beside its weights, as config.json and preprocessor_config.json.
void read_config(WeightFile& file, json& facts) {
    const std::filesystem::path path = file.path;
    const std::string name = path.filename().string();
    if ((name != "model.safetensors" && name != "pytorch_model.bin") || file.metadata.contains("tundra.model") ||
        file.metadata.contains("tundra.normalize"))
        return;
    for (const char* config : {"config.json", "preprocessor_config.json"}) {
        const std::filesystem::path beside = path.parent_path() / config;
        std::error_code missing;
        if (!std::filesystem::is_regular_file(beside, missing) || std::filesystem::file_size(beside, missing) > 4 << 20)
            continue;
        const FileBytes bytes = read_file(beside);
        json parsed = parse_foreign(bytes.text());
        if (parsed.is_object()) facts[config] = std::move(parsed);
    }
    file.metadata.merge(metadata_of(facts));
}

// The file, memory-mapped; empty if that is not possible. All pages are read here, so that a failing disk is found
// now (the caller then uses read_file()) and not by a signal later.
FileBytes map_file(const std::filesystem::path& path) {
    FileBytes bytes;
#ifdef MADV_POPULATE_READ
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (file >= 0 && fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        const size_t size = size_t(info.st_size);
        void* const memory = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
        if (memory != MAP_FAILED && madvise(memory, size, MADV_POPULATE_READ) == 0)
            bytes = {.memory = {static_cast<std::byte*>(memory), [size](std::byte* all) { munmap(all, size); }},
                     .size = size};
        else if (memory != MAP_FAILED)
            munmap(memory, size);
    }
    if (file >= 0) close(file);
#endif
    return bytes;
}

// Describes files that people mistake for weights, recognised by their first bytes; otherwise "".
std::string mistaken(std::span<const std::byte> bytes) {
    std::string start(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 300));
    if (start.substr(0, 8) == "\x89HDF\r\n\x1a\n") return "";
    if (start.size() >= 262 && start.substr(257, 5) == "ustar")
        return "is a tar archive, as torch before 0.1.10 wrote them; load and save it with a newer torch";
    if (start.starts_with("version https://git-lfs"))
        return "is a Git LFS pointer and not the file itself; run `git lfs pull` where it came from";
    start.erase(0, start.find_first_not_of(" \t\r\n"));
    start = lower(start);
    if (start.starts_with("<!doctype") || start.starts_with("<html"))
        return "is a web page; the download went wrong, get the file itself";
    // A protocol buffer: the version as field 1, the name of the writer as field 2.
    if (start.size() > 8 && start[0] == 8 && start[1] > 0 && start[1] < 32 && start[2] == 0x12 && start[3] > 0 &&
        std::isalpha(uint8_t(start[4])))
        return "is an ONNX export, which holds a program; take the .pt file that it was made from";
    if (start.starts_with("\x80\x02") || start.starts_with("\x80\x03") || start.starts_with("\x80\x04") ||
        start.starts_with("\x80\x05"))
        return "is a Python pickle, but not a PyTorch checkpoint";
    return "";
}

}  // namespace

WeightFile read_weights(const std::filesystem::path& path, bool mapped) {
    WeightFile file{};
    file.path = path.string();
    FileBytes bytes = mapped ? map_file(path) : FileBytes{};
    if (!bytes.memory) bytes = read_file(path);
    const std::span<const std::byte> all = bytes.span();
    const auto header = std::find_if(all.begin() + ptrdiff_t(std::min<size_t>(8, all.size())), all.end(),
                                     [](std::byte b) { return !std::isspace(int(b)); });
    // The length of a safetensors header may look like the start of a pickle.
    const bool brace = header != all.end() && *header == std::byte('{');
    if (const std::string what = mistaken(all); !what.empty() && !brace && !TorchFile::recognises(all))
        fail(Fault::damaged, "{}: {}", file.path, what);
    if (all.empty()) fail(Fault::damaged, "{}: is empty", file.path);
    Content content;
    if ((all.size() >= 8 && std::memcmp(all.data(), "\x89HDF\r\n\x1a\n", 8) == 0) || is_keras_archive(all))
        content = read_keras_file(file, all);
    else if (TorchFile::recognises(all))
        content = read_torch(file, std::move(bytes));
    else if (brace || path.extension() == ".safetensors")
        content = read_safetensors(file, std::move(bytes));
    else
        fail(Fault::damaged,
             "{}: is not a weight file that tundra knows (PyTorch .pt/.pth, safetensors, Keras .h5 and .keras)",
             file.path);
    read_config(file, content.facts);
    if (file.model.text == RecognisedModel().text)  // a Keras file may have said what it is
        recognise(file, content.found, content.tensors, content.facts);
    return file;
}

PickleValue child_module(PickleValue module, std::string_view name) {
    while (!name.empty()) {
        const size_t dot = name.find('.');
        module = module.find("_modules").find(name.substr(0, dot));
        name = dot == name.npos ? "" : name.substr(dot + 1);
    }
    return module;
}
