// The text form of a configuration, read and written.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "train/config.h"

namespace {

constexpr size_t kLargestFile = size_t(1) << 20;

std::string_view trimmed(std::string_view text) {
    size_t first = text.find_first_not_of(" \t\r");
    return first == text.npos ? "" : text.substr(first, text.find_last_not_of(" \t\r") + 1 - first);
}

// Texts and lists in JSON's notation, which may hold a '#'; anything else ends at the first one.
std::string parse_value(std::string_view text, const std::string& source) {
    if (!text.starts_with('"') && !text.starts_with('[')) return std::string(trimmed(text.substr(0, text.find('#'))));
    for (size_t end = text.size(); end != text.npos; end = end ? text.rfind('#', end - 1) : text.npos) {
        auto value = nlohmann::json::parse(text.substr(0, end), nullptr, false);
        if (value.is_discarded()) continue;
        return value.is_string() ? value.get<std::string>() : value.dump();
    }
    fail(Fault::usage, "{}: {} is not a text in double quotes or a list", source, text);
}

}  // namespace

std::vector<Assignment> parse_config(std::string_view text, const std::string& file_name) {
    std::vector<Assignment> assignments;
    std::map<std::string, std::string> seen;
    text = without_bom(text);
    for (size_t number = 1; !text.empty(); number++) {
        size_t end = text.find('\n');
        std::string_view line = trimmed(text.substr(0, end));
        text = end == text.npos ? "" : text.substr(end + 1);
        if (line.empty() || line.starts_with('#')) continue;
        std::string source = fmt::format("{}:{}", file_name, number);
        size_t equals = line.find('=');
        if (equals == line.npos) fail(Fault::usage, "{}: '{}' is not of the form key = value", source, line);
        std::string key(trimmed(line.substr(0, equals)));
        if (auto [first, is_new] = seen.emplace(key, source); !is_new)
            fail(Fault::usage, "{}: '{}' was set already in {}", source, key, first->second);
        assignments.push_back({key, parse_value(trimmed(line.substr(equals + 1)), source), source});
    }
    return assignments;
}

std::vector<Assignment> read_config(const std::string& path) {
    return parse_config(read_file(path, kLargestFile).text(), path);
}

std::string write_config(const TrainConfig& config) {
    std::string text = "# tundra train --config THIS_FILE runs this again.\n";
    std::string_view group;
    for (const ConfigField& field : config_fields()) {
        if (field.group != group) text += fmt::format("\n# {}\n", group = field.group);
        text += fmt::format("{} = {}\n", field.key, value_text(config, field));
    }
    return text;
}
