// Checks a CSV file against a Table Schema (https://specs.frictionlessdata.io/table-schema/), as strictly as
// frictionless 5 does with the schemas of Camtrap DP.
#pragma once

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "base/csv.h"

struct CheckedTable {
    std::vector<std::string> errors;
    std::vector<std::vector<std::string>> rows;  // without the header
};

inline bool is_schema_value(const nlohmann::json& field, const std::string& text) {
    const std::string type = field["type"];
    const nlohmann::json& limits = field["constraints"];
    if (limits.contains("enum") && limits["enum"].dump().find('"' + text + '"') == std::string::npos) return false;
    if (limits.contains("pattern") &&
        !std::regex_match(text, std::regex(limits["pattern"].get<std::string>(), std::regex::ECMAScript)))
        return false;
    if (type == "datetime")
        return std::regex_match(text, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:?\d\d))"));
    if (type == "boolean")
        return std::set<std::string>{"true", "True", "TRUE", "1", "false", "False", "FALSE", "0"}.contains(text);
    if (type != "number" && type != "integer") return true;
    if (type == "integer" && !std::regex_match(text, std::regex(R"([+-]?\d+)"))) return false;
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    return end == text.c_str() + text.size() && std::isfinite(value) &&
           !(limits.contains("minimum") && value < limits["minimum"].get<double>()) &&
           !(limits.contains("maximum") && value > limits["maximum"].get<double>());
}

inline CheckedTable check_table(const std::string& path, const std::string& schema_path) {
    std::ifstream table_file(path, std::ios::binary), schema_file(schema_path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(table_file), {}};
    const nlohmann::json schema = nlohmann::json::parse(schema_file), &fields = schema["fields"];
    CheckedTable table;
    const std::vector<CsvRow> rows = parse_csv(text, path);
    std::vector<std::string> names;
    for (const nlohmann::json& field : fields) names.push_back(field["name"]);
    if (rows.empty() || rows[0].fields != names) table.errors.push_back("the header is not the schema's");
    std::vector<std::set<std::string>> seen(fields.size());
    for (size_t r = 1; r < rows.size(); ++r) {
        const auto wrong = [&](const std::string& what) {
            table.errors.push_back(path + " line " + std::to_string(rows[r].line) + ": " + what);
        };
        if (rows[r].fields.size() != fields.size()) wrong("number of cells");
        for (size_t i = 0; i < std::min(fields.size(), rows[r].fields.size()); ++i) {
            const std::string& cell = rows[r].fields[i];
            const nlohmann::json& limits = fields[i]["constraints"];
            if (schema["missingValues"].dump().find('"' + cell + '"') != std::string::npos) {
                if (limits.value("required", false)) wrong(names[i] + " is missing");
                continue;
            }
            if (!is_schema_value(fields[i], cell)) wrong(names[i] + " '" + cell + "'");
            if (limits.value("unique", false) && !seen[i].insert(cell).second) wrong(names[i] + " twice: " + cell);
        }
        table.rows.push_back(rows[r].fields);
    }
    return table;
}
