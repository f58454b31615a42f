#include "app/survey/survey.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "app/detect/earlier.h"
#include "app/detect/shard.h"
#include "app/jobs/journal.h"
#include "app/review/corrections.h"
#include "app/review/folder.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "train/machine.h"

using nlohmann::ordered_json;

namespace {

namespace fs = std::filesystem;

// Names of classes that are no animals in the models that people make, in any case.
const std::set<std::string> kNoAnimals{"empty",          "blank", "background", "none", "nothing",    "no animal",
                                       "false positive", "rock",  "stone",      "bait", "vegetation", "other"};

std::vector<std::string> classes_without_animals(const std::vector<std::string>& wanted,
                                                 const std::vector<std::string>& species) {
    std::vector<std::string> result;
    for (const std::string& name : species)
        if (wanted.empty() ? kNoAnimals.contains(lower(name)) : std::ranges::find(wanted, name) != wanted.end())
            result.push_back(name);
    for (const std::string& name : wanted)
        if (std::ranges::find(species, name) == species.end())
            fail(Fault::usage, "--not-animals: no model knows the class '{}'; known are {}", name,
                 fmt::join(species, ", "));
    return result;
}

ordered_json to_json(const TableOptions& t) {
    return {{"box_threshold", t.box_threshold},
            {"bad_class", t.bad},
            {"bad_threshold", t.bad_threshold},
            {"sample", t.sample},
            {"seed", t.seed},
            {"burst_seconds", t.burst_seconds},
            {"event_seconds", t.event_seconds},
            {"not_animals", t.not_animals}};
}

TableOptions table_options(const ordered_json& record) {
    const ordered_json& t = record.at("table");
    TableOptions options{.species = record.at("species"), .quality = record.at("quality")};
    for (const auto& name : record.at("categories")) options.categories.push_back(name);
    options.not_animals = t.at("not_animals").get<std::vector<std::string>>();
    options.box_threshold = t.at("box_threshold");
    options.bad = t.at("bad_class");
    options.bad_threshold = t.at("bad_threshold");
    options.sample = t.at("sample");
    options.seed = t.at("seed");
    options.burst_seconds = t.at("burst_seconds");
    options.event_seconds = t.at("event_seconds");
    return options;
}

Sites sites_of(const fs::path& folder, const TableOptions& options) {
    std::error_code ignored;
    const fs::path csv = folder / "sites.csv";
    return fs::exists(csv, ignored) ? Sites(csv, options.species, options.not_animals) : Sites();
}

// What a person may say of the quality of an image.
std::vector<std::string> qualities(const TableOptions& options) {
    return options.quality.empty() ? std::vector<std::string>{options.bad, "good"} : options.quality;
}

std::unique_ptr<SurveyTable> table_of(const fs::path& folder, const DetectRun& run, const TableOptions& options,
                                      const std::function<void(const std::string&)>& note) {
    const Names& files = run.options().files;
    const auto boxes_now = [&](const std::string& file) -> std::optional<std::vector<BoxPlace>> {
        const size_t i = files.find(file);
        if (i == files.size()) return {};
        const ImageResult result = run.result(i);
        if (!result.failure.empty()) return {};
        std::vector<BoxPlace> places;
        for (const Detection& d : result.detections) places.push_back({d.x, d.y, d.w, d.h});
        return places;
    };
    return std::make_unique<SurveyTable>(
        SurveyResults{files.size(), [&run](size_t i) { return run.result(i); },
                      [&run](size_t i) { return json_name(run.options().files[i]); }},
        sites_of(folder, options), read_repeats(folder / "repeats.csv"),
        read_corrections(folder / "corrections.csv", options.categories, qualities(options), boxes_now, note), options);
}

// No time stands in results.json, so that a resumed survey gives the same bytes; survey.json has it.
void write_json(const fs::path& folder, const ordered_json& record, const DetectRun& run, const Sites& sites) {
    const ordered_json& head = record.at("head");
    const EntryOptions entry{.size = true, .date = true, .quality = record.at("quality")};
    write_results(folder / "results.json", ResultFormat::megadetector,
                  {head.at("categories"), head.at("info"), head.at("classes")}, {},
                  {run.options().files.size(), [&](size_t i) -> ResultEntry {
                       ImageResult r = run.result(i);
                       for (Detection& d : r.detections) exclude(d.classes, sites.find(sites.name_of(r.file)));
                       ordered_json json = megadetector_entry(r, entry);
                       json["site"] = sites.name_of(r.file);
                       json["camera"] = camera_of(r);
                       if (!r.sequence.empty()) json["sequence"] = r.sequence;
                       return json;
                   }});
}

// Corrections of earlier versions have no places of their boxes: they get them before other models may run.
void keep_places(const fs::path& folder, const std::function<void(const std::string&)>& note) {
    std::error_code ignored;
    if (!fs::exists(folder / "corrections.csv", ignored) || !fs::exists(folder / "results.json", ignored)) return;
    try {
        CorrectionLog log(folder / "corrections.csv");
        if (!log.lacks_places()) return;
        SurveyFolder(folder, "").match(log);
        log.open_for_writing();
        for (const std::string& text : log.notes) note(text);  // half a last row goes now
    } catch (const Error& e) {
        note(
            fmt::format("what corrections.csv says of boxes goes by their numbers, because their places cannot be "
                        "found ({}); if the detector changed, look at these images again",
                        e.what()));
    }
}

void put_aside_repeats(const fs::path& folder, const char* reason,
                       const std::function<void(const std::string&)>& note) {
    std::error_code error;
    fs::rename(folder / "repeats.csv", folder / "repeats.csv.old", error);
    note(fmt::format("repeats.csv {} and is repeats.csv.old now; `tundra tidy {}` finds the repeats anew", reason,
                     (folder / "results.json").string()));
}

// What people said of earlier images of these names is taken back, in rows of this reviewer.
constexpr const char* kTakenBack = "tundra: another file";
void take_back(const fs::path& folder, const std::set<std::string>& files,
               const std::function<void(const std::string&)>& note) {
    CorrectionLog log(folder / "corrections.csv");
    std::map<std::array<std::string, 4>, Correction>
        said;  // by what a row answers; boxes of two detectors share numbers
    for (const Correction& row : log.rows())
        if (const std::string file = json_name(row.file); files.contains(file))
            said[{file, row.box, row.field, row.place}] = row;
    std::vector<Correction> rows;
    std::set<std::string> images;
    for (auto& [key, row] : said) {
        if (row.value.empty()) continue;
        images.insert(key[0]);
        row.old = std::exchange(row.value, "");
        row.reviewer = kTakenBack, row.time = time_now();
        rows.push_back(std::move(row));
    }
    std::string answers;
    if (!rows.empty()) {
        log.open_for_writing();
        log.append(rows);
        answers = fmt::format(
            "; what people said of {} of them no longer counts: review these again, or, if they show what they showed "
            "before, delete the rows of '{}' in {}",
            images.size(), kTakenBack, log.path().string());
    }
    note(fmt::format("{} files are others than those of this name before (first: {}), and are looked at again{}",
                     files.size(), *files.begin(), answers));
    const Repeats repeats = read_repeats(folder / "repeats.csv");
    if (std::ranges::any_of(files, [&](const std::string& file) { return repeats.contains(file); }))
        put_aside_repeats(folder, "names boxes of such files", note);
}

// Boxes that were repeats are others now.
void drop_repeats(const fs::path& folder, const ordered_json& record,
                  const std::function<void(const std::string&)>& note) {
    std::error_code error;
    if (!fs::exists(folder / "repeats.csv", error) || !fs::exists(folder / "survey.json", error)) return;
    const auto earlier = parse_foreign<ordered_json>(read_file(folder / "survey.json").text());
    const ordered_json& keys = member(earlier, "keys");
    if (!keys.is_array() || keys.empty() || keys[0] == record.at("keys")[0]) return;
    put_aside_repeats(folder, "was made with other models", note);
}

// Half-written files that a kill left behind; nobody else writes here now.
void remove_leftovers(const fs::path& folder) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
        for (const char* name : {"results.json.", "images.csv.", "events.csv.", "survey.json."})
            if (entry.path().extension() == ".tmp" && entry.path().filename().string().starts_with(name))
                fs::remove(entry.path(), ignored);
}

SurveyOutcome write_survey(const fs::path& folder, ordered_json record, const DetectRun& run,
                           const std::function<void(const std::string&)>& note) {
    const TableOptions options = table_options(record);
    const std::unique_ptr<SurveyTable> table = table_of(folder, run, options, note);
    if (note)
        for (const std::string& text : table->notes()) note(text);
    remove_leftovers(folder);
    write_json(folder, record, run, sites_of(folder, options));
    table->write_images(folder / "images.csv");
    table->write_events(folder / "events.csv");
    SurveyOutcome outcome{.images = table->size()};
    for (size_t i = 0; i < table->size(); ++i) {
        ++outcome.finals[final_name(table->final_class(i))];
        outcome.to_review += table->review(i) != 0;
    }
    record["counts"] = {{"images", outcome.images}, {"to_review", outcome.to_review}};
    for (const auto& [name, count] : outcome.finals) record["counts"][name] = count;
    record["written"] = completion_time();
    write_file_durably(folder / "survey.json", [&](FileWriter& out) { out.write(record.dump(1) + "\n"); });
    return outcome;
}

}  // namespace

SurveyOutcome survey(SurveyJob job) {
    const fs::path folder = job.detect.out;
    if (job.detect.handed) {
        job.detect.out = (folder / "results.json").string(), job.detect.survey = true;
        return {.detect = detect(job.detect)};
    }
    std::error_code error;
    const bool made = fs::create_directories(folder, error);
    if (error || !fs::is_directory(folder))
        fail(Fault::usage, "--out {}: is not a folder, and none can be made there", folder.string());
    DetectJob& detect_job = job.detect;
    detect_job.out = (folder / "results.json").string();
    detect_job.survey = true;
    SurveyOutcome outcome;
    // Faults in what people gave are told before the work, not after.
    detect_job.check = [&](const Names& files, const ResultHead& head, const std::vector<std::string>& species,
                           const std::vector<std::string>& quality) {
        if (!quality.empty() && std::ranges::find(quality, job.table.bad) == quality.end())
            fail(Fault::usage, "--quality: the model has no class '{}'; its classes are {}: name one with --bad-class",
                 job.table.bad, fmt::join(quality, ", "));
        job.table.not_animals = classes_without_animals(job.not_animals, species);
        job.table.quality = quality;
        for (const auto& name : head.categories) job.table.categories.push_back(name);
        keep_places(folder, detect_job.note);
        (void)read_corrections(folder / "corrections.csv", job.table.categories, qualities(job.table));
        (void)read_repeats(folder / "repeats.csv");
        const fs::path csv = job.sites.empty() ? folder / "sites.csv" : fs::path(job.sites);
        if (job.sites.empty() && !fs::exists(csv, error)) return;
        if (const std::string note = Sites(csv, species, job.table.not_animals).check(files); !note.empty())
            detect_job.note(note);
        if (job.sites.empty() || fs::weakly_canonical(csv) == fs::weakly_canonical(folder / "sites.csv")) return;
        const FileBytes bytes = read_file(csv);
        write_file_durably(folder / "sites.csv", [&](FileWriter& out) { out.write(bytes.span()); });
    };
    detect_job.changed = [&](const std::set<std::string>& files) { take_back(folder, files, detect_job.note); };
    detect_job.write = [&](const RunParts& parts) {
        job.table.box_threshold = parts.threshold;
        ordered_json head{
            {"categories", parts.head.categories}, {"classes", parts.head.classes}, {"info", parts.head.info}};
        head["info"].erase("detection_completion_time");
        head["info"].erase("classification_completion_time");
        const Build build = this_build();
        ordered_json record{
            {"tundra", fmt::format("tundra {}, commit {}", build.version, build.commit)},
            {"base", fs::absolute(parts.run.options().base).lexically_normal().string()},
            {"models",
             {{"detector", detect_job.model}, {"quality", detect_job.quality}, {"species", detect_job.classify}}},
            {"settings", parts.settings},
            {"keys", parts.run.options().keys},
            {"species_category", parts.run.options().species_category},
            {"categories", job.table.categories},
            {"species", parts.species},
            {"quality", parts.quality},
            {"table", to_json(job.table)},
            {"head", head}};
        drop_repeats(folder, record, detect_job.note);
        outcome = write_survey(folder, std::move(record), parts.run, detect_job.note);
    };
    try {
        const DetectOutcome done = detect(detect_job);
        outcome.detect = done;
    } catch (...) {
        if (made) fs::remove(folder, error);  // only if nothing was begun: a folder with a journal is not empty
        throw;
    }
    return outcome;
}

OpenedSurvey open_survey(const fs::path& folder) {
    std::error_code ignored;
    if (!fs::exists(folder / "survey.json", ignored) || !fs::exists(folder / "survey.journal", ignored))
        fail(Fault::usage, "{}: holds no finished survey; `tundra survey IMAGES --out {}` makes one", folder.string(),
             folder.string());
    OpenedSurvey s{
        .record = parse_foreign<ordered_json>(read_file(folder / "survey.json").text()), .run = {}, .table = {}};
    try {
        const TableOptions options = table_options(s.record);
        DetectOptions run{.base = s.record.at("base").get<std::string>(),
                          .files = {},
                          .journal = folder / "survey.journal",
                          .settings = kSurveyJournal,
                          .network = {},
                          .species_threshold = options.box_threshold,
                          .species_category = s.record.at("species_category"),
                          .keys = s.record.at("keys")};
        const ClassStage known{.network = [](std::span<const uint8_t>) { return std::vector<float>(); }};
        if (!options.quality.empty()) run.quality = known;
        if (s.record.at("head").at("info").contains("classifier") && !s.record.at("settings").contains("given_classes"))
            run.species = known;
        run.files = Names(survey_names(run.journal, run.keys[0]));
        s.run = std::make_shared<DetectRun>(std::move(run));
        if (s.run->counts().done < s.run->options().files.size())
            fail(Fault::usage, "{}: the survey is not finished; run the same `tundra survey` again", folder.string());
        s.table = table_of(folder, *s.run, options, {});
    } catch (const nlohmann::json::exception& e) {
        fail(Fault::damaged, "{}: is not the record of a survey: {}", (folder / "survey.json").string(), e.what());
    }
    return s;
}

SurveyOutcome rewrite_survey(const fs::path& folder, const std::function<void(const std::string&)>& note) {
    const OpenedSurvey s = open_survey(folder);
    return write_survey(folder, s.record, *s.run, note);
}

bool refresh_survey(const fs::path& folder) {
    std::error_code error;
    const auto written = fs::last_write_time(folder / "images.csv", error);
    if (error || !fs::exists(folder / "survey.journal", error)) return false;
    const bool stale = std::ranges::any_of(std::array{"corrections.csv", "repeats.csv"}, [&](const char* name) {
        const auto time = fs::last_write_time(folder / name, error);
        return !error && time >= written;
    });
    if (stale) rewrite_survey(folder);
    return stale;
}

SurveyOutcome merge_surveys(const std::vector<std::string>& folders, const fs::path& out,
                            const std::function<void(const std::string&)>& note) {
    std::error_code error;
    const auto sites = [&](const fs::path& folder) {
        const fs::path csv = folder / "sites.csv";
        return fs::exists(csv, error) ? std::string(read_file(csv).text()) : "";
    };
    if (fs::exists(out / "survey.journal", error)) fail(Fault::usage, "--out {}: holds a survey already", out.string());
    ordered_json first, parts;
    std::map<std::string, std::string> seen;
    for (const std::string& folder : folders) {
        const ordered_json record = open_survey(folder).record;
        ordered_json settings = record.at("settings");
        if (!member(settings, "shard").is_string())
            fail(Fault::usage, "{}: is no shard of a survey; merge takes what `tundra survey --shard` wrote", folder);
        const Shard shard = parse_shard(settings["shard"]);
        settings["shard"] = shard.of;
        if (first.is_null()) first = record, parts = settings;
        if (settings != parts || record.at("keys") != first.at("keys") || record.at("table") != first.at("table"))
            fail(Fault::usage, "{}: was made by other models, with other settings or of other images than {}", folder,
                 folders[0]);
        if (sites(folder) != sites(folders[0]))
            fail(Fault::usage, "{} and {} have different sites.csv; run `tundra survey` for both with the same --sites",
                 folders[0], folder);
        if (const auto [other, added] = seen.try_emplace(std::to_string(shard.number), folder); !added)
            fail(Fault::usage, "{} and {} are both shard {} of {}", other->second, folder, shard.number, shard.of);
    }
    for (size_t i = 1; i <= parts.value("shard", size_t(0)); ++i)
        if (!seen.contains(std::to_string(i)))
            fail(Fault::usage, "merge: shard {} of {} is missing", i, parts["shard"].get<size_t>());
    fs::create_directories(out, error);
    if (error) fail(Fault::environment, "{}: cannot create the folder: {}", out.string(), error.message());
    const fs::path journal = out / "survey.journal";
    {
        Journal all(journal, kSurveyJournal, [](std::string_view, uint64_t) {});
        for (const std::string& folder : folders)
            Journal(fs::path(folder) / "survey.journal", kSurveyJournal,
                    [&](std::string_view line, uint64_t) { all.append(line); });
    }
    if (fs::exists(fs::path(folders[0]) / "sites.csv", error))
        fs::copy_file(fs::path(folders[0]) / "sites.csv", out / "sites.csv", fs::copy_options::overwrite_existing);
    merge_words(folders, out, note);
    for (const char* key : {"shard", "pictures", "list"}) first["settings"].erase(key);
    first["head"]["info"]["custom_metadata"]["tundra"] = first["settings"];
    write_file_durably(out / "survey.json", [&](FileWriter& file) { file.write(first.dump(1) + "\n"); });
    return rewrite_survey(out, note);
}
