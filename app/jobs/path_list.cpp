#include "app/jobs/path_list.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/csv.h"
#include "base/error.h"
#include "base/text.h"
#include "data/listing.h"
#include "data/unicode_names.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::array kNameKeys{"file", "file_name", "filename", "filepath", "path", "image"};

bool has_extension(const fs::path& path, std::initializer_list<const char*> extensions) {
    return std::ranges::find(extensions, lower(path.extension().string())) != extensions.end();
}

std::string without_blanks(std::string_view text) {
    const size_t first = text.find_first_not_of(" \t\r");
    return first == text.npos ? "" : std::string(text.substr(first, text.find_last_not_of(" \t\r") - first + 1));
}

std::string without_quotes(const std::string& text) {
    const bool quoted = text.size() > 2 && (text[0] == '"' || text[0] == '\'') && text.back() == text[0];
    return quoted ? text.substr(1, text.size() - 2) : text;
}

// False if the value is not a list of images.
bool add_names(const json& value, std::vector<std::string>& names) {
    if (value.is_string()) return names.push_back(value), true;
    if (value.is_array())
        return std::ranges::all_of(value, [&](const json& entry) {
            return !entry.is_array() && (entry.is_string() || !entry.contains("images")) && add_names(entry, names);
        });
    if (!value.is_object()) return false;
    if (const auto images = value.find("images"); images != value.end())
        return images->is_array() && add_names(*images, names);
    for (const char* key : kNameKeys)
        if (const auto name = value.find(key); name != value.end() && name->is_string())
            return names.push_back(*name), true;
    return false;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    const char end = text.find('\0') == text.npos ? '\n' : '\0';
    for (size_t at = 0; at < text.size();) {
        const size_t next = std::min(text.find(end, at), text.size());
        std::string line = text.substr(at, next - at);
        if (line.ends_with('\r')) line.pop_back();
        if (!without_blanks(line).empty()) lines.push_back(std::move(line));
        at = next + 1;
    }
    return lines;
}

// "[2024] fox.jpg" is a name.
bool begins_as_json(const std::string& text) {
    const size_t first = text.find_first_not_of(" \t\r\n"), second = text.find_first_not_of(" \t\r\n", first + 1);
    return first != text.npos && second != text.npos && (text[first] == '[' || text[first] == '{') &&
           std::string_view("\"[]{}").find(text[second]) != std::string_view::npos;
}

std::vector<std::string> names_in_json(const std::string& text, const std::string& list) {
    std::vector<std::string> names;
    const auto refuse = [&] {
        fail(Fault::usage,
             "{}: holds JSON without a list of images: it is an array of names, or has \"images\" with \"file_name\"",
             list);
    };
    if (const json whole = json::parse(text, nullptr, false); !whole.is_discarded()) {
        if (!add_names(whole, names)) refuse();
        return names;
    }
    const std::vector<std::string> lines = lines_of(text);
    for (size_t i = 0; i < lines.size(); ++i) try {
            if (!add_names(json::parse(lines[i]), names)) refuse();
        } catch (const json::exception& e) {
            fail(Fault::usage, "{}: line {}: is not JSON: {}", list, i + 1, e.what());
        }
    return names;
}

std::vector<std::string> names_in_csv(const std::string& text, const std::string& list) {
    const std::vector<CsvRow> rows = parse_csv(text, list);
    if (rows.empty()) return {};
    constexpr size_t kNone = ~size_t(0);
    size_t name = kNone, folder = kNone, first_row = 1;
    for (size_t i = 0; i < rows[0].fields.size(); ++i) {
        const std::string field = lower(rows[0].fields[i]);
        if (name == kNone && std::ranges::find(kNameKeys, field) != kNameKeys.end()) name = i;
        if (field == "relativepath") folder = i;
    }
    if (name == kNone) {
        if (!is_image_name(rows[0].fields[0]))
            fail(Fault::usage, "{}: line {}: none of the columns '{}' names the image; it is called {}", list,
                 rows[0].line, fmt::join(rows[0].fields, "', '"), fmt::join(kNameKeys, ", "));
        name = first_row = 0;
    }
    std::vector<std::string> names;
    for (size_t i = first_row; i < rows.size(); ++i) {
        const auto field = [&](size_t column) {
            return column < rows[i].fields.size() ? rows[i].fields[column] : std::string();
        };
        const std::string below = field(folder);
        if (!field(name).empty()) names.push_back(below.empty() ? field(name) : below + "/" + field(name));
    }
    return names;
}

// Looks for the files of a list.
class Search {
public:
    explicit Search(fs::path beside) : beside_(std::move(beside)) {}

    // The name as it shall stand where nothing was found.
    std::string find(const std::string& raw, bool& found) {
        const std::string name = without_quotes(without_blanks(raw));
        std::string slashed = name;
        std::ranges::replace(slashed, '\\', '/');
        found = true;
        for (const fs::path& folder : {fs::path(), beside_})
            for (const std::string& text : {raw, name, slashed})
                if (const fs::path path = folder / text; exists(path)) {
                    beside_only_ |= !folder.empty();
                    here_ |= folder.empty();
                    return path.string();
                }
        for (const fs::path& folder : {fs::path(), beside_})
            if (const std::string path = unicode_.on_disk(folder, slashed); path != slashed)
                return (folder / path).string();
        found = false;
        return slashed;
    }
    bool beside_only() const { return beside_only_ && !here_; }
    std::vector<std::string> notes() const { return unicode_.notes(); }

private:
    static bool exists(const fs::path& path) {
        std::error_code ignored;
        return fs::exists(path, ignored);
    }

    fs::path beside_;
    UnicodeNames unicode_;
    bool beside_only_ = false, here_ = false;
};

}  // namespace

bool is_list_name(const fs::path& path) {
    return has_extension(path, {".txt", ".lst", ".json", ".jsonl", ".csv", ".tsv"});
}

ListedImages read_path_list(const std::string& list) {
    std::ifstream file(list, std::ios::binary);  // may also be a pipe
    std::error_code ignored;
    if (!file || fs::is_directory(list, ignored)) fail(Fault::usage, "{}: cannot read this list of images", list);
    const std::string text = utf8_text(std::string{std::istreambuf_iterator<char>(file), {}}, list);
    const bool as_json = has_extension(list, {".json", ".jsonl"}) || begins_as_json(text);
    const std::vector<std::string> names = as_json                                 ? names_in_json(text, list)
                                           : has_extension(list, {".csv", ".tsv"}) ? names_in_csv(text, list)
                                                                                   : lines_of(text);
    const fs::path beside = fs::path(list).parent_path();
    Search search(beside);
    ListedImages images;
    std::vector<size_t> lost;
    for (const std::string& name : names) {
        bool found = false;
        images.paths.push_back(search.find(name, found));
        if (!found) lost.push_back(images.paths.size() - 1);
    }
    if (!names.empty() && lost.size() == names.size())
        throw NoImages(fmt::format("{}: none of its {} images exists; the first would be {}", list, names.size(),
                                   images.paths[0]));
    if (search.beside_only())
        for (const size_t i : lost) images.paths[i] = (beside / images.paths[i]).string();
    images.notes = search.notes();
    return images;
}
