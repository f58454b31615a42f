// Comma-separated values as RFC 4180 has them: quotes, doubled quotes, commas and line breaks inside quotes, CRLF, BOM;
// and as spreadsheets save them: semicolons or tabs, UTF-16, a first line "sep=;", blanks around fields.
#pragma once

#include <string>
#include <string_view>
#include <vector>

struct CsvRow {
    size_t line;  // where it starts, from 1
    std::vector<std::string> fields;
};

// The separator is the one that a first line "sep=X" names, else the first of comma, semicolon and tab that parts all
// rows alike. Rows without content are left out, and so are blanks around fields unless they are quoted.
// Throws an Error (Fault::usage) with `name` and the line for a quote that never ends, and for half a UTF-16 character.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name);

// `text` as one field, in quotes if it needs them.
std::string csv_field(const std::string& text);

// The text of a file as UTF-8 without byte order mark. UTF-16 is known by its mark, or by the zero byte that one of its
// first two has. Fault::usage, with `name`, for half a character.
std::string utf8_text(std::string_view bytes, const std::string& name);
