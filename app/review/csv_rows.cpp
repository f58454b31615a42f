#include "app/review/csv_rows.h"

#include <algorithm>

#include "base/csv.h"

bool next_row(std::string_view text, size_t& position, std::vector<std::string>& fields) {
    size_t count = 0, i = position;
    const auto field = [&]() -> std::string& {
        if (count == fields.size()) fields.emplace_back();
        fields[count].clear();
        return fields[count++];
    };
    for (std::string* current = &field(); i < text.size(); ++i) {
        if (text[i] == '"') {  // doubled quotes inside stand for one
            for (++i;; ++i) {
                const size_t quote = text.find('"', i);
                if (quote == std::string_view::npos) return false;
                current->append(text.substr(i, quote - i));
                i = quote + 1;
                if (i >= text.size() || text[i] != '"') break;
                current->push_back('"');
            }
            --i;
        } else if (text[i] == ',') {
            current = &field();
        } else if (text[i] == '\n') {
            if (!current->empty() && current->back() == '\r') current->pop_back();
            fields.resize(count);
            position = i + 1;
            return true;
        } else {
            const size_t end = std::min(text.find_first_of(",\"\n", i), text.size());
            current->append(text.substr(i, end - i));
            i = end - 1;
        }
    }
    return false;
}

std::string csv_row(const std::vector<std::string>& fields) {
    std::string row;
    for (const std::string& text : fields) row += (&text == fields.data() ? "" : ",") + csv_field(text);
    return row + "\n";
}

std::string with_commas(std::string_view bytes, const std::string& name) {
    std::string text;
    size_t columns = 0;
    for (const CsvRow& row : parse_csv(bytes, name)) {
        std::vector<std::string> fields = row.fields;
        columns = std::max(columns, fields.size());
        fields.resize(columns);
        text += csv_row(fields);
    }
    return text;
}
