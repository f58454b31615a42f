#include "app/survey/sites.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <tuple>

#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace {

const std::string kNumbers = "; write numbers with a point (70.1), or every field that has a comma in quotes";

std::vector<std::string> parts(const std::string& text, const std::string& separators) {
    std::vector<std::string> result;
    for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find_first_of(separators, at), text.size());
        const size_t first = text.find_first_not_of(' ', at);
        if (first < end) result.push_back(text.substr(first, text.find_last_not_of(' ', end - 1) + 1 - first));
        at = end + 1;
    }
    return result;
}

bool is_degrees(const std::string& text, double most) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && value >= -most && value <= most;
}

}  // namespace

Sites::Sites(const std::filesystem::path& csv, const std::vector<std::string>& classes,
             const std::vector<std::string>& always)
    : csv_(csv.string()) {
    const std::vector<CsvRow> rows = parse_csv(utf8_text(read_file(csv).text(), csv_), csv_);
    if (rows.empty()) fail(Fault::usage, "{}: is empty; its first line names the columns: site,latitude,...", csv_);
    const std::vector<std::string> known{"site", "latitude", "longitude", "classes", "not_classes"};
    std::vector<size_t> column(known.size(), SIZE_MAX);
    for (size_t i = 0; i < rows[0].fields.size(); ++i) {
        const auto found = std::ranges::find(known, lower(rows[0].fields[i]));
        if (found == known.end())
            fail(Fault::usage, "{}: has a column '{}'; known are {}{}", csv_, rows[0].fields[i], fmt::join(known, ", "),
                 rows[0].fields[i].find(',') == std::string::npos ? "" : kNumbers);
        column[size_t(found - known.begin())] = i;
    }
    if (column[0] == SIZE_MAX) fail(Fault::usage, "{}: has no column site", csv_);
    for (size_t r = 1; r < rows.size(); ++r) {
        const auto wrong = [&](const std::string& what) {
            fail(Fault::usage, "{}: line {}: {}", csv_, rows[r].line, what);
        };
        const auto field = [&](size_t k) {
            const std::string text = column[k] < rows[r].fields.size() ? rows[r].fields[column[k]] : "";
            // A folder may be called NA (Namibia): check() refuses images without a site.
            if (k == 0 || !is_missing(text)) return text;
            if (k > 2 && !text.empty() && std::ranges::count(classes, text))
                wrong(
                    fmt::format("{} '{}' is what other programs write for a missing value; leave the field empty, "
                                "or give that class another name",
                                known[k], text));
            return std::string();
        };
        for (size_t k = rows[0].fields.size(); k < rows[r].fields.size(); ++k)
            if (!rows[r].fields[k].empty()) wrong("has more fields than the first line names columns" + kNumbers);
        Site site{.name = field(0), .latitude = field(1), .longitude = field(2)};
        if (site.name.empty()) wrong("has no site");
        if (find(site.name)) wrong(fmt::format("the site '{}' occurs twice", site.name));
        for (const auto& [what, text, most] :
             {std::tuple("latitude", &site.latitude, 90), {"longitude", &site.longitude, 180}})
            if (!text->empty() && !is_degrees(*text, most))
                wrong(fmt::format("{} '{}' is not a number from -{} to {}{}", what, *text, most, most,
                                  text->find(',') == text->npos ? "" : kNumbers));
        const std::vector<std::string> only = parts(field(3), "|;,"), never = parts(field(4), "|;,");
        for (const std::vector<std::string>* names : {&only, &never})
            for (const std::string& name : *names)
                if (std::ranges::find(classes, name) == classes.end())
                    wrong(fmt::format("no model knows the class '{}'; known are {}", name,
                                      classes.empty() ? "none, because there is no --species"
                                                      : fmt::format("{}", fmt::join(classes, ", "))));
        const auto in = [](const std::vector<std::string>& list, const std::string& name) {
            return std::ranges::find(list, name) != list.end();
        };
        for (const std::string& name : classes)
            site.excluded.push_back(in(never, name) || (!only.empty() && !in(only, name) && !in(always, name)));
        if (!classes.empty() && std::ranges::find(site.excluded, false) == site.excluded.end())
            wrong(fmt::format("no class is left for the site '{}'", site.name));
        sites_.push_back(std::move(site));
    }
}

const Site* Sites::find(const std::string& name) const {
    const auto found = std::ranges::find(sites_, name, &Site::name);
    return found == sites_.end() ? nullptr : &*found;
}

std::string Sites::name_of(const std::string& file) const {
    if (csv_.empty()) return file.find('/') == file.npos ? "" : file.substr(0, file.find('/'));
    std::string_view folder(file);
    folder = folder.substr(0, folder.rfind('/') == folder.npos ? 0 : folder.rfind('/'));
    while (!folder.empty()) {
        const size_t end = std::min(folder.find('/'), folder.size());
        if (find(std::string(folder.substr(0, end)))) return std::string(folder.substr(0, end));
        folder.remove_prefix(std::min(end + 1, folder.size()));
    }
    return "";
}

std::string Sites::check(const Names& files) const {
    if (csv_.empty()) return "";
    std::set<std::string> seen;
    std::string first;
    size_t without = 0;
    for (size_t i = 0; i < files.size(); ++i) {
        const std::string file = json_name(files[i]), site = name_of(file);
        if (site.empty() && without++ == 0) first = file;
        seen.insert(site);
    }
    if (without)
        fail(Fault::usage,
             "{}: has no row for the site of {} images, the first is {}: a folder in the name has to be "
             "a site; add its row",
             csv_, without, first);
    std::vector<std::string> empty;
    for (const Site& site : sites_)
        if (!seen.contains(site.name)) empty.push_back(site.name);
    return empty.empty() ? "" : fmt::format("{}: no image belongs to {}", csv_, fmt::join(empty, ", "));
}

void exclude(ClassScores& scores, const Site* site) {
    if (!site || site->excluded.empty()) return;
    std::erase_if(scores, [&](const auto& s) { return s.first < site->excluded.size() && site->excluded[s.first]; });
}
