#include "base/csv.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace {

bool is_blank(char c) { return c == ' ' || c == '\t'; }

class Reader {
public:
    Reader(std::string_view text, const std::string& name, char separator, size_t first_line)
        : text_(text), name_(name), separator_(separator), line_(first_line) {}

    std::vector<CsvRow> rows() {
        std::vector<CsvRow> rows;
        while (at_ < text_.size()) {
            CsvRow row{.line = line_, .fields = {}};
            do row.fields.push_back(field(row.line));
            while (ended_by_ == separator_);
            if (std::ranges::any_of(row.fields, [](const std::string& f) { return !f.empty(); }))
                rows.push_back(std::move(row));
        }
        return rows;
    }

private:
    std::string field(size_t first_line) {
        std::string field;
        bool quoted = false;
        size_t kept = 0;  // blanks before this came in quotes
        ended_by_ = '\n';
        for (; at_ < text_.size(); ++at_) {
            const char c = text_[at_];
            const bool doubled = c == '"' && at_ + 1 < text_.size() && text_[at_ + 1] == '"';
            line_ += c == '\n';
            if (quoted) {
                if (c != '"' || doubled) field += c;
                if (doubled) ++at_;
                quoted = c != '"' || doubled;
                kept = field.size();
            } else if (c == '"' && field.empty()) {
                quoted = true;
            } else if (c == separator_ || c == '\n') {
                ended_by_ = c;
                ++at_;
                break;
            } else if (!(is_blank(c) && field.empty()) &&
                       (c != '\r' || (at_ + 1 < text_.size() && text_[at_ + 1] != '\n'))) {
                field += c;
            }
        }
        if (quoted) fail(Fault::usage, "{}: line {}: a quote is never closed", name_, first_line);
        while (field.size() > kept && is_blank(field.back())) field.pop_back();
        return field;
    }

    std::string_view text_;
    const std::string& name_;
    char separator_, ended_by_ = '\n';
    size_t at_ = 0, line_;
};

// Several separators may stand in the first line, because names and notes hold them too: the one that gives all rows
// the same number of fields, and more of them than the others.
char separator_of(std::string_view text, const std::string& name) {
    char best = 0;
    size_t max_fields = 1;
    for (const char separator : {',', ';', '\t'}) try {
            const std::vector<CsvRow> rows = Reader(text, name, separator, 1).rows();
            const size_t fields = rows.empty() ? 0 : rows[0].fields.size();
            if (fields > max_fields &&
                std::ranges::all_of(rows, [&](const CsvRow& r) { return r.fields.size() == fields; }))
                best = separator, max_fields = fields;
        } catch (const Error&) {  // a quote that never ends, under this separator
        }
    if (best) return best;
    for (const char separator : {',', ';', '\t'})
        if (text.substr(0, text.find('\n')).find(separator) != text.npos) return separator;
    return ',';
}

void append_utf8(std::string& text, uint32_t character) {
    if (character < 0x80) {
        text += char(character);
        return;
    }
    const int more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    text += char((0xff00 >> (more + 1) & 0xff) | character >> 6 * more);
    for (int i = more - 1; i >= 0; --i) text += char(0x80 | (character >> 6 * i & 0x3f));
}

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view bytes, const std::string& name) {
    std::string whole = utf8_text(bytes, name);
    if (whole.find('\n') == whole.npos) std::ranges::replace(whole, '\r', '\n');  // as Excel for Macintosh saves
    const std::string_view text = whole;
    if (text.starts_with("PK\x03\x04"))
        fail(Fault::usage, "{}: is a workbook of a spreadsheet program or a zip archive; save the table as CSV", name);
    // What Excel and PowerShell write above the table, also in quotes: "sep=;" and "#TYPE ...".
    const size_t line = text.find('\n');
    const std::string_view rest = line == text.npos ? "" : text.substr(line + 1);
    const std::string first = lower(std::string(text.substr(text.starts_with('"'), 6)));
    if (first.starts_with("sep=") && first.size() > 5) return Reader(rest, name, first[4], 2).rows();
    if (first == "#type ") return Reader(rest, name, separator_of(rest, name), 2).rows();
    return Reader(text, name, separator_of(text, name), 1).rows();
}

std::string utf8_text(std::string_view bytes, const std::string& name) {
    if (bytes.starts_with("\xef\xbb\xbf")) return std::string(bytes.substr(3));
    const bool marked = bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff");
    if (bytes.size() < 2 || (!marked && (bytes[0] == 0) == (bytes[1] == 0))) return std::string(bytes);
    const size_t low = marked ? bytes[0] == '\xfe' : bytes[0] == 0;  // the byte of a pair that is its lower half
    const auto unit = [&](size_t at) {
        return uint32_t(uint8_t(bytes[at + low])) | uint32_t(uint8_t(bytes[at + 1 - low])) << 8;
    };
    std::string text;
    for (size_t at = marked ? 2 : 0; at < bytes.size(); at += 2) {
        uint32_t character = at + 1 < bytes.size() ? unit(at) : 0xdc00;
        if (character >= 0xd800 && character < 0xdc00 && at + 3 < bytes.size() && unit(at + 2) >> 10 == 0x37) {
            character = 0x10000 + ((character - 0xd800) << 10) + (unit(at + 2) - 0xdc00);
            at += 2;
        }
        if (character >> 11 == 0x1b)
            fail(Fault::usage, "{}: byte {}: half a character of UTF-16; save the file as UTF-8", name, at);
        append_utf8(text, character);
    }
    return text;
}

bool is_missing(std::string_view field) {
    for (const std::string_view word : {"", "NA", "NaN", "nan", "N/A", "#N/A", "<NA>", "NULL", "null"})
        if (field == word) return true;
    return false;
}

std::string csv_field(const std::string& text) {
    const bool blank_edge = !text.empty() && (is_blank(text[0]) || is_blank(text.back()));
    if (!blank_edge && text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"') quoted += '"';
        quoted += c;
    }
    return quoted + '"';
}

CsvTable::CsvTable(std::string_view text, std::string name, Fault fault) : name_(std::move(name)), fault_(fault) {
    rows_ = parse_csv(text, name_);
    if (rows_.empty()) fail(fault_, "{}: is empty", name_);
    for (size_t i = 0; i < rows_[0].fields.size(); ++i) columns_.emplace(rows_[0].fields[i], i);
}

const std::string& CsvTable::at(size_t row, const std::string& column) const {
    const auto found = columns_.find(column);
    if (found == columns_.end()) fail(fault_, "{}: has no column '{}'", name_, column);
    if (found->second >= rows_[row + 1].fields.size())
        fail(fault_, "{}: line {} ends before column '{}'", name_, line(row), column);
    return rows_[row + 1].fields[found->second];
}
