#include "app/export/deployments.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"

namespace {

namespace fs = std::filesystem;

// Camtrap DP 1.0.2, deployments-table-schema.json, https://camtrap-dp.tdwg.org/data/#deployments
struct Column {
    const char* name;
    enum Kind { text, number, integer, boolean, date, feature } kind = text;
    double low = -1e9, high = 1e9;
};
constexpr std::array<Column, 24> kColumns{{{"deploymentID"},
                                           {"locationID"},
                                           {"locationName"},
                                           {"latitude", Column::number, -90, 90},
                                           {"longitude", Column::number, -180, 180},
                                           {"coordinateUncertainty", Column::integer, 1},
                                           {"deploymentStart", Column::date},
                                           {"deploymentEnd", Column::date},
                                           {"setupBy"},
                                           {"cameraID"},
                                           {"cameraModel"},
                                           {"cameraDelay", Column::integer, 0},
                                           {"cameraHeight", Column::number, 0},
                                           {"cameraDepth", Column::number, 0},
                                           {"cameraTilt", Column::integer, -90, 90},
                                           {"cameraHeading", Column::integer, 0, 360},
                                           {"detectionDistance", Column::number, 0},
                                           {"timestampIssues", Column::boolean},
                                           {"baitUse", Column::boolean},
                                           {"featureType", Column::feature},
                                           {"habitat"},
                                           {"deploymentGroups"},
                                           {"deploymentTags"},
                                           {"deploymentComments"}}};
constexpr std::array<const char*, 5> kRequired{"deploymentID", "latitude", "longitude", "deploymentStart",
                                               "deploymentEnd"};

bool is_number(const std::string& text, double& value, bool whole) {
    if (text.find_first_not_of(whole ? "+-0123456789" : "+-.0123456789eE") != text.npos) return false;
    char* end = nullptr;
    value = std::strtod(text.c_str(), &end);
    return end == text.c_str() + text.size() && std::isfinite(value);
}

int64_t seconds_of(int year, unsigned month, unsigned day, int hour, int minute, int second) {
    using namespace std::chrono;
    return sys_days{std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day)}.time_since_epoch() /
               seconds(1) +
           hour * 3600 + minute * 60 + second;
}

// "2025-08-21T00:00:00+0200" and its relatives; false without a zone, with fractions, and for a day that is none.
bool read_date(const std::string& text, int64_t& local, std::string& zone) {
    int y = 0, month = 0, d = 0, h = 0, m = 0, s = 0, used = 0;
    if (std::sscanf(text.c_str(), "%4d-%2d-%2d%*1[T ]%2d:%2d:%2d%n", &y, &month, &d, &h, &m, &s, &used) != 6)
        return false;
    using namespace std::chrono;
    if (!(year(y) / month / d).ok() || h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59) return false;
    zone = text.substr(size_t(used));
    if (zone.size() == 5 && zone.find(':') == zone.npos) zone.insert(3, ":");
    int hours = 0, minutes = 0;
    char sign[2]{};
    used = 0;
    if (zone != "Z" && (std::sscanf(zone.c_str(), "%1[+-]%2d:%2d%n", sign, &hours, &minutes, &used) != 3 ||
                        size_t(used) != zone.size() || zone.size() != 6 || hours > 14 || minutes > 59))
        return false;
    local = seconds_of(y, unsigned(month), unsigned(d), h, m, s);
    return true;
}

// The value as the standard has it; "" with `trouble` if it cannot be.
std::string checked(const Column& column, const std::string& text, std::string& trouble) {
    double value = 0;
    int64_t local = 0;
    std::string zone;
    static const std::set<std::string> kFeatures{
        "roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge",
        "culvert",   "burrow",   "nestSite",    "carcass",   "waterSource",   "fruitingTree"};
    static const std::map<std::string, const char*> kTruth{{"true", "true"},   {"True", "true"},   {"TRUE", "true"},
                                                           {"1", "true"},      {"false", "false"}, {"False", "false"},
                                                           {"FALSE", "false"}, {"0", "false"}};
    switch (column.kind) {
        case Column::text: return text;
        case Column::number:
        case Column::integer:
            if (!is_number(text, value, column.kind == Column::integer))
                trouble = column.kind == Column::integer ? "is not a whole number" : "is not a number (with a point)";
            else if (value < column.low || value > column.high)
                trouble =
                    fmt::format("is not {}", column.high > 1e8 ? fmt::format("{} or more", column.low)
                                                               : fmt::format("from {} to {}", column.low, column.high));
            return text;
        case Column::boolean:
            if (!kTruth.contains(text)) trouble = "is not true or false";
            return trouble.empty() ? kTruth.at(text) : "";
        case Column::feature:
            if (!kFeatures.contains(text)) trouble = "is none of the standard's types of feature";
            return text;
        case Column::date:
            if (!read_date(text, local, zone))
                trouble = "is not a date with whole seconds and a zone, such as 2025-08-21T12:00:00+02:00";
            return trouble.empty() ? camtrap_time(local, zone) : "";
    }
    return text;
}

}  // namespace

const std::vector<const char*>& deployment_columns() {
    static const std::vector<const char*> names = [] {
        std::vector<const char*> all;
        for (const Column& column : kColumns) all.push_back(column.name);
        return all;
    }();
    return names;
}

size_t deployment_column(const char* name) {
    return size_t(
        std::ranges::find(kColumns, std::string_view(name), [](const Column& c) { return std::string_view(c.name); }) -
        kColumns.begin());
}

std::string camtrap_time(int64_t at, const std::string& zone) {
    using namespace std::chrono;
    const sys_seconds when{seconds(at)};
    const year_month_day date(floor<days>(when));
    const hh_mm_ss time(when - floor<days>(when));
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}", int(date.year()), unsigned(date.month()),
                       unsigned(date.day()), time.hours().count(), time.minutes().count(), time.seconds().count(),
                       zone);
}

std::vector<Deployment> read_deployments(const fs::path& path, std::vector<std::string>& notes) {
    const std::string name = path.string();
    const std::vector<CsvRow> rows = parse_csv(utf8_text(read_file(path).text(), name), name);
    if (rows.size() < 2) fail(Fault::usage, "{}: has no deployments", name);
    std::vector<size_t> columns;
    for (const std::string& title : rows[0].fields) {
        columns.push_back(deployment_column(title.c_str()));
        if (columns.back() == kColumns.size())
            notes.push_back(
                fmt::format("{}: Camtrap DP has no column '{}' in deployments; it is left out", name, title));
        else if (std::ranges::count(columns, columns.back()) > 1)
            fail(Fault::usage, "{}: has two columns '{}'", name, title);
    }
    for (const char* required : kRequired)
        if (std::ranges::count(columns, deployment_column(required)) == 0)
            fail(Fault::usage, "{}: has no column '{}'", name, required);
    std::vector<Deployment> all;
    std::set<std::string> ids;
    for (size_t r = 1; r < rows.size(); ++r) {
        Deployment one{.fields = std::vector<std::string>(kColumns.size()), .id = "", .zone = ""};
        for (size_t i = 0; i < columns.size() && i < rows[r].fields.size(); ++i) {
            const std::string& text = rows[r].fields[i];
            if (columns[i] == kColumns.size() || is_missing(text)) continue;
            std::string trouble;
            one.fields[columns[i]] = checked(kColumns[columns[i]], text, trouble);
            if (!trouble.empty())
                fail(Fault::usage, "{}: line {}: {} '{}' {}", name, rows[r].line, kColumns[columns[i]].name, text,
                     trouble);
        }
        for (const char* required : kRequired)
            if (one.fields[deployment_column(required)].empty())
                fail(Fault::usage, "{}: line {}: {} is missing (NA, NaN and nan count as missing, also as a name)",
                     name, rows[r].line, required);
        one.id = one.fields[0];
        if (!ids.insert(one.id).second)
            fail(Fault::usage, "{}: line {}: deployment '{}' is there twice", name, rows[r].line, one.id);
        one.latitude = std::stod(one.fields[deployment_column("latitude")]);
        one.longitude = std::stod(one.fields[deployment_column("longitude")]);
        std::string end_zone;
        read_date(one.fields[deployment_column("deploymentStart")], one.start, one.zone);
        read_date(one.fields[deployment_column("deploymentEnd")], one.end, end_zone);
        if (one.end < one.start)
            fail(Fault::usage, "{}: line {}: deployment '{}' ends before it starts", name, rows[r].line, one.id);
        all.push_back(std::move(one));
    }
    return all;
}

void round_coordinates(Deployment& deployment, int decimals) {
    const double scale = std::pow(10, decimals);
    const auto rounded = [&](double& value, const char* column) {
        value = std::round(value * scale) / scale;
        deployment.fields[deployment_column(column)] = fmt::format("{:.{}f}", value, decimals);
    };
    rounded(deployment.latitude, "latitude");
    rounded(deployment.longitude, "longitude");
    // Half a step in both directions, where a degree of longitude is longest.
    std::string& uncertainty = deployment.fields[deployment_column("coordinateUncertainty")];
    const double before = uncertainty.empty() ? 0 : std::stod(uncertainty);
    uncertainty = fmt::format("{:.0f}", std::ceil(before + std::sqrt(0.5) * 111320 / scale));
}

const Deployment* find_deployment(const std::vector<Deployment>& all, const std::string& site,
                                  const std::string& camera, const std::string& file, int64_t time) {
    const std::string folder = fs::path(file).parent_path().generic_string();
    const size_t camera_id = deployment_column("cameraID"), location_id = deployment_column("locationID");
    const std::array<std::string, 4> names{site + "/" + camera, camera, site, folder};
    const Deployment* found = nullptr;
    for (const Deployment& one : all) {
        const std::string &at = one.fields[location_id], &with = one.fields[camera_id];
        const bool named = std::ranges::any_of(names, [&](const std::string& n) { return !n.empty() && n == one.id; });
        const bool same_camera = !with.empty() && with == camera && (at.empty() || site.empty() || at == site);
        const bool same_site = with.empty() && !at.empty() && at == site;
        if (!named && !same_camera && !same_site) continue;
        const bool elsewhere = !at.empty() && !site.empty() && at != site && one.id != names[0] && one.id != folder;
        if (elsewhere) continue;
        const bool during = time >= one.start && time <= one.end;
        if (!found || during) found = &one;
        if (during) break;
    }
    return found;
}
