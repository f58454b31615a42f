#include "app/jobs/names.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"

std::string json_name(std::string_view name) {
    std::string result;
    result.reserve(name.size());
    for (uint32_t code; !name.empty();) {
        const size_t length = utf8_character(name, code);
        if (length)
            result += name.substr(0, length);
        else
            result += fmt::format("%{:02X}", uint8_t(name[0]));
        name.remove_prefix(std::max<size_t>(1, length));
    }
    return result;
}

std::string raw_name(const std::string& name) {
    std::string raw;
    for (size_t i = 0; i < name.size(); ++i) {
        unsigned byte = 0;
        const char* digits = name.data() + i + 1;
        if (name[i] == '%' && i + 2 < name.size() && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2 &&
            byte >= 0x80)
            raw += char(byte), i += 2;
        else
            raw += name[i];
    }
    return raw;
}

std::string name_on_disk(const std::filesystem::path& folder, const std::string& name) {
    const std::string raw = raw_name(name);
    std::error_code none;
    return raw == name || std::filesystem::exists(folder / name, none) || !std::filesystem::exists(folder / raw, none)
               ? name
               : raw;
}

std::string list_hash(size_t count, const std::function<std::string(size_t)>& name) {
    Hash hash;
    for (size_t i = 0; i < count; ++i) hash.add(name(i));
    return hash.hex();
}

Names::Names(std::vector<std::string> names) {
    std::ranges::sort(names);
    if (std::ranges::any_of(names, [](const std::string& name) { return json_name(name) != name; }))
        std::ranges::stable_sort(names, {}, [](const std::string& name) { return json_name(name); });
    std::string_view last;
    for (const std::string& name : names) {
        if (size() && name == last) continue;
        if (size() && json_name(name) == json_name(last))
            fail(Fault::usage,
                 "{}: two images would have this name in the results, because one is not UTF-8; rename one",
                 json_name(name));
        add(name);
        last = name;
    }
    fit();
}

size_t Names::find(std::string_view wanted) const {
    size_t low = 0, high = size();
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (json_name((*this)[middle]) < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low < size() && json_name((*this)[low]) == wanted ? low : size();
}

void Names::add(std::string_view name) {
    text_ += name;
    ends_.push_back(text_.size());
}

void Names::fit() {
    text_.shrink_to_fit();
    ends_.shrink_to_fit();
}
