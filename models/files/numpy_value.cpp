#include "models/files/numpy_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"
#include "kernels/types.h"

namespace {

using nlohmann::json;

constexpr size_t kTextLimit = 1000, kBytesLimit = 1 << 20;

// Pickles of protocol 2, which torch.save writes, have bytes as a call of _codecs.encode(text, "latin1"). "" if they
// are too many for `elements` numbers or texts.
std::string bytes_of(PickleValue value, size_t elements) {
    const bool encoded = value.type_name() == "_codecs.encode";
    if (!encoded && !value.is(PickleKind::bytes)) return {};
    const std::string_view text = encoded ? value.arguments()[0].text() : value.text();
    if (text.size() > std::min(8 * kTextLimit * elements, kBytesLimit)) return {};
    if (!encoded) return std::string(text);
    std::string bytes;
    for (size_t i = 0; i < text.size();) {
        uint32_t code = 0;
        i += std::max<size_t>(utf8_character(text.substr(i), code), 1);
        bytes += char(code);
    }
    return bytes;
}

template <class T>
T element(const char* from) {
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
}

// Text of NumPy has four bytes per character and ends with zeros.
json text_of(std::string_view bytes) {
    std::string escaped;
    for (size_t i = 0; i + 4 <= std::min(bytes.size(), 4 * kTextLimit); i += 4) {
        uint32_t code;
        std::memcpy(&code, bytes.data() + i, 4);
        if (code == 0) break;
        escaped += fmt::format("\\U{:08x}", code);
    }
    return python_unescaped(escaped);
}

// The elements in `bytes` of the type numpy.dtype("f8"), whose state says the byte order.
json elements(PickleValue type, std::string_view bytes, size_t limit) {
    json list = json::array();
    const std::string_view name = type.arguments()[0].text(), order = type.state()[1].text();
    if (name.size() < 2 || order == ">") return {};
    const std::string size_text(name.substr(1));
    const size_t size = size_t(std::atoi(size_text.c_str())) * (name[0] == 'U' ? 4 : 1);
    if (size == 0 || bytes.size() % size || bytes.size() / size > limit) return {};
    for (size_t i = 0; i < bytes.size(); i += size) {
        const char* const from = bytes.data() + i;
        if (name[0] == 'U')
            list.push_back(text_of(bytes.substr(i, size)));
        else if (name == "f8")
            list.push_back(element<double>(from));
        else if (name == "f4")
            list.push_back(double(element<float>(from)));
        else if (name == "f2")
            list.push_back(double(float(element<fp16>(from))));
        else if (name == "i8")
            list.push_back(element<int64_t>(from));
        else if (name == "i4")
            list.push_back(element<int32_t>(from));
        else if (name == "i2")
            list.push_back(element<int16_t>(from));
        else if (name == "u1" || name == "b1")
            list.push_back(element<uint8_t>(from));
        else
            return {};
    }
    return list;
}

}  // namespace

json numpy_value(PickleValue value, size_t limit) {
    const std::string_view type = value.type_name();
    if (!type.starts_with("numpy.")) return {};
    if (type.ends_with("multiarray.scalar")) {
        const json list = elements(value.arguments()[0], bytes_of(value.arguments()[1], 1), 1);
        return list.size() == 1 ? list[0] : json();
    }
    if (!type.ends_with("multiarray._reconstruct")) return {};
    const PickleValue content = value.state()[4];  // (version, shape, type, is Fortran's order, content)
    if (!content.is(PickleKind::list)) return elements(value.state()[2], bytes_of(content, limit), limit);
    json list = json::array();
    for (size_t i = 0; i < std::min(content.size(), limit); ++i)
        if (content[i].is(PickleKind::text))
            list.push_back(std::string(content[i].text().substr(0, kTextLimit)));
        else
            return {};
    return list;
}
