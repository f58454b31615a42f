// Comma-separated values according to RFC 4180: quotes, doubled quotes, commas and line breaks inside quotes, CRLF,
// BOM.
#pragma once

#include <string>
#include <string_view>
#include <vector>

struct CsvRow {
    size_t line;  // where it starts, from 1
    std::vector<std::string> fields;
};

// Skips empty lines. Throws an Error (Fault::usage) that names `name` and the line if a quote is never closed.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name);

// `text` as one field, in quotes if it needs them.
std::string csv_field(const std::string& text);
