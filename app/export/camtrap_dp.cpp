// Rows of the three tables, and the description of the package.
#include "app/export/camtrap_dp.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>
#include <unordered_set>

#include "app/export/deployments.h"
#include "app/export/events.h"
#include "app/export/observations.h"
#include "app/export/survey_files.h"
#include "app/jobs/names.h"
#include "app/review/state.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kStandard = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/";
constexpr const char* kMediaHeader =
    "mediaID,deploymentID,captureMethod,timestamp,filePath,filePublic,fileName,fileMediatype,exifData,favorite,"
    "mediaComments\n";

std::string line_of(const Row& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += (i ? "," : "") + csv_field(row[i]);
    return line + "\n";
}

// Short, and the same whenever the file has the same name.
std::string key_of(const std::string& name) { return fmt::format("{:016x}", XXH3_64bits(name.data(), name.size())); }

// The standard refuses paths that start with '.', '/' or '~' and those that have ".." anywhere.
std::string allowed_path(const std::string& path) {
    std::string result;
    for (size_t i = 0; i < path.size(); ++i) {
        const bool first = i == 0 && (path[i] == '.' || path[i] == '/' || path[i] == '~');
        if (first || (path[i] == '.' && i > 0 && path[i - 1] == '.'))
            result += fmt::format("%{:02X}", static_cast<unsigned char>(path[i]));
        else
            result += path[i];
    }
    return result;
}

std::string media_type(const std::string& file) {
    static const std::map<std::string, const char*> kTypes{
        {".png", "image/png"},   {".gif", "image/gif"},   {".tif", "image/tiff"},
        {".tiff", "image/tiff"}, {".bmp", "image/bmp"},   {".webp", "image/webp"},
        {".heic", "image/heic"}, {".heif", "image/heif"}, {".avif", "image/avif"}};
    const auto found = kTypes.find(lower(fs::path(file).extension().string()));
    return found == kTypes.end() ? "image/jpeg" : found->second;
}

std::map<std::string, std::string> read_taxa(const fs::path& path) {
    std::map<std::string, std::string> taxa;
    if (path.empty()) return taxa;
    for (const CsvRow& row : parse_csv(utf8_text(read_file(path).text(), path.string()), path.string())) {
        if (row.fields.size() < 2 || row.fields[0].empty() || row.fields[1].empty())
            fail(Fault::usage, "{}: line {}: each line is class,scientificName", path.string(), row.line);
        taxa[row.fields[0]] = row.fields[1];
    }
    return taxa;
}

Json spatial(const std::vector<Deployment>& all) {
    const auto [south, north] = std::ranges::minmax(all, {}, &Deployment::latitude);
    const auto [west, east] = std::ranges::minmax(all, {}, &Deployment::longitude);
    const double s = south.latitude, n = north.latitude, w = west.longitude, e = east.longitude;
    return {{"type", "Polygon"}, {"coordinates", {{{w, s}, {e, s}, {e, n}, {w, n}, {w, s}}}}};
}

Json description(const CamtrapOptions& o, const std::vector<Deployment>& all, const std::set<std::string>& species) {
    Json package{{"resources", Json::array()}, {"profile", std::string(kStandard) + "camtrap-dp-profile.json"}};
    for (const char* table : {"deployments", "media", "observations"})
        package["resources"].push_back({{"name", table},
                                        {"path", std::string(table) + ".csv"},
                                        {"profile", "tabular-data-resource"},
                                        {"format", "csv"},
                                        {"mediatype", "text/csv"},
                                        {"encoding", "utf-8"},
                                        {"schema", kStandard + std::string(table) + "-table-schema.json"}});
    const auto now =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
    package["created"] = camtrap_time(now.count(), "Z");
    package["contributors"] = {{{"title", "not stated"}}};
    package["project"] = {{"title", fs::absolute(o.survey).lexically_normal().filename().string()},
                          {"samplingDesign", "opportunistic"},
                          {"captureMethod", {"activityDetection"}},
                          {"individualAnimals", false},
                          {"observationLevel", {"media", "event"}}};
    if (o.decimals >= 0) package["coordinatePrecision"] = std::pow(10.0, -o.decimals);
    package["spatial"] = spatial(all);
    const auto first = std::ranges::min(all, {}, &Deployment::start),
               last = std::ranges::max(all, {}, &Deployment::end);
    package["temporal"] = {{"start", camtrap_time(first.start, "").substr(0, 10)},
                           {"end", camtrap_time(last.end, "").substr(0, 10)}};
    package["taxonomic"] = Json::array();
    for (const std::string& name : species) package["taxonomic"].push_back({{"scientificName", name}});
    if (o.package.empty()) return package;
    const Json own = parse_foreign<Json>(utf8_text(read_file(o.package).text(), o.package.string()));
    if (!own.is_object()) fail(Fault::usage, "{}: is not a JSON object", o.package.string());
    for (const auto& [key, value] : own.items()) {
        if (key == "resources" || key == "profile" || key == "spatial" || key == "temporal") continue;
        if (key == "project" && value.is_object())
            package[key].update(value);
        else
            package[key] = value;
    }
    for (const char* list : {"contributors", "licenses"})
        if (package.contains(list) && (!package[list].is_array() || package[list].empty()))
            fail(Fault::usage, "{}: \"{}\" is not a list with entries", o.package.string(), list);
    std::set<std::string> scopes;
    for (const Json& license : member(package, "licenses")) scopes.insert(text_of(license, "scope"));
    if (package.contains("licenses") && !(scopes.contains("data") && scopes.contains("media")))
        fail(Fault::usage, "{}: licenses need one with \"scope\": \"data\" and one with \"scope\": \"media\"",
             o.package.string());
    static const std::set<std::string> kDesigns{"simpleRandom", "systematicRandom", "clusteredRandom",
                                                "experimental", "targeted",         "opportunistic"};
    if (const std::string design = text_of(package["project"], "samplingDesign"); !kDesigns.contains(design))
        fail(Fault::usage, "{}: samplingDesign '{}' is none of {}", o.package.string(), design,
             fmt::join(kDesigns, ", "));
    return package;
}

// Counts by reason, with the first case of each.
class LeftOut {
public:
    void add(const std::string& what, const std::string& which) {
        if (counts_[what]++ == 0) first_[what] = which;
    }
    void tell(std::vector<std::string>& notes) const {
        for (const auto& [what, number] : counts_)
            notes.push_back(fmt::format("{} images {} (first: {})", number, what, first_.at(what)));
    }

private:
    std::map<std::string, size_t> counts_;
    std::map<std::string, std::string> first_;
};

bool shows_people(const AnsweredImage& image) {
    return image.final == "human" || std::ranges::any_of(image.boxes, [](const AnsweredBox& box) {
               return box.counts && is_human(box.category);
           });
}

}  // namespace

CamtrapSummary write_camtrap_dp(const CamtrapOptions& o) {
    if (std::error_code none; fs::exists(o.out, none) && !(fs::is_directory(o.out) && fs::is_empty(o.out, none)))
        fail(Fault::usage, "{}: is not empty; name a new folder for the package", o.out.string());
    CamtrapSummary summary;
    std::vector<Deployment> deployments = read_deployments(o.deployments, summary.notes);
    const SurveyAnswers answers = read_survey(o.survey);
    summary.notes.insert(summary.notes.end(), answers.notes.begin(), answers.notes.end());
    if (o.decimals >= 0)
        for (Deployment& one : deployments) round_coordinates(one, o.decimals);

    Observations observations(answers, read_taxa(o.taxa));
    LeftOut left;
    std::string media_text = kMediaHeader, observation_text = kObservationHeader;
    std::unordered_set<std::string> keys;
    std::set<std::string> homeless;
    Events events(answers.event_seconds);
    // The rows of one image. An observation of no event belongs to the burst.
    const auto observed = [&](const AnsweredImage& image, const Deployment& at) {
        using namespace observation;
        Row shared(kObservationColumns);
        shared[deployment] = at.id, shared[media] = key_of(image.file), shared[level] = "media";
        shared[event] = key_of(image.sequence.empty() ? image.file : image.sequence);
        shared[start] = shared[end] = camtrap_time(image.time, at.zone);
        return observations.rows(image, shared);
    };
    std::vector<std::pair<const AnsweredImage*, size_t>> kept;  // and the number of the deployment
    for (const AnsweredImage& image : answers.images) {
        const Deployment* at = find_deployment(deployments, image.site, image.camera, image.file, image.time);
        if (!at) {
            homeless.insert(
                fmt::format("'{}' (site '{}')", image.camera.empty() ? image.file : image.camera, image.site));
            continue;
        }
        if (image.final == "failed")
            left.add("could not be read and are left out", image.file);
        else if (image.time < 0)
            left.add("have no date, without which the standard takes none, and are left out", image.file);
        else if (o.without_people && shows_people(image))
            left.add("show people or vehicles and are left out", image.file);
        else {
            const std::string key = key_of(image.file), time = camtrap_time(image.time, at->zone);
            if (!keys.insert(key).second) fail(Fault::damaged, "images.csv: has the image {} twice", image.file);
            if (image.time < at->start || image.time > at->end) {
                left.add(fmt::format("were taken outside of the time of deployment '{}' (a wrong clock?) and are kept; "
                                     "timestampIssues is set to true",
                                     at->id),
                         image.file);
                deployments[size_t(at - deployments.data())].fields[deployment_column("timestampIssues")] = "true";
            }
            const std::string name = json_name(image.file), path = allowed_path(o.media_path + name);
            if (path != o.media_path + image.file)
                left.add("have names that the standard refuses, in which some characters are written as %2E", name);
            media_text += line_of({key, at->id, "", time, path, o.public_media ? "true" : "false",
                                   fs::path(name).filename().string(), media_type(image.file), "", "", ""});
            events.add(image, at->zone, observed(image, *at));
            kept.emplace_back(&image, size_t(at - deployments.data()));
            ++summary.media;
        }
    }
    if (!homeless.empty())
        fail(Fault::usage,
             "{}: has no deployment for {} cameras of the survey, the first is {}; a deployment fits whose "
             "deploymentID is SITE/CAMERA, or whose cameraID (and locationID) are those of the survey",
             o.deployments.string(), homeless.size(), *homeless.begin());
    if (!summary.media) fail(Fault::usage, "{}: no image is left to export", o.survey.string());
    const std::vector<Row> of_events = events.rows();
    const auto write_row = [&](const Row& row) {
        observation_text += line_of(row);
        ++summary.observations;
    };
    for (const auto& [image, deployment] : kept)
        for (Row& row : observed(*image, deployments[deployment])) {
            if (const std::string event = events.of(row); !event.empty()) row[observation::event] = event;
            write_row(row);
        }
    for (const Row& row : of_events) write_row(row);
    left.tell(summary.notes);
    if (!observations.unknown().empty())
        summary.notes.push_back(
            fmt::format("{} classes are written as scientificName as they are (first: '{}'); --taxa "
                        "gives them scientific names",
                        observations.unknown().size(), *observations.unknown().begin()));
    if (o.package.empty())
        summary.notes.push_back("contributors, licenses and samplingDesign are not stated; --package gives them");

    const Json package = description(o, deployments, observations.names());
    std::string deployment_text = line_of(Row(deployment_columns().begin(), deployment_columns().end()));
    for (const Deployment& one : deployments) deployment_text += line_of(one.fields);
    summary.deployments = deployments.size();
    fs::create_directories(o.out);
    const auto write = [&](const char* name, const std::string& text) {
        write_file_durably(o.out / name, [&](FileWriter& file) { file.write(text); });
    };
    write("deployments.csv", deployment_text);
    write("media.csv", media_text);
    write("observations.csv", observation_text);
    write("datapackage.json", package.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    return summary;
}
