#include "models/files/torch_file.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "base/error.h"
#include "models/files/wrappers.h"

namespace {

constexpr size_t kTensorLimit = 100'000, kStepLimit = 4'000'000, kDepthLimit = 64, kNameLimit = 1000, kRankLimit = 8;
constexpr size_t kFreeBytes = size_t(64) << 20, kRatio = 16;
constexpr unsigned char kLegacyMagic[] = {0x80, 2,    0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                          0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};

template <class... Parts>
[[noreturn]] void damaged(const std::string& label, fmt::format_string<Parts...> text, Parts&&... parts) {
    fail(Fault::damaged, "{}: damaged PyTorch file: {}; copy or download it again", label,
         fmt::format(text, std::forward<Parts>(parts)...));
}

template <class... Parts>
[[noreturn]] void refused(const std::string& label, fmt::format_string<Parts...> text, Parts&&... parts) {
    fail(Fault::damaged, "{}: {}", label, fmt::format(text, std::forward<Parts>(parts)...));
}

bool starts_with(std::span<const std::byte> bytes, const void* start, size_t size) {
    return bytes.size() >= size && std::memcmp(bytes.data(), start, size) == 0;
}

struct TypeName {
    std::string_view storage, torch;
    std::optional<DType> type;  // nothing: tundra cannot read it
    size_t bytes = type ? size_of(*type) : 1;
};
constexpr TypeName kTypes[] = {{"DoubleStorage", "torch.float64", DType::f64},
                               {"FloatStorage", "torch.float32", DType::f32},
                               {"HalfStorage", "torch.float16", DType::f16},
                               {"BFloat16Storage", "torch.bfloat16", DType::bf16},
                               {"LongStorage", "torch.int64", DType::i64},
                               {"IntStorage", "torch.int32", DType::i32},
                               {"ShortStorage", "torch.int16", DType::i16},
                               {"CharStorage", "torch.int8", DType::i8},
                               {"ByteStorage", "torch.uint8", DType::u8},
                               {"BoolStorage", "torch.bool", DType::boolean},
                               {"UntypedStorage", "", DType::u8},
                               {"ComplexFloatStorage", "torch.complex64", {}, 8},
                               {"ComplexDoubleStorage", "torch.complex128", {}, 16},
                               {"QInt32Storage", "torch.qint32", {}, 4},
                               {"QInt8Storage", "torch.qint8", {}},
                               {"QUInt8Storage", "torch.quint8", {}}};

const TypeName* type_of_storage(std::string_view name) {
    for (const std::string_view prefix : {"torch.cuda.", "torch.storage.", "torch."})
        if (name.starts_with(prefix))
            for (const TypeName& type : kTypes)
                if (name.substr(prefix.size()) == type.storage) return &type;
    return nullptr;
}

struct Storage {
    std::string_view key;
    std::optional<DType> type;
    std::string_view type_name;
    size_t bytes = 0, item = 1;
};

// The persistent id ('storage', class, key, location, elements), with a sixth element in legacy files.
Storage storage_of(PickleValue value, const std::string& label) {
    const PickleValue id = value.arguments();
    if (!value.is(PickleKind::persistent) || !id.is(PickleKind::tuple) || id.size() < 5 || id[0].text() != "storage" ||
        !id[1].is(PickleKind::global) || !id[2].is(PickleKind::text) || !id[4].is(PickleKind::integer))
        damaged(label, "a tensor with a malformed description of its storage");
    if (id.size() > 5 && !id[5].is(PickleKind::none)) refused(label, "views of storages (torch 0.1) are not supported");
    const TypeName* const type = type_of_storage(id[1].text());
    if (!type) return {id[2].text(), {}, id[1].text()};
    size_t bytes;
    if (id[4].integer() < 0 || __builtin_mul_overflow(size_t(id[4].integer()), type->bytes, &bytes))
        damaged(label, "storage '{}' claims {} elements", id[2].text(), id[4].integer());
    return {id[2].text(), type->type, id[1].text(), bytes, type->bytes};
}

std::vector<size_t> sizes_of(PickleValue value, const std::string& label) {
    if (value.type_name() == "torch.Size") value = value.arguments()[0];
    if (!value.is(PickleKind::tuple) && !value.is(PickleKind::list))
        damaged(label, "a tensor without a shape or strides");
    if (value.size() > kRankLimit)
        damaged(label, "a tensor with {} dimensions, the limit is {}", value.size(), kRankLimit);
    std::vector<size_t> sizes;
    for (size_t i = 0; i < value.size(); ++i) {
        if (!value[i].is(PickleKind::integer)) damaged(label, "a tensor with a shape or strides that are not numbers");
        if (value[i].integer() < 0) damaged(label, "a tensor with a negative size or stride, {}", value[i].integer());
        sizes.push_back(size_t(value[i].integer()));
    }
    return sizes;
}

// Elements of the contiguous copy; checks that every element lies inside the storage.
size_t checked_count(const TorchTensor& tensor, const std::string& label) {
    if (!tensor.unsupported.empty()) refused(label, "tensors of type '{}' are not supported", tensor.unsupported);
    size_t count = 1, last = tensor.offset;
    bool overflow = false;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
        overflow |= __builtin_mul_overflow(count, tensor.shape[i], &count);
        size_t reach = 0;
        if (tensor.shape[i] > 0) overflow |= __builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i], &reach);
        overflow |= __builtin_add_overflow(last, reach, &last);
    }
    if (std::find(tensor.shape.begin(), tensor.shape.end(), 0u) != tensor.shape.end()) return 0;
    if (overflow) damaged(label, "a tensor whose size passes 64 bits");
    if (last >= tensor.storage_bytes / size_of(tensor.dtype))
        damaged(label, "a tensor that reaches element {} of storage '{}', which has {}", last, tensor.storage,
                tensor.storage_bytes / size_of(tensor.dtype));
    return count;
}

bool is_module(PickleValue value) {
    return value.is(PickleKind::object) && value.find("_parameters").is(PickleKind::dict) &&
           value.find("_modules").is(PickleKind::dict);
}

class Walker {
public:
    Walker(const TorchFile& file, const std::string& label, size_t limit_bytes)
        : file_(file), label_(label), limit_bytes_(limit_bytes) {}
    TorchContent content;

    void walk(PickleValue value, const std::string& name, size_t depth = 0) {
        if (++steps_ > kStepLimit) damaged(label_, "its values are nested into more than {} paths", kStepLimit);
        if (objects_ && depth > kDepthLimit) return;  // objects of programs may be nested without end
        if (depth > kDepthLimit) damaged(label_, "its values are nested deeper than {}", kDepthLimit);
        if (value.is(PickleKind::object)) {
            if (const std::optional<TorchTensor> tensor = file_.tensor(value)) return take(name, *tensor);
            if (is_module(value)) return outer_module(value, name, depth);
            if (!seen_.insert(value.id()).second) return;
            ++objects_;
            entries(value, name, depth);
            if (value.state().is(PickleKind::dict)) entries(value.state(), name, depth);
            --objects_;
        } else if (value.is(PickleKind::dict)) {
            entries(value, name, depth);
        } else if (value.is(PickleKind::list) || value.is(PickleKind::tuple)) {
            for (size_t i = 0; i < value.size(); ++i) walk(value[i], join(name, std::to_string(i)), depth + 1);
        }
    }

private:
    void entries(PickleValue value, const std::string& name, size_t depth) {
        const size_t outer = std::exchange(container_, inside_ ? container_ : name.empty() ? 0 : name.size() + 1);
        for (size_t i = 0; i < value.size(); ++i) {
            const PickleValue key = value.key(i);
            if (key.is(PickleKind::text)) walk(value[i], join(name, key.text()), depth + 1);
            if (key.is(PickleKind::integer)) walk(value[i], join(name, std::to_string(key.integer())), depth + 1);
        }
        container_ = outer;
    }
    void outer_module(PickleValue value, const std::string& name, size_t depth) {
        if (inside_) return module(value, name, depth);
        content.modules.emplace_back(name, value);
        const size_t outer = std::exchange(container_, name.empty() ? 0 : name.size() + 1);
        inside_ = true;
        module(value, name, depth);
        inside_ = false;
        container_ = outer;
    }
    void module(PickleValue value, const std::string& name, size_t depth) {
        const PickleValue buffers = value.find("_buffers"), passing = value.find("_non_persistent_buffers_set");
        walk(value.find("_parameters"), name, depth + 1);
        for (size_t i = 0; i < buffers.size(); ++i) {
            bool persistent = true;
            for (size_t j = 0; j < passing.size(); ++j) persistent &= passing[j].text() != buffers.key(i).text();
            if (persistent) walk(buffers[i], join(name, buffers.key(i).text()), depth + 1);
        }
        walk(value.find("_modules"), name, depth + 1);
    }
    void take(const std::string& name, const TorchTensor& tensor) {
        if (name.size() > kNameLimit) damaged(label_, "a name is longer than {} bytes", kNameLimit);
        if (content.tensors.size() == kTensorLimit) damaged(label_, "more than {} tensors", kTensorLimit);
        if (tensor.unsupported.empty()) {
            // A tensor with stride 0 is larger than its storage without limit.
            const size_t count = checked_count(tensor, label_), size = size_of(tensor.dtype);
            if (count > (limit_bytes_ - total_bytes_) / size)
                damaged(label_, "its tensors are together larger than {} bytes", limit_bytes_);
            total_bytes_ += count * size;
        }
        content.tensors.push_back({name, tensor, container_});
    }
    // A name that is too long is only an error if a tensor has it.
    static std::string join(const std::string& name, std::string_view key) {
        if (name.size() + key.size() > kNameLimit) return std::string(kNameLimit + 1, '?');
        return name.empty() ? std::string(key) : name + "." + std::string(key);
    }

    const TorchFile& file_;
    const std::string& label_;
    size_t limit_bytes_, total_bytes_ = 0, steps_ = 0, container_ = 0, objects_ = 0;
    bool inside_ = false;  // of a module
    std::set<uint32_t> seen_;
};

}  // namespace

bool TorchFile::recognises(std::span<const std::byte> bytes) {
    return starts_with(bytes, "PK\3\4", 4) || starts_with(bytes, kLegacyMagic, sizeof kLegacyMagic);
}

TorchFile TorchFile::open(const std::filesystem::path& path) { return parse(read_file(path), path.string()); }

TorchFile TorchFile::parse(FileBytes bytes, std::string label) {
    TorchFile file;
    file.label_ = std::move(label);
    file.bytes_ = std::move(bytes);
    const bool legacy = starts_with(file.bytes_.span(), kLegacyMagic, sizeof kLegacyMagic);
    legacy ? file.parse_legacy() : file.parse_zip();
    unwrap_modules(*file.tree_);
    return file;
}

void TorchFile::parse_zip() {
    zip_ = std::make_unique<ZipFile>(bytes_.span(), label_);
    for (const std::string& name : zip_->names()) {
        const size_t slash = name.find('/');
        if (slash == name.npos) continue;
        if (name.substr(slash) == "/constants.pkl" || name.substr(slash, 6) == "/code/")
            refused(label_, "is a TorchScript file, which holds a program; save the model's state_dict instead");
        if (name.substr(slash) != "/data.pkl") continue;
        if (!folder_.empty()) damaged(label_, "it holds two checkpoints, '{}' and '{}'", folder_, name);
        folder_ = name.substr(0, slash + 1);
    }
    if (folder_.empty()) {
        if (zip_->contains("model.weights.h5"))
            refused(label_, "is a Keras 3 archive; save its weights as .h5 for tundra");
        refused(label_, "is a zip archive without a PyTorch checkpoint in it");
    }
    if (zip_->contains(folder_ + "byteorder")) {
        const std::string order = record("byteorder").value_or("");
        if (order != "little") refused(label_, "its numbers are in byte order '{}', only little is supported", order);
    }
    pickle_ = zip_->read(folder_ + "data.pkl");
    tree_ = parse_pickle(pickle_, label_);
    if (tree_->bytes_used != pickle_.size()) damaged(label_, "bytes after the end of its pickle");
}

void TorchFile::parse_legacy() {
    std::span<const std::byte> rest = bytes_.span();
    const auto next = [&] {
        std::unique_ptr<PickleTree> tree = parse_pickle(rest, label_);
        rest = rest.subspan(tree->bytes_used);
        return tree;
    };
    next();  // the magic number
    if (const auto version = next(); version->value().integer() != 1001)
        refused(label_, "is of legacy protocol {}, only 1001 is supported", version->value().integer());
    if (const auto system = next(); !system->value().find("little_endian").boolean())
        refused(label_, "its numbers are big-endian, only little-endian is supported");
    tree_ = next();
    const std::unique_ptr<PickleTree> keys = next();

    std::map<std::string_view, Storage> known;
    for (uint32_t i = 0; i < tree_->nodes.size(); ++i)
        if (tree_->nodes[i].kind == PickleKind::persistent) {
            const Storage storage = storage_of({tree_.get(), i}, label_);
            known.emplace(storage.key, storage);
        }
    if (!keys->value().is(PickleKind::list)) damaged(label_, "the list of storages is missing");
    for (size_t i = 0; i < keys->value().size(); ++i) {
        const std::string key(keys->value()[i].text());
        const auto found = known.find(key);
        if (found == known.end()) damaged(label_, "storage '{}' belongs to no tensor", key);
        uint64_t count;
        if (rest.size() < sizeof count) damaged(label_, "it ends before storage '{}'", key);
        std::memcpy(&count, rest.data(), sizeof count);
        rest = rest.subspan(sizeof count);
        if (!found->second.bytes && !found->second.type)
            refused(label_, "holds a '{}', a type that tundra does not know", found->second.type_name);
        const size_t item = found->second.item;
        if (count > rest.size() / item) damaged(label_, "storage '{}' claims {} elements", key, count);
        if (!storages_.emplace(key, rest.first(count * item)).second) damaged(label_, "storage '{}' occurs twice", key);
        rest = rest.subspan(count * item);
    }
    if (!rest.empty()) damaged(label_, "{} bytes after its last storage", rest.size());
}

std::optional<TorchTensor> TorchFile::tensor(PickleValue value) const {
    std::string_view function = value.type_name();
    PickleValue arguments = value.arguments();
    for (int wrapped = 0; wrapped < 4; ++wrapped) {
        if (function == "torch._utils._rebuild_parameter" || function == "torch._utils._rebuild_parameter_with_state") {
            function = arguments[0].type_name();
            arguments = arguments[0].arguments();
        } else if (function == "torch._tensor._rebuild_from_type_v2") {
            function = arguments[0].text();
            arguments = arguments[2];
        }
    }
    const bool third = function == "torch._utils._rebuild_tensor_v3";
    if (!third && function != "torch._utils._rebuild_tensor_v2" && function != "torch._utils._rebuild_tensor")
        return {};
    if (arguments.size() < (third ? 7u : 4u)) damaged(label_, "a tensor with {} arguments", arguments.size());
    const Storage storage = storage_of(arguments[0], label_);
    TorchTensor tensor;
    std::optional<DType> dtype = storage.type;
    std::string_view type_name = storage.type_name;
    if (third) {
        const auto type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                       [&](const TypeName& type) { return arguments[6].is_global(type.torch); });
        dtype = type == std::end(kTypes) ? std::nullopt : type->type;
        type_name = arguments[6].text();
    }
    tensor.dtype = dtype.value_or(DType::u8);
    if (!dtype) tensor.unsupported = type_name;
    if (!arguments[1].is(PickleKind::integer) || arguments[1].integer() < 0)
        damaged(label_, "a tensor that begins at element {} of its storage", arguments[1].integer());
    tensor.offset = size_t(arguments[1].integer());
    tensor.shape = sizes_of(arguments[2], label_);
    tensor.strides = sizes_of(arguments[3], label_);
    if (tensor.shape.size() != tensor.strides.size())
        damaged(label_, "a tensor with {} dimensions and {} strides", tensor.shape.size(), tensor.strides.size());
    tensor.storage = storage.key;
    if (!dtype) return tensor;
    tensor.storage_bytes = storage.bytes;
    const size_t stored = storage_size(tensor.storage);
    if (stored != storage.bytes)
        damaged(label_, "storage '{}' has {} bytes, its tensors say {}", tensor.storage, stored, storage.bytes);
    checked_count(tensor, label_);
    return tensor;
}

TorchContent TorchFile::content(PickleValue value) const {
    Walker walker(*this, label_, kFreeBytes + kRatio * bytes_.size);
    walker.walk(value, "");
    return std::move(walker.content);
}

size_t TorchFile::storage_size(const std::string& key) const {
    if (zip_) return zip_->size_of(folder_ + "data/" + key);
    const auto found = storages_.find(key);
    if (found == storages_.end()) damaged(label_, "storage '{}' is missing", key);
    return found->second.size();
}

std::vector<std::byte> TorchFile::storage(const std::string& key) const {
    if (zip_) return zip_->read(folder_ + "data/" + key);
    const std::span<const std::byte> found = storages_.at(key);
    return {found.begin(), found.end()};
}

std::vector<std::byte> TorchFile::gather(const TorchTensor& tensor, std::span<const std::byte> storage) const {
    const size_t count = checked_count(tensor, label_), item = size_of(tensor.dtype), rank = tensor.shape.size();
    std::vector<std::byte> result(count * item);
    if (count == 0) return result;
    // The longest contiguous tail of dimensions is copied in one piece.
    size_t inner = rank, run = 1;
    while (inner > 0 && (tensor.strides[inner - 1] == run || tensor.shape[inner - 1] == 1))
        run *= tensor.shape[--inner];
    std::vector<size_t> index(inner, 0);
    size_t from = tensor.offset;
    for (size_t to = 0; to < count; to += run) {
        std::memcpy(result.data() + to * item, storage.data() + from * item, run * item);
        for (size_t i = inner; i-- > 0;) {
            from += tensor.strides[i];
            if (++index[i] < tensor.shape[i]) break;
            from -= tensor.strides[i] * tensor.shape[i];
            index[i] = 0;
        }
    }
    return result;
}

std::vector<std::byte> TorchFile::read(const TorchTensor& tensor) const {
    return gather(tensor, storage(tensor.storage));
}

void TorchFile::read_all(const std::vector<NamedTorchTensor>& tensors,
                         const std::function<void(const NamedTorchTensor&, std::vector<std::byte>)>& visit) const {
    std::string key;
    std::vector<std::byte> bytes;
    bool have = false;
    std::vector<const NamedTorchTensor*> order;
    for (const NamedTorchTensor& tensor : tensors) order.push_back(&tensor);
    std::stable_sort(order.begin(), order.end(),
                     [](const auto* a, const auto* b) { return a->tensor.storage < b->tensor.storage; });
    for (const NamedTorchTensor* tensor : order) {
        if (!have || tensor->tensor.storage != key) {
            key = tensor->tensor.storage;
            bytes = storage(key);
            have = true;
        }
        visit(*tensor, gather(tensor->tensor, bytes));
    }
}

std::optional<std::string> TorchFile::record(const std::string& name) const {
    if (!zip_ || !zip_->contains(folder_ + name)) return std::nullopt;
    if (zip_->size_of(folder_ + name) > 1 << 20) return std::nullopt;
    const std::vector<std::byte> bytes = zip_->read(folder_ + name);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}
