#include "app/survey/corrections.h"

#include <algorithm>
#include <set>

#include "app/jobs/names.h"
#include "app/review/corrections.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"

namespace {

const std::vector<std::string> kRepeatColumns{"group", "file", "box"};

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

Corrections read_corrections(const std::filesystem::path& csv, const std::vector<std::string>& categories,
                             const std::vector<std::string>& quality,
                             const std::function<std::optional<std::vector<BoxPlace>>(const std::string&)>& boxes_now,
                             const std::function<void(const std::string&)>& note) {
    Corrections corrections;
    CorrectionLog log(csv);
    if (boxes_now) log.match(boxes_now);
    for (const auto& [file, rows] : log.all()) {
        ImageCorrections& image = corrections[json_name(file)];
        for (const Correction& row : rows) {
            const std::vector<std::string>& known = row.box.empty() ? quality : categories;
            const bool named =
                row.box.empty() ? row.field == "quality" : row.field == "category" && row.value != "none";
            if (named && std::ranges::find(known, row.value) == known.end())
                fail(Fault::damaged, "{}: row {}: {} '{}' must be one of {}; correct or delete this row", csv.string(),
                     row.row, row.field, row.value, fmt::join(known, ", "));
            image.values[{row.box, row.field}] = row.value;
        }
        image.accepted = accepted_answer(rows);
        image.reviewer = rows.back().reviewer.empty() ? "unknown" : rows.back().reviewer;
    }
    for (const std::string& file : log.lost()) corrections[file].lost = true;
    if (note)
        for (const std::string& text : log.notes) note(text);
    return corrections;
}

void merge_words(const std::vector<std::string>& folders, const std::filesystem::path& out,
                 const std::function<void(const std::string&)>& note) {
    std::vector<Correction> said;  // also what was taken back: an image may be in two shards, if images were added
    std::string groups = "group,file,box\n";
    size_t count = 0;
    for (const std::string& folder : folders) {
        const CorrectionLog log(std::filesystem::path(folder) / "corrections.csv", CorrectionLog::Use::reading);
        for (const std::string& text : log.notes) note(text);
        std::string time;  // the order of a folder holds, also where its clock went back
        for (Correction row : log.rows()) {
            row.time = time = std::max(time, row.time);
            said.push_back(std::move(row));
        }
        std::map<std::string, size_t> numbers;
        for (const CsvRow& row : rows_of(std::filesystem::path(folder) / "repeats.csv", kRepeatColumns)) {
            const auto [group, is_new] = numbers.try_emplace(row.fields[0], count + 1);
            count += is_new;
            groups += fmt::format("{},{},{}\n", group->second, csv_field(row.fields[1]), row.fields[2]);
        }
    }
    std::ranges::stable_sort(said, {}, &Correction::time);
    if (!said.empty()) {
        CorrectionLog log(out / "corrections.csv");
        log.open_for_writing();
        log.append(said);
    }
    if (!count) return;
    write_file_durably(out / "repeats.csv", [&](FileWriter& file) { file.write(groups); });
    note(
        fmt::format("repeats.csv has the {} groups of the shards side by side; `tundra tidy {}` finds them anew among "
                    "all images",
                    count, (out / "results.json").string()));
}

Repeats read_repeats(const std::filesystem::path& csv) {
    Repeats repeats;
    std::set<std::string> groups;
    for (const CsvRow& row : rows_of(csv, kRepeatColumns)) {
        if (!is_number(row.fields[2]))
            fail(Fault::usage, "{}: line {}: box '{}' is not a number", csv.string(), row.line, row.fields[2]);
        repeats[json_name(row.fields[1])].push_back(
            {std::stoul(row.fields[2]), row.fields[0], groups.insert(row.fields[0]).second});
    }
    return repeats;
}
