#include "app/survey/corrections.h"

#include <algorithm>
#include <set>

#include "app/jobs/names.h"
#include "app/review/corrections.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"

namespace {

// Rows of a table with exactly these columns; nothing if it does not exist.
std::vector<CsvRow> rows_of(const std::filesystem::path& csv, const std::vector<std::string>& columns) {
    std::error_code ignored;
    if (!std::filesystem::exists(csv, ignored)) return {};
    std::vector<CsvRow> rows = parse_csv(utf8_text(read_file(csv).text(), csv.string()), csv.string());
    if (rows.empty() || rows[0].fields != columns)
        fail(Fault::usage, "{}: its first line must be {}", csv.string(), fmt::join(columns, ","));
    rows.erase(rows.begin());
    for (CsvRow& row : rows) row.fields.resize(columns.size());
    return rows;
}

bool is_number(std::string_view text) {
    return !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == text.npos && text[0] != '0';
}

}  // namespace

std::string ImageCorrections::value(const std::string& box, const std::string& field) const {
    const auto found = values.find({box, field});
    return found == values.end() ? "" : found->second;
}

Corrections read_corrections(const std::filesystem::path& csv) {
    Corrections corrections;
    const CorrectionLog log(csv);
    for (const auto& [file, rows] : log.all()) {
        ImageCorrections& image = corrections[json_name(file)];
        for (const Correction& row : rows) image.values[{row.box, row.field}] = row.value;
        image.accepted = accepted_answer(rows);
        image.reviewer = rows.back().reviewer.empty() ? "unknown" : rows.back().reviewer;
    }
    return corrections;
}

Repeats read_repeats(const std::filesystem::path& csv) {
    Repeats repeats;
    std::set<std::string> groups;
    for (const CsvRow& row : rows_of(csv, {"group", "file", "box"})) {
        if (!is_number(row.fields[2]))
            fail(Fault::usage, "{}: line {}: box '{}' is not a number", csv.string(), row.line, row.fields[2]);
        repeats[json_name(row.fields[1])].push_back(
            {std::stoul(row.fields[2]), row.fields[0], groups.insert(row.fields[0]).second});
    }
    return repeats;
}
