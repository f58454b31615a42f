#include "app/survey/corrections.h"

#include <algorithm>
#include <set>

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
    static const std::set<std::string> of_image{"seen", "final", "quality", "species"},
        of_box{"category", "species", "bbox"};
    Corrections corrections;
    for (const CsvRow& row : rows_of(csv, {"file", "box", "field", "old", "new", "reviewer", "time"})) {
        const std::string &box = row.fields[1], &field = row.fields[2], &value = row.fields[4];
        if (!box.empty() && !is_number(box.substr(box[0] == '+')))
            fail(Fault::usage, "{}: line {}: box '{}' is not a number", csv.string(), row.line, box);
        if (!(box.empty() ? of_image : of_box).contains(field))
            fail(Fault::usage, "{}: line {}: a {} has no field '{}'", csv.string(), row.line,
                 box.empty() ? "whole image" : "box", field);
        ImageCorrections& image = corrections[row.fields[0]];
        if (value.empty()) {
            image.values.erase({box, field});
            continue;
        }
        image.values[{box, field}] = value;
        image.reviewer = row.fields[5].empty() ? "unknown" : row.fields[5];
    }
    std::erase_if(corrections, [](const auto& entry) { return entry.second.values.empty(); });
    return corrections;
}

Repeats read_repeats(const std::filesystem::path& csv) {
    Repeats repeats;
    std::set<std::string> groups;
    for (const CsvRow& row : rows_of(csv, {"group", "file", "box"})) {
        if (!is_number(row.fields[2]))
            fail(Fault::usage, "{}: line {}: box '{}' is not a number", csv.string(), row.line, row.fields[2]);
        repeats[row.fields[1]].push_back(
            {std::stoul(row.fields[2]), row.fields[0], groups.insert(row.fields[0]).second});
    }
    return repeats;
}
