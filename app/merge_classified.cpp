#include "app/merge_classified.h"

#include <fmt/format.h>

#include <map>
#include <string_view>
#include <utility>

#include "app/detect/shard.h"
#include "app/jobs/names.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace {

using nlohmann::ordered_json;

constexpr std::string_view kMark = "#tundra ";  // before the settings in a CSV

bool is_csv(const std::filesystem::path& path) { return lower(path.extension().string()) == ".csv"; }

struct Part {
    ordered_json settings;
    std::string header;                     // of a CSV
    std::vector<std::string> lines, names;  // of the images; the lines as they are, with their end
};

// The next line of `text`, with its end; line breaks in quotes do not end a line of a CSV.
std::string next_line(std::string_view& text, bool as_csv) {
    bool quoted = false;
    size_t end = 0;
    for (; end < text.size() && (quoted || text[end] != '\n'); ++end)
        if (as_csv && text[end] == '"') quoted = !quoted;
    const std::string line(text.substr(0, end + 1));
    text.remove_prefix(line.size());
    return line;
}

Part read_part(const std::string& path) {
    const bool as_csv = is_csv(path);
    const FileBytes bytes = read_file(path);
    std::string_view text = bytes.text();
    const std::string first = next_line(text, false);
    Part part;
    if (!as_csv)
        part.settings = member(parse_foreign<ordered_json>(first), "tundra");
    else if (first.starts_with(kMark))
        part.settings = parse_foreign<ordered_json>(std::string_view(first).substr(kMark.size()));
    if (!member(part.settings, "shard").is_string() || !member(part.settings, "pictures").is_number_unsigned())
        fail(Fault::usage, "{}: is no part of a list; merge takes what `tundra classify --shard` wrote", path);
    if (as_csv) {
        const CsvTable table(text, path, Fault::damaged);
        for (size_t i = 0; i < table.size(); ++i) part.names.push_back(table.at(i, "path"));
        part.header = next_line(text, true);
    }
    while (!text.empty()) {
        part.lines.push_back(next_line(text, as_csv));
        if (as_csv) continue;
        const ordered_json line = parse_foreign<ordered_json>(part.lines.back());
        if (!member(line, "path").is_string())
            fail(Fault::damaged, "{}: line {} names no image", path, part.lines.size() + 1);
        part.names.push_back(line["path"]);
    }
    if (part.lines.size() != part.names.size() || (!part.lines.empty() && !part.lines.back().ends_with('\n')))
        fail(Fault::damaged, "{}: its last line is cut off", path);
    return part;
}

}  // namespace

std::string shard_line(const ordered_json& settings, bool as_csv) {
    return as_csv ? fmt::format("{}{}\n", kMark, one_line(settings))
                  : one_line(ordered_json{{"tundra", settings}}) + "\n";
}

size_t merge_classified(const std::vector<std::string>& paths, const std::filesystem::path& out) {
    if (is_csv(out) != is_csv(paths[0]))
        fail(Fault::usage, "--out {}: must have the format of the parts, such as {}", out.string(), paths[0]);
    std::map<size_t, Part> parts;
    std::map<size_t, std::string> seen;
    ordered_json first;
    std::string header;
    size_t of = 0;
    for (const std::string& path : paths) {
        if (is_csv(path) != is_csv(out)) fail(Fault::usage, "{}: has another format than {}", path, paths[0]);
        Part part = read_part(path);
        const Shard shard = parse_shard(part.settings["shard"]);
        part.settings.erase("shard");
        if (first.is_null()) first = part.settings, header = part.header, of = shard.of;
        if (part.settings != first || part.header != header || shard.of != of)
            fail(Fault::usage,
                 "{}: was made by another model, with other settings or from another list of images than {}", path,
                 paths[0]);
        if (const auto [other, added] = seen.try_emplace(shard.number, path); !added)
            fail(Fault::usage, "{} and {} are both shard {} of {}", other->second, path, shard.number, of);
        parts.emplace(shard.number, std::move(part));
    }
    for (size_t i = 1; i <= of; ++i)
        if (!parts.contains(i)) fail(Fault::usage, "merge: shard {} of {} is missing", i, of);
    const size_t pictures = first["pictures"];
    size_t held = 0;
    for (const auto& [number, part] : parts) {
        held += part.lines.size();
        if (part.lines.size() != pictures / of + (number <= pictures % of))
            fail(Fault::damaged, "{}: holds {} images, shard {} of {} has {}", seen[number], part.lines.size(), number,
                 of, pictures / of + (number <= pictures % of));
    }
    const auto name = [&](size_t i) { return one_line(ordered_json(parts[i % of + 1].names[i / of])); };
    if (list_hash(held, name) != text_of(first, "list"))
        fail(Fault::damaged, "merge: the {} images of the shards are not those of the list", held);
    write_file_durably(out, [&](FileWriter& file) {
        file.write(header);
        for (size_t i = 0; i < pictures; ++i) file.write(parts[i % of + 1].lines[i / of]);
    });
    return pictures;
}
