// Text and numbers as HTML. Whatever comes from a file goes through escaped() or is a number.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// & < > " ' as entities. Bytes that are no UTF-8, control characters other than tab and line feed, and marks that turn
// the direction of text around become U+FFFD: a name shows as what it is.
std::string escaped(std::string_view text);

// At most `length` characters, the middle replaced by an ellipsis; not escaped.
std::string shortened(std::string_view text, size_t length);

// All of them give an en dash for NaN.
std::string percent_text(double share);  // "96.1 %"; what is not all or nothing never rounds to 100.0 or 0.0
std::string fixed_text(double value, int digits);
std::string grouped(uint64_t count);          // "12,345"
std::string images_text(uint64_t count);      // "1 image", "12,345 images"
std::string time_span(double seconds);        // "9.3 s", "4 min 10 s", "1 h 04 min"
std::string size_text(double bytes);          // "12.3 MiB"
std::string time_text(std::string_view utc);  // "2026-11-23T08:50:21Z" -> "2026-11-23 08:50 UTC"; else as it is

struct Column {
    std::string head;     // HTML, as the cells are
    bool number = false;  // aligned to the right
};
using Rows = std::vector<std::vector<std::string>>;  // the first cell of a row names it
std::string html_table(const std::string& caption, const std::vector<Column>& columns, const Rows& rows);
