#include "app/jobs/names.h"

#include <algorithm>

#include "base/error.h"

size_t utf8_character(std::string_view text, uint32_t& code) {
    if (text.empty()) return 0;
    const auto byte = [&](size_t i) { return uint8_t(text[i]); };
    const size_t length = byte(0) < 0x80       ? 1
                          : byte(0) >> 5 == 6  ? 2
                          : byte(0) >> 4 == 14 ? 3
                          : byte(0) >> 3 == 30 ? 4
                                               : 0;
    if (length == 0 || text.size() < length) return 0;
    code = length == 1 ? byte(0) : byte(0) & (0x7f >> length);
    for (size_t i = 1; i < length; ++i) {
        if (byte(i) >> 6 != 2) return 0;
        code = code << 6 | (byte(i) & 0x3f);
    }
    constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    return code < kSmallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : length;
}

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
