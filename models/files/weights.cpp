#include "models/files/weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/safetensors.h"
#include "base/text.h"
#include "kernels/types.h"
#include "models/files/keras_file.h"

namespace {

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

// Networks hold little but counters as integers; as int64 a small deflated file could take gigabytes.
constexpr size_t kIntegersLimit = size_t(1) << 24;

void check_integers(const WeightFile& file) {
    size_t total = 0;
    for (const StoredTensor& tensor : file.tensors)
        if (is_readable(tensor.dtype) && tensor.dtype >= DType::i64) total += numel(tensor.shape);
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
        case DType::i8: file.integers[tensor.name] = converted<int8_t, int64_t>(bytes); break;
        case DType::u8:
        case DType::boolean: file.integers[tensor.name] = converted<uint8_t, int64_t>(bytes); break;
        default: break;  // a type that nothing here reads
    }
    if (floats) file.state[tensor.name] = {tensor.shape, std::move(*floats)};
}

void read_safetensors(WeightFile& file, FileBytes bytes) {
    file.layout = "safetensors";
    const std::shared_ptr<const void> memory = bytes.memory;
    const SafetensorsFile stored = SafetensorsFile::parse(std::move(bytes), file.path);
    file.metadata = stored.metadata();
    for (const FileTensor& tensor : stored.tensors()) file.tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
    check_integers(file);
    for (const FileTensor& tensor : stored.tensors()) {
        const auto* const numbers = reinterpret_cast<const float*>(tensor.data.data());
        if (tensor.dtype == DType::f32 && reinterpret_cast<uintptr_t>(numbers) % alignof(float) == 0)
            file.state[tensor.name] = {tensor.shape,
                                       SharedFloats(memory, {numbers, tensor.data.size() / sizeof(float)})};
        else
            add(file, {tensor.name, tensor.dtype, tensor.shape}, tensor.data);
    }
}

void read_keras_file(WeightFile& file, std::span<const std::byte> bytes) {
    KerasWeights weights = read_keras(file.path, bytes);
    file.layout = weights.layout;
    file.metadata = std::move(weights.metadata);
    file.notes = std::move(weights.notes);
    if (!weights.other.empty()) file.model.text = weights.other;
    for (const auto& [name, tensor] : weights.state) file.tensors.push_back({name, DType::f32, tensor.shape});
    file.state = std::move(weights.state);
}

bool holds_tensors(const TorchFile& torch, PickleValue value) {
    if (TorchFile::is_module(value)) return true;
    if (value.is(PickleKind::dict))
        for (size_t i = 0; i < value.size(); ++i)
            if (torch.tensor(value[i])) return true;
    return false;
}

// Numbers and texts at the top of a checkpoint.
void take_metadata(WeightFile& file, PickleValue root) {
    for (size_t i = 0; i < std::min<size_t>(root.size(), 100); ++i) {
        const PickleValue value = root[i];
        const std::string key(root.key(i).text().substr(0, 100));
        if (key.empty()) continue;
        if (value.is(PickleKind::text)) file.metadata[key] = value.text().substr(0, 1000);
        if (value.is(PickleKind::integer)) file.metadata[key] = std::to_string(value.integer());
        if (value.is(PickleKind::real)) file.metadata[key] = fmt::format("{}", value.real());
    }
    if (const std::optional<std::string> record = file.torch->record("megadetector_info.json"))
        file.metadata["megadetector_info.json"] = *record;
}

void read_torch(WeightFile& file, FileBytes bytes) {
    file.torch = std::make_shared<const TorchFile>(TorchFile::parse(std::move(bytes), file.path));
    file.layout = file.torch->is_legacy() ? "PyTorch legacy" : "PyTorch zip";
    const PickleValue root = file.torch->root();
    PickleValue chosen = root;
    if (root.is(PickleKind::dict)) {
        take_metadata(file, root);
        for (const char* key : {"ema", "state_dict_ema", "state_dict", "model_state_dict", "model", "net"})
            if (file.source.empty() && holds_tensors(*file.torch, root.find(key)))
                chosen = root.find(file.source = key);
    }
    if (!holds_tensors(*file.torch, chosen))
        fail(Fault::damaged,
             "{}: is a PyTorch file without weights where they are expected (a state_dict or a module, at the top or "
             "under ema, state_dict, model, net)",
             file.path);
    if (chosen.type_name().starts_with("ultralytics."))
        fail(Fault::damaged, "{}: is a YOLOv8 or later model ({}), tundra reads YOLOv5", file.path, chosen.type_name());
    if (TorchFile::is_module(chosen)) file.module = chosen;

    std::vector<NamedTorchTensor> tensors = file.torch->tensors(chosen);
    const auto prefixed = [](const NamedTorchTensor& tensor) { return tensor.name.starts_with("module."); };
    if (!tensors.empty() && std::all_of(tensors.begin(), tensors.end(), prefixed))
        for (NamedTorchTensor& tensor : tensors) tensor.name.erase(0, 7);
    std::map<std::string_view, size_t> seen;
    for (const NamedTorchTensor& tensor : tensors) {
        if (seen[tensor.name]++) fail(Fault::damaged, "{}: two tensors are called '{}'", file.path, tensor.name);
        file.tensors.push_back({tensor.name, tensor.tensor.dtype, tensor.tensor.shape});
    }
    check_integers(file);
    file.torch->read_all(tensors, [&](const NamedTorchTensor& tensor, std::vector<std::byte> content) {
        add(file, {tensor.name, tensor.tensor.dtype, tensor.tensor.shape}, content);
    });
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
    if ((all.size() >= 8 && std::memcmp(all.data(), "\x89HDF\r\n\x1a\n", 8) == 0) || is_keras_archive(all))
        read_keras_file(file, all);
    else if (TorchFile::recognises(all))
        read_torch(file, std::move(bytes));
    else if (brace || path.extension() == ".safetensors")
        read_safetensors(file, std::move(bytes));
    else
        fail(Fault::damaged,
             "{}: is not a weight file that tundra knows (PyTorch .pt/.pth, safetensors, Keras .h5 and .keras)",
             file.path);
    if (file.model.text == RecognisedModel().text) file.model = recognise(file);
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
