// Rows of a CSV file that a program of ours wrote, one after the other and without a copy of the whole.
#pragma once

#include <string>
#include <string_view>
#include <vector>

// The row at `position`, which moves behind its line feed. False, and nothing moves, at the end and where the last row
// has no line feed outside of quotes: a write that was interrupted. `fields` is reused.
bool next_row(std::string_view text, size_t& position, std::vector<std::string>& fields);

// The row of RFC 4180 for these fields, with its line feed.
std::string csv_row(const std::vector<std::string>& fields);

// The same rows with commas, without a byte order mark and with the columns of the first row: for what a spreadsheet
// saved with semicolons, in UTF-16 or without the empty cells at the end. Faults as parse_csv().
std::string with_commas(std::string_view bytes, const std::string& name);
