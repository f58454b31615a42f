// Comma-separated values as RFC 4180 has them: quotes, doubled quotes, commas and line breaks inside quotes, CRLF, BOM.
#pragma once

#include <string>
#include <string_view>
#include <vector>

struct CsvRow {
    size_t line;  // where it starts, from 1
    std::vector<std::string> fields;
};

// Empty lines are left out. Throws an Error (Fault::usage) with `name` and the line for a quote that never ends.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name);

// Quoted where needed.
std::string csv_field(const std::string& text);
