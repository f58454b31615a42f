#include "base/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "base/error.h"

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kHeaderLimit = 100'000'000;  // of the format

std::optional<DType> dtype_of(std::string_view text) {
    for (size_t i = 0; i < size_t(DType::count); ++i)
        if (to_string(DType(i)) == text) return DType(i);
    return std::nullopt;
}

struct Entry {
    std::string name;
    std::optional<DType> dtype{};
    std::vector<size_t> shape{}, offsets{};
    bool has_shape = false, has_offsets = false;
};

// Takes the header token by token, so that limits are checked before memory grows.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
public:
    explicit HeaderReader(const std::string& label) : label_(label) {}
    std::vector<Entry> entries;
    std::map<std::string, std::string> metadata;

    bool key(std::string& text) override {
        if (depth_ == 2) {
            field_ = text;
            return true;
        }
        in_metadata_ = text == "__metadata__";
        if (!names_.insert(text).second) damaged("the name '{}' occurs twice", text);
        if (!in_metadata_) entries.push_back({.name = text});
        return true;
    }
    bool start_object(size_t) override {
        ++depth_;
        if (depth_ > 2 || in_array_) unexpected("an object");
        return true;
    }
    bool end_object() override {
        if (--depth_ == 1 && !in_metadata_) {
            const Entry& entry = entries.back();
            if (!entry.dtype || !entry.has_shape || !entry.has_offsets)
                damaged("tensor '{}' lacks dtype, shape or data_offsets", entry.name);
        }
        return true;
    }
    bool start_array(size_t) override {
        if (depth_ != 2 || in_metadata_ || in_array_) unexpected("an array");
        bool& seen = field_ == "shape" ? entries.back().has_shape : entries.back().has_offsets;
        if (field_ != "shape" && field_ != "data_offsets") unexpected("an array");
        if (seen) damaged("tensor '{}' has '{}' twice", entries.back().name, field_);
        return seen = in_array_ = true;
    }
    bool end_array() override {
        in_array_ = false;
        return true;
    }
    bool string(std::string& text) override {
        if (depth_ != 2 || in_array_) unexpected("a text");
        if (in_metadata_) {
            if (!metadata.emplace(field_, std::move(text)).second) damaged("metadata has '{}' twice", field_);
            return true;
        }
        Entry& entry = entries.back();
        if (field_ != "dtype") unexpected("a text");
        if (entry.dtype) damaged("tensor '{}' has 'dtype' twice", entry.name);
        entry.dtype = dtype_of(text);
        if (!entry.dtype) damaged("tensor '{}' has elements of type '{}', which the format lacks", entry.name, text);
        return true;
    }
    bool number_unsigned(number_unsigned_t value) override {
        if (!in_array_) unexpected("a number");
        Entry& entry = entries.back();
        std::vector<size_t>& list = field_ == "shape" ? entry.shape : entry.offsets;
        list.push_back(value);
        return true;
    }
    bool null() override { unexpected("null"); }
    bool boolean(bool) override { unexpected("a boolean"); }
    bool number_integer(number_integer_t) override { unexpected("a negative number"); }
    bool number_float(number_float_t, const string_t&) override { unexpected("a number that is not an integer"); }
    bool binary(binary_t&) override { unexpected("bytes"); }
    bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
        damaged("the header is not JSON at its byte {}", position);
    }

    template <class... Parts>
    [[noreturn]] void damaged(fmt::format_string<Parts...> text, Parts&&... parts) const {
        fail(Fault::damaged, "{}: damaged safetensors file: {}; copy or download it again", label_,
             fmt::format(text, std::forward<Parts>(parts)...));
    }

private:
    [[noreturn]] void unexpected(const char* what) const {
        if (in_metadata_) damaged("metadata '{}' holds {} where only text is allowed", field_, what);
        damaged("tensor '{}' holds {} in an unexpected place", entries.empty() ? "" : entries.back().name, what);
    }

    const std::string& label_;
    int depth_ = 0;
    bool in_metadata_ = false, in_array_ = false;
    std::string field_;
    std::unordered_set<std::string> names_;
};

// The size in bytes, or nothing if it exceeds 64 bits, even before a dimension of 0, or is no whole number of bytes.
std::optional<size_t> byte_size(const Entry& entry) {
    size_t product = 1;
    for (const size_t dimension : entry.shape)
        if (__builtin_mul_overflow(product, dimension, &product)) return std::nullopt;
    if (__builtin_mul_overflow(product, info(*entry.dtype).bits, &product) || product % 8) return std::nullopt;
    return product / 8;
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
    return parse(read_file(path), path.string());
}

SafetensorsFile SafetensorsFile::parse(FileBytes bytes, std::string label) {
    SafetensorsFile file;
    file.label_ = std::move(label);
    file.bytes_ = std::move(bytes);
    HeaderReader reader(file.label_);
    const std::span<const std::byte> all = file.bytes_.span();
    if (all.size() < 8) reader.damaged("{} bytes are too few to hold a header", all.size());
    uint64_t header_size;
    std::memcpy(&header_size, all.data(), 8);
    if (header_size > kHeaderLimit)
        reader.damaged("the header claims {} bytes, the limit is {}", header_size, kHeaderLimit);
    if (header_size > all.size() - 8)
        reader.damaged("the header claims {} bytes, the file has {} after its length", header_size, all.size() - 8);
    const std::string_view header(reinterpret_cast<const char*>(all.data()) + 8, header_size);
    // The JSON library accepts a byte-order mark and stops at a zero byte; the format allows neither.
    const size_t first = header.find_first_not_of(" \t\r\n");
    if (first == header.npos || header[first] != '{') reader.damaged("the header does not begin with '{{'");
    if (header.find('\0') != header.npos) reader.damaged("the header contains a zero byte");
    nlohmann::json::sax_parse(header.begin(), header.end(), &reader);

    const std::span<const std::byte> data = all.subspan(8 + header_size);
    for (const Entry& entry : reader.entries)
        if (entry.offsets.size() != 2 || entry.offsets[0] > entry.offsets[1])
            reader.damaged("tensor '{}' has data_offsets that are not a range", entry.name);
    std::stable_sort(reader.entries.begin(), reader.entries.end(),
                     [](const Entry& a, const Entry& b) { return a.offsets < b.offsets; });
    size_t position = 0;
    file.tensors_.reserve(reader.entries.size());
    for (Entry& entry : reader.entries) {
        const size_t begin = entry.offsets[0], end = entry.offsets[1];
        const std::optional<size_t> size = byte_size(entry);
        if (!size)
            reader.damaged(
                "tensor '{}' has a shape whose size is more than 64 bits can count, or no whole number of bytes",
                entry.name);
        if (*size != end - begin)
            reader.damaged("tensor '{}' has {} bytes, its shape and type need {}", entry.name, end - begin, *size);
        if (begin != position)
            reader.damaged("tensor '{}' begins at byte {}, the one before it ends at {}", entry.name, begin, position);
        if (end > data.size())
            reader.damaged("tensor '{}' ends at byte {}, the file holds {}", entry.name, end, data.size());
        position = end;
        file.tensors_.push_back(
            {std::move(entry.name), *entry.dtype, std::move(entry.shape), data.subspan(begin, end - begin)});
    }
    if (position != data.size()) reader.damaged("{} bytes after the last tensor", data.size() - position);
    for (size_t i = 0; i < file.tensors_.size(); ++i) file.index_.emplace(file.tensors_[i].name, i);
    file.metadata_ = std::move(reader.metadata);
    return file;
}

const FileTensor* SafetensorsFile::find(std::string_view name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? nullptr : &tensors_[found->second];
}

const FileTensor& SafetensorsFile::at(std::string_view name) const {
    const FileTensor* tensor = find(name);
    if (!tensor) fail(Fault::damaged, "{}: there is no tensor '{}'", label_, name);
    return *tensor;
}

void write_safetensors(const std::filesystem::path& path, std::span<const FileTensor> tensors,
                       const std::map<std::string, std::string>& metadata, bool durable, const FileCalls& calls) {
    std::vector<const FileTensor*> order;
    for (const FileTensor& tensor : tensors) order.push_back(&tensor);
    std::stable_sort(order.begin(), order.end(),
                     [](const FileTensor* a, const FileTensor* b) { return size_of(a->dtype) > size_of(b->dtype); });
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header["__metadata__"] = metadata;
    std::unordered_set<std::string_view> names{"__metadata__"};
    size_t position = 0;
    for (const FileTensor* tensor : order) {
        size_t size = size_of(tensor->dtype);
        for (const size_t dimension : tensor->shape) size *= dimension;
        require(size == tensor->data.size(), "write_safetensors: '{}' needs {} bytes, has {}", tensor->name, size,
                tensor->data.size());
        require(names.insert(tensor->name).second, "write_safetensors: the name '{}' cannot be used twice",
                tensor->name);
        // emplace_back: operator[] of an ordered object would search all keys.
        header.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(
            tensor->name, nlohmann::ordered_json{{"dtype", to_string(tensor->dtype)},
                                                 {"shape", tensor->shape},
                                                 {"data_offsets", {position, position + size}}});
        position += size;
    }
    std::string text;
    try {
        text = header.dump();
    } catch (const nlohmann::json::exception&) {
        fail(Fault::runtime, "{}: cannot be written: a tensor name or metadata is not UTF-8", path.string());
    }
    text.append(-text.size() & 7, ' ');
    require(text.size() <= kHeaderLimit, "write_safetensors: a header of {} bytes, the limit is {}", text.size(),
            kHeaderLimit);
    const uint64_t length = text.size();
    write_file_durably(
        path,
        [&](FileWriter& file) {
            file.write(std::as_bytes(std::span(&length, 1)));
            file.write(text);
            for (const FileTensor* tensor : order) file.write(tensor->data);
        },
        durable, calls);
}
