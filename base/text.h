// Text as people read it: UTF-8, escaping, spelling, and numbers with units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

// ASCII letters in lower case in every locale; all other bytes stay.
inline std::string lower(std::string text) {
    for (char& c : text)
        if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
    return text;
}

// The byte-order mark that some editors write at the start of a text file, removed.
std::string_view without_bom(std::string_view text);

// Length in bytes of the UTF-8 character at the start of `text`, and its code point; 0 if the bytes are not valid
// UTF-8. Source: RFC 3629.
size_t utf8_character(std::string_view text, uint32_t& code);

// For a terminal: control characters (C0, C1), bytes that are not UTF-8, and marks that change the direction of
// writing become \xNN, so that a file name shows as what it is and cannot steer the terminal.
std::string printable(std::string_view text);

// For HTML: & < > " ' as entities; what printable() escapes, except tab and line feed, becomes U+FFFD.
std::string html_escaped(std::string_view text);

// At most `length` characters, the middle replaced by an ellipsis. Not escaped.
std::string shortened(std::string_view text, size_t length);

// The candidate that needs the fewest edits (a letter added, removed or replaced, or two neighbours swapped), for
// "did you mean"; empty if all are far off.
std::string nearest(std::string_view word, std::span<const std::string_view> candidates);

std::string count_text(uint64_t number);  // "23,508,032"
std::string bytes_text(double bytes);     // "12.3 MB", powers of 1000; "?" unless finite
std::string duration_text(
    double seconds);  // "9.3 s", "45 s", "3 min 20 s", "2 h 05 min", "3 days 4 h"; "?" unless >= 0
