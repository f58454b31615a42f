// Numbers and tables as HTML. All text from files goes through html_escaped() or is a number.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"

// Both give an en dash for NaN.
std::string percent_text(double share);  // "96.1 %"; only 0 and 1 are shown as 0.0 and 100.0
std::string fixed_text(double value, int digits);

std::string images_text(uint64_t count);      // "1 image", "12,345 images"
std::string time_text(std::string_view utc);  // "2026-11-23T08:50:21Z" -> "2026-11-23 08:50 UTC"; else unchanged

struct Column {
    std::string head;     // HTML, like the cells
    bool number = false;  // aligned to the right
};
using Rows = std::vector<std::vector<std::string>>;  // the first cell of a row names it
std::string html_table(const std::string& caption, const std::vector<Column>& columns, const Rows& rows);
