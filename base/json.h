// Values of JSON that anybody may have written, and JSON as one line of text. For nlohmann's json and ordered_json.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

// Discarded if `text` is not JSON, or nests deeper than any settings do: Json copies by recursion.
template <class Json = nlohmann::json>
Json parse_foreign(std::string_view text) {
    struct TooDeep {};
    try {
        return Json::parse(
            text,
            [](int depth, typename Json::parse_event_t, Json&) {
                if (depth > 200) throw TooDeep();
                return true;
            },
            false);
    } catch (const TooDeep&) {
        return Json(Json::value_t::discarded);
    }
}

// The value of `key`; null where `object` is not an object or lacks the key.
template <class Json>
const Json& member(const Json& object, const std::string& key) {
    static const Json nothing;
    if (!object.is_object()) return nothing;
    const auto found = object.find(key);
    return found == object.end() ? nothing : *found;
}

// NaN where the value is missing or is not a number.
template <class Json>
double number_of(const Json& object, const std::string& key) {
    const Json& value = member(object, key);
    return value.is_number() ? value.template get<double>() : std::numeric_limits<double>::quiet_NaN();
}

// "" where the value is missing or is not a string.
template <class Json>
std::string text_of(const Json& object, const std::string& key) {
    const Json& value = member(object, key);
    return value.is_string() ? value.template get<std::string>() : "";
}

// With the replacement character for bytes that are not UTF-8.
inline std::string as_utf8(const std::string& text) {
    using nlohmann::json;
    return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

// Without line breaks; bytes that are not UTF-8 become the replacement character.
template <class Json>
std::string one_line(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}
