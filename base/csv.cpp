#include "base/csv.h"

#include "base/error.h"
#include "base/text.h"

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name) {
    text = without_bom(text);
    std::vector<CsvRow> rows;
    size_t line = 1, at = 0;
    while (at < text.size()) {
        CsvRow row{.line = line, .fields = {""}};
        bool quoted = false;
        for (; at < text.size(); ++at) {
            const char c = text[at];
            if (c == '\n') ++line;
            if (quoted) {
                if (c != '"')
                    row.fields.back() += c;
                else if (at + 1 < text.size() && text[at + 1] == '"')
                    row.fields.back() += text[++at];
                else
                    quoted = false;
            } else if (c == '"' && row.fields.back().empty()) {
                quoted = true;
            } else if (c == ',') {
                row.fields.emplace_back();
            } else if (c == '\n') {
                ++at;
                break;
            } else if (c != '\r' || (at + 1 < text.size() && text[at + 1] != '\n')) {
                row.fields.back() += c;
            }
        }
        if (quoted) fail(Fault::usage, "{}: line {}: a quote is never closed", name, row.line);
        if (row.fields.size() > 1 || !row.fields[0].empty()) rows.push_back(std::move(row));
    }
    return rows;
}

std::string csv_field(const std::string& text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"') quoted += '"';
        quoted += c;
    }
    return quoted + '"';
}
