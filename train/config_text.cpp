// The text form of a configuration: read, written, and misspelt words recognised.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
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

// Edits between two words; swapping two neighbours is one.
size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::vector<size_t>> edits(a.size() + 1, std::vector<size_t>(b.size() + 1));
    for (size_t i = 0; i <= a.size(); i++)
        for (size_t j = 0; j <= b.size(); j++) {
            if (i == 0 || j == 0) {
                edits[i][j] = i + j;
                continue;
            }
            edits[i][j] =
                std::min({edits[i - 1][j] + 1, edits[i][j - 1] + 1, edits[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                edits[i][j] = std::min(edits[i][j], edits[i - 2][j - 2] + 1);
        }
    return edits[a.size()][b.size()];
}

}  // namespace

std::vector<Assignment> parse_config(std::string_view text, const std::string& file_name) {
    std::vector<Assignment> assignments;
    std::map<std::string, std::string> seen;
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // the byte-order mark of some editors
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
    FileBytes bytes = read_file(path, kLargestFile);
    return parse_config({reinterpret_cast<const char*>(bytes.memory.get()), bytes.size}, path);
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

std::string nearest(std::string_view word, std::span<const std::string_view> candidates) {
    size_t fewest = std::max<size_t>(2, word.size() / 3) + 1;
    std::string_view best;
    for (std::string_view candidate : candidates) {
        size_t edits = distance(word, candidate);
        if (edits < fewest && edits < candidate.size()) fewest = edits, best = candidate;
    }
    return std::string(best);
}
