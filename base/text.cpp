#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

// Left-to-right and right-to-left marks, embeddings, overrides and isolates, and the two Unicode line separators.
// Source: Unicode Standard Annex 9, table of bidirectional formatting characters.
bool changes_direction_or_line(uint32_t code) {
    return code == 0x061c || (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

bool is_control(uint32_t code) { return code < 0x20 || (code >= 0x7f && code < 0xa0); }

// Calls use(character, code, valid) for each character; one that is not valid UTF-8 is a single byte.
template <class Use>
void for_each_character(std::string_view text, Use use) {
    while (!text.empty()) {
        uint32_t code = 0;
        const size_t length = utf8_character(text, code);
        use(text.substr(0, std::max<size_t>(1, length)), code, length > 0);
        text.remove_prefix(std::max<size_t>(1, length));
    }
}

// Damerau-Levenshtein distance with adjacent swaps.
size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::vector<size_t>> edits(a.size() + 1, std::vector<size_t>(b.size() + 1));
    for (size_t i = 0; i <= a.size(); i++)
        for (size_t j = 0; j <= b.size(); j++) {
            if (i == 0 || j == 0) {
                edits[i][j] = i + j;
                continue;
            }
            edits[i][j] =
                std::min({edits[i - 1][j] + 1, edits[i][j - 1] + 1, edits[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                edits[i][j] = std::min(edits[i][j], edits[i - 2][j - 2] + 1);
        }
    return edits[a.size()][b.size()];
}

}  // namespace

std::string_view without_bom(std::string_view text) {
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    return text;
}

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
    constexpr uint32_t kMin[] = {0, 0, 0x80, 0x800, 0x10000};  // smaller codes have a shorter form
    return code < kMin[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : length;
}

std::string printable(std::string_view text) {
    std::string result;
    for_each_character(text, [&](std::string_view character, uint32_t code, bool valid) {
        if (valid && !is_control(code) && !changes_direction_or_line(code))
            result += character;
        else
            for (const char c : character) result += fmt::format("\\x{:02x}", uint8_t(c));
    });
    return result;
}

std::string html_escaped(std::string_view text) {
    std::string result;
    for_each_character(text, [&](std::string_view character, uint32_t code, bool valid) {
        const bool layout = code == '\t' || code == '\n';
        if (!valid || (is_control(code) && !layout) || changes_direction_or_line(code))
            result += "\xEF\xBF\xBD";
        else if (code == '&')
            result += "&amp;";
        else if (code == '<')
            result += "&lt;";
        else if (code == '>')
            result += "&gt;";
        else if (code == '"')
            result += "&quot;";
        else if (code == '\'')
            result += "&#39;";
        else
            result += character;
    });
    return result;
}

std::string shortened(std::string_view text, size_t length) {
    std::vector<std::string_view> characters;
    for_each_character(text, [&](std::string_view character, uint32_t, bool) { characters.push_back(character); });
    if (characters.size() <= length) return std::string(text);
    const size_t head = length / 2, tail = length - head - 1;
    std::string result;
    for (size_t i = 0; i < head; ++i) result += characters[i];
    result += "\u2026";
    for (size_t i = characters.size() - tail; i < characters.size(); ++i) result += characters[i];
    return result;
}

std::string nearest(std::string_view word, std::span<const std::string_view> candidates) {
    size_t fewest = std::max<size_t>(2, word.size() / 3) + 1;
    std::string_view best;
    for (const std::string_view candidate : candidates) {
        const size_t edits = edit_distance(word, candidate);
        if (edits < fewest && edits < candidate.size()) fewest = edits, best = candidate;
    }
    return std::string(best);
}

std::string count_text(uint64_t number) {
    std::string text = std::to_string(number);
    for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
    return text;
}

std::string bytes_text(double bytes) {
    if (!std::isfinite(bytes)) return "?";
    constexpr const char* units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    for (; bytes >= 1000 && unit + 1 < std::size(units); ++unit) bytes /= 1000;
    return fmt::format("{:.{}f} {}", bytes, unit > 0 && bytes < 100 ? 1 : 0, units[unit]);
}

std::string duration_text(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0) return "?";
    if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
    const auto s = uint64_t(std::llround(seconds));
    if (s < 60) return fmt::format("{} s", s);
    if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
    if (s < 48 * 3600) return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
    return fmt::format("{} days {} h", s / 86400, s % 86400 / 3600);
}
