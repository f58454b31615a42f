// Escaping and number formats.
#include "app/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD", kDash = "\u2013", kThinSpace = "\u202F";

// The length of the UTF-8 sequence at the start of `text`, 0 if there is none. Source: RFC 3629.
size_t utf8_length(std::string_view text) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(0);
    const size_t length = first < 0x80                    ? 1
                          : first >= 0xC2 && first < 0xE0 ? 2
                          : first >= 0xE0 && first < 0xF0 ? 3
                          : first >= 0xF0 && first < 0xF5 ? 4
                                                          : 0;
    if (length == 0 || text.size() < length) return 0;
    for (size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xC0) != 0x80) return 0;
    if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F) || (first == 0xF0 && byte(1) < 0x90) ||
        (first == 0xF4 && byte(1) > 0x8F))
        return 0;
    return length;
}

// Controls of C0 and C1, and those of the bidirectional algorithm (U+200E, U+200F, U+202A..E, U+2066..9).
bool misleads(std::string_view character) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
    if (character.size() == 1) return (byte(0) < 0x20 && byte(0) != '\t' && byte(0) != '\n') || byte(0) == 0x7F;
    if (character.size() == 2) return byte(0) == 0xC2 && byte(1) < 0xA0;
    if (character.size() != 3 || byte(0) != 0xE2) return false;
    return (byte(1) == 0x80 && (byte(2) == 0x8E || byte(2) == 0x8F || (byte(2) >= 0xAA && byte(2) <= 0xAE))) ||
           (byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9);
}

}  // namespace

std::string escaped(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const size_t length = utf8_length(text);
        const std::string_view character = text.substr(0, std::max<size_t>(1, length));
        text.remove_prefix(character.size());
        if (length == 0 || misleads(character))
            out += kReplacement;
        else if (character == "&")
            out += "&amp;";
        else if (character == "<")
            out += "&lt;";
        else if (character == ">")
            out += "&gt;";
        else if (character == "\"")
            out += "&quot;";
        else if (character == "'")
            out += "&#39;";
        else
            out += character;
    }
    return out;
}

std::string shortened(std::string_view text, size_t length) {
    std::vector<std::string_view> characters;
    for (std::string_view rest = text; !rest.empty(); rest.remove_prefix(characters.back().size()))
        characters.push_back(rest.substr(0, std::max<size_t>(1, utf8_length(rest))));
    if (characters.size() <= length) return std::string(text);
    const size_t head = length / 2, tail = length - head - 1;
    std::string out;
    for (size_t i = 0; i < head; ++i) out += characters[i];
    out += "\u2026";
    for (size_t i = characters.size() - tail; i < characters.size(); ++i) out += characters[i];
    return out;
}

std::string percent_text(double share) {
    if (!std::isfinite(share)) return std::string(kDash);
    double shown = std::round(share * 1000) / 10;
    if (share < 1 && shown >= 100) shown = 99.9;
    if (share > 0 && shown <= 0) shown = 0.1;
    return fmt::format("{:.1f}{}%", shown, kThinSpace);
}

std::string fixed_text(double value, int digits) {
    return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : std::string(kDash);
}

std::string grouped(uint64_t count) {
    std::string text = std::to_string(count);
    for (size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
    return text;
}

std::string images_text(uint64_t count) { return grouped(count) + (count == 1 ? " image" : " images"); }

std::string time_span(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0) return std::string(kDash);
    if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
    const auto whole = uint64_t(std::llround(seconds));
    if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
    return fmt::format("{} h {:02} min", grouped(whole / 3600), whole / 60 % 60);
}

std::string size_text(double bytes) {
    if (!std::isfinite(bytes)) return std::string(kDash);
    size_t unit = 0;
    constexpr const char* units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    for (; bytes >= 1024 && unit + 1 < std::size(units); ++unit) bytes /= 1024;
    return fmt::format("{:.{}f} {}", bytes, unit ? 1 : 0, units[unit]);
}

std::string time_text(std::string_view utc) {
    if (utc.size() != 20 || utc[10] != 'T' || utc.back() != 'Z') return std::string(utc);
    return fmt::format("{} {} UTC", utc.substr(0, 10), utc.substr(11, 5));
}

std::string html_table(const std::string& caption, const std::vector<Column>& columns, const Rows& rows) {
    std::string out = "<table>";
    if (!caption.empty()) out += fmt::format("<caption>{}</caption>", caption);
    const auto style = [&](size_t i) { return columns[i].number ? " class=\"number\"" : ""; };
    out += "\n<thead><tr>";
    for (size_t i = 0; i < columns.size(); ++i)
        out += fmt::format("<th scope=\"col\"{}>{}</th>", style(i), columns[i].head);
    out += "</tr></thead>\n<tbody>\n";
    for (const std::vector<std::string>& row : rows) {
        out += "<tr>";
        for (size_t i = 0; i < row.size(); ++i)
            out += i ? fmt::format("<td{}>{}</td>", style(i), row[i])
                     : fmt::format("<th scope=\"row\"{}>{}</th>", style(i), row[i]);
        out += "</tr>\n";
    }
    return out + "</tbody></table>\n";
}
