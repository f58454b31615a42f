// Comma-separated values as RFC 4180 has them: quotes, doubled quotes, commas and line breaks inside quotes, CRLF, BOM;
// and as spreadsheets save them: semicolons or tabs, UTF-16, a first line "sep=;", blanks around fields.
#pragma once

#include <map>
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

// What R, pandas and spreadsheets write where a value is missing: nothing, NA, NaN, nan, N/A, #N/A, <NA>, NULL, null.
bool is_missing(std::string_view field);

// The text of a file as UTF-8 without byte order mark. UTF-16 is known by its mark, or by the zero byte that one of its
// first two has. Fault::usage, with `name`, for half a character.
std::string utf8_text(std::string_view bytes, const std::string& name);

enum class Fault;

// A table with a header line, whose cells are found by the names of their columns. Errors have the given fault: no
// header, a column that is asked for and missing, a line that is too short for it.
class CsvTable {
public:
    CsvTable(std::string_view text, std::string name, Fault fault);
    size_t size() const { return rows_.size() - 1; }
    size_t line(size_t row) const { return rows_[row + 1].line; }
    const std::string& name() const { return name_; }
    bool has(const std::string& column) const { return columns_.contains(column); }
    const std::string& at(size_t row, const std::string& column) const;

private:
    std::string name_;
    Fault fault_;
    std::vector<CsvRow> rows_;
    std::map<std::string, size_t> columns_;
};
