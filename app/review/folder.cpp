#include "app/review/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "app/jobs/names.h"
#include "app/review/box_reader.h"
#include "app/review/corrections.h"
#include "app/review/csv_rows.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

namespace {

namespace fs = std::filesystem;

std::string stamp_of(const fs::path& file) {
    std::error_code error;
    const auto size = fs::file_size(file, error);
    const auto time = fs::last_write_time(file, error);
    return error ? "" : fmt::format("{} {}", size, time.time_since_epoch().count());
}

double number_in(const std::string& text, double otherwise) {
    double value = otherwise;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? value : otherwise;
}

template <class Container>
uint32_t number_of_name(Container& numbers, std::vector<std::string>& names, const std::string& name) {
    const auto [at, is_new] = numbers.try_emplace(name, uint32_t(names.size()));
    if (is_new) names.push_back(name);
    return at->second;
}

// The parts between '|'; one row's lists of species, counts and scores.
std::vector<std::string> parts(std::string_view text) {
    std::vector<std::string> all;
    while (!text.empty()) {
        const size_t bar = std::min(text.find('|'), text.size());
        all.emplace_back(text.substr(0, bar));
        text.remove_prefix(std::min(bar + 1, text.size()));
    }
    return all;
}

// Of "animal fox:2|hare:1" what follows the final class, and of that the names.
std::string species_part(const std::string& models) {
    const size_t space = models.find(' ');
    return space == models.npos ? "" : models.substr(space + 1);
}
std::string names_only(const std::string& species) {
    std::string names;
    for (const std::string& part : parts(species))
        names += (names.empty() ? "" : "|") + part.substr(0, part.rfind(':'));
    return names;
}

bool is_reviewed(const std::map<std::string, std::string>& row) {
    const auto reviewed = row.find("reviewed");
    return reviewed != row.end() && !reviewed->second.empty();
}

}  // namespace

double wrong_probability(const ClassFacts& facts, const std::string& final) {
    const double no_people = 1 - facts.human, visible = no_people * (1 - facts.bad);
    return final == "human"    ? 1 - facts.human
           : final == "bad"    ? 1 - no_people * facts.bad
           : final == "animal" ? 1 - visible * facts.animal
           : final == "failed" ? 0
                               : 1 - visible * (1 - facts.animal);
}

SurveyFolder::SurveyFolder(const fs::path& where, const std::string& moved_to) : folder(where), base(moved_to) {
    if (!fs::is_directory(folder))
        fail(Fault::usage, "{}: {}; name the folder that `tundra survey --out` wrote", folder.string(),
             fs::exists(folder) ? "is no folder" : "does not exist");
    for (const char* name : {"survey.json", "images.csv", "results.json"})
        if (!fs::exists(folder / name))
            fail(Fault::usage, "{}: is no survey: it has no {}; `tundra survey IMAGES --out FOLDER` makes one",
                 folder.string(), name);
    stamps_ = {stamp_of(folder / "images.csv"), stamp_of(folder / "results.json")};
    read_record();
    read_table();
    read_boxes();
    read_repeats();
    weigh();
}

void SurveyFolder::read_record() {
    const fs::path path = folder / "survey.json";
    const auto record = parse_foreign(read_file(path).text());
    if (!record.is_object()) fail(Fault::damaged, "{}: is not JSON", path.string());
    if (base.empty()) {
        base = text_of(record, "base");  // "": beside the survey
        if (base.is_relative()) base = folder / base;
    } else {
        base_option_ = "--base ";
    }
    const auto& table = member(record, "table");
    if (const std::string name = text_of(table, "bad_class"); !name.empty()) bad = name;
    id = hash_hex(fs::weakly_canonical(folder).string());
    if (const double threshold = number_of(table, "box_threshold"); threshold >= 0) box_threshold = threshold;
    if (const double threshold = number_of(table, "bad_threshold"); threshold >= 0) bad_threshold_ = threshold;
    for (const auto& [list, names] :
         {std::pair{&member(record, "species"), &species}, std::pair{&member(record, "quality"), &qualities},
          std::pair{&member(table, "not_animals"), &not_animals}})
        if (list->is_array())
            for (const auto& name : *list)
                if (name.is_string()) names->push_back(name.get<std::string>());
    if (std::ranges::all_of(qualities, [&](const std::string& name) { return name == bad; })) qualities = {bad, "good"};
}

void SurveyFolder::read_table() {
    const fs::path path = folder / "images.csv";
    table_bytes_ = read_file(path);
    table_ = table_bytes_.text();
    size_t position = 0;
    if (!next_row(table_, position, columns_) || std::ranges::find(columns_, "file") == columns_.end()) {
        table_copy_ = with_commas(table_, path.string());
        table_ = table_copy_;
        position = 0;
        if (!next_row(table_, position, columns_)) fail(Fault::damaged, "{}: has no line of columns", path.string());
    }
    const std::string_view text = table_;
    const auto number = [&](const std::string& field, double otherwise) {
        const double value = field.empty() ? otherwise : number_in(field, -1);
        if (!(value >= 0))
            fail(Fault::damaged,
                 "{}: row {}: '{}' is not a score (a spreadsheet may write 0,95 for 0.95); run `tundra survey` again "
                 "to write the file anew",
                 path.string(), images.size() + 2, field);
        return value;
    };
    const auto place = [&](const char* name) { return size_t(std::ranges::find(columns_, name) - columns_.begin()); };
    const auto column = [&](const char* name) {
        if (place(name) == columns_.size())
            fail(Fault::damaged, "{}: has no column {}; run `tundra survey` again to write it anew", path.string(),
                 name);
        return place(name);
    };
    const size_t file = column("file"), site = column("site"), sequence = column("sequence"),
                 bad = column("quality_score"), names = column("species"), scores = column("scores"),
                 final = column("final"), review = column("review"), reviewed = place("reviewed"),
                 models = place("models");
    (void)column("quality");  // quality_of() reads it
    std::unordered_map<std::string, uint32_t> site_numbers, final_numbers, sequence_numbers, set_numbers;
    std::vector<std::string> sequence_names, set_names, row;
    for (const char* name : {"animal", "empty", "bad", "human", "repeated", "failed"})
        number_of_name(final_numbers, finals, name);
    for (size_t start = position; next_row(text, position, row); start = position) {
        if (row.size() != columns_.size())
            fail(Fault::damaged, "{}: row {} has {} fields instead of {}; run `tundra survey` again to write it anew",
                 path.string(), images.size() + 2, row.size(), columns_.size());
        const bool has_person = reviewed < row.size() && !row[reviewed].empty();
        if (has_person && models < row.size() && !row[models].empty()) {
            row[final] = row[models].substr(0, row[models].find(' '));
            row[names] = names_only(species_part(row[models]));
        }
        SurveyImage image{.row = start,
                          .site = number_of_name(site_numbers, sites, json_name(row[site])),
                          .sequence = number_of_name(sequence_numbers, sequence_names,
                                                     row[sequence].empty() ? row[file] : row[sequence]),
                          .species_set = number_of_name(set_numbers, set_names, row[names]),
                          .final = uint16_t(number_of_name(final_numbers, finals, row[final]))};
        if (image.sequence == sequences_.size()) sequences_.emplace_back();
        sequences_[image.sequence].push_back(uint32_t(images.size()));
        image.good = uint16_t(qualities[0] == this->bad);  // results.json has the answer of the model, if there was one
        image.to_review = !row[review].empty();
        image.by_person = has_person && !(models < row.size() && !row[models].empty());
        if (const std::vector<std::string> all = parts(row[scores]); !all.empty()) {
            for (const std::string& score : all) image.species_doubt += float(1 - number(score, 1));
            image.score = float(number(all.front(), 0));
        }
        image.wrong = float(number(row[bad], 0));  // of its facts the one that the table has
        if (image.species_set == species_sets.size()) {
            species_sets.push_back(parts(row[names]));
            for (const std::string& name : species_sets.back())
                if (std::ranges::find(species, name) == species.end()) species.push_back(name);
        }
        files_.push_back(row[file]);
        images.push_back(image);
    }
    if (position < text.size())
        fail(Fault::damaged, "{}: its last row is not complete; run `tundra survey` again to write it anew",
             path.string());
    numbers_.reserve(files_.size());
    for (size_t i = 0; i < files_.size(); ++i) {
        numbers_.emplace(files_[i], uint32_t(i));
        if (std::string name = json_name(files_[i]); name != files_[i])
            json_numbers_.emplace(std::move(name), uint32_t(i));
    }
}

void SurveyFolder::read_boxes() {
    const fs::path path = folder / "results.json";
    BoxReader reader(*this);
    if (const std::string fault = reader.read(read_file(path).text()); !fault.empty())
        fail(Fault::damaged, "{}: {}; run `tundra survey` again to write it anew", path.string(), fault);
    if (reader.unknown)
        notes.push_back(fmt::format("{}: {} images are not in images.csv", path.string(), reader.unknown));
    boxes_ = std::move(reader.boxes);
}

void SurveyFolder::weigh() {
    for (size_t i = 0; i < images.size(); ++i) {
        SurveyImage& image = images[i];
        ClassFacts facts{.bad = image.wrong};
        double any = 0;
        for (const SurveyBox& box : boxes(i)) {
            any = std::max<double>(any, box.confidence);
            if (box.repeated) continue;
            facts.animal = std::max<double>(facts.animal, box.confidence * box.animal);
            facts.human = std::max<double>(facts.human, box.confidence * box.human);
        }
        image.wrong = float(wrong_probability(facts, finals[image.final]));
        if (image.score == 0) image.score = float(any);
    }
}

void SurveyFolder::read_repeats() {
    const fs::path path = folder / "repeats.csv";
    if (!fs::exists(path)) return;
    const FileBytes bytes = read_file(path);
    std::vector<std::string> row;
    std::unordered_map<std::string, uint32_t> groups;
    std::vector<std::string> names;
    size_t position = 0, lost = 0;
    for (size_t number = 1; next_row(bytes.text(), position, row); ++number) {
        if (number == 1 && row == std::vector<std::string>{"group", "file", "box"}) continue;
        const size_t image = row.size() == 3 ? find(row[1]) : images.size();
        const double box = row.size() == 3 ? number_in(row[2], 0) : 0;
        if (image == images.size() || box < 1 || box > images[image].boxes) {
            ++lost;
            continue;
        }
        const uint32_t group = number_of_name(groups, names, row[0]);
        if (group == repeats_.size()) repeats_.emplace_back();
        images[image].repeat = group;
        boxes_[images[image].first_box + size_t(box) - 1].repeated = true;
        repeats_[group].emplace_back(uint32_t(image), uint32_t(box));
    }
    if (lost)
        notes.push_back(
            fmt::format("{}: {} rows name no box of results.json and are passed over", path.string(), lost));
}

std::span<const SurveyBox> SurveyFolder::boxes(size_t image) const {
    return std::span(boxes_).subspan(images[image].first_box, images[image].boxes);
}

std::string SurveyFolder::path(size_t image) const { return (base / name_on_disk(base, files_[image])).string(); }

size_t SurveyFolder::find(std::string_view file) const {
    if (const auto found = numbers_.find(file); found != numbers_.end()) return found->second;
    const auto found = json_numbers_.find(file);
    return found == json_numbers_.end() ? images.size() : found->second;
}

std::map<std::string, std::string> SurveyFolder::row(size_t image) const {
    std::vector<std::string> fields;
    size_t position = images[image].row;
    next_row(table_, position, fields);
    std::map<std::string, std::string> row;
    for (size_t i = 0; i < columns_.size(); ++i) row[columns_[i]] = fields[i];
    return row;
}

std::string SurveyFolder::quality_of(size_t image) const {
    const auto fields = row(image);
    if (images[image].by_person || !is_reviewed(fields)) return fields.at("quality");
    const double score = number_in(fields.at("quality_score"), NAN);
    if (std::isnan(score)) return "";                              // no model: what the table has is a person's
    return float(score) >= bad_threshold_ ? bad : good_of(image);  // as precise as the model gave it
}

std::string SurveyFolder::species_of(size_t image) const {
    const auto fields = row(image);
    if (is_reviewed(fields) && !images[image].by_person) return species_part(fields.at("models"));
    const std::vector<std::string> names = parts(fields.at("species")),
                                   counts = fields.contains("counts") ? parts(fields.at("counts")) : names;
    std::string text;
    for (size_t i = 0; i < names.size(); ++i)
        text += fmt::format("{}{}:{}", i ? "|" : "", names[i], i < counts.size() ? counts[i] : "1");
    return text;
}

std::vector<uint32_t> SurveyFolder::sequence(size_t image) const { return sequences_[images[image].sequence]; }

std::vector<std::pair<uint32_t, uint32_t>> SurveyFolder::repeats(size_t image) const {
    if (images[image].repeat == ~0u) return {};
    return repeats_[images[image].repeat];
}

void SurveyFolder::match(CorrectionLog& log) const {
    log.match([this](const std::string& file) -> std::optional<std::vector<BoxPlace>> {
        const size_t i = find(file);
        if (i == images.size() || finals[images[i].final] == "failed") return {};
        std::vector<BoxPlace> places;
        for (const SurveyBox& box : boxes(i)) places.push_back(place_of(box.at));
        return places;
    });
}

void SurveyFolder::require_images() const {
    if (fs::is_directory(base)) return;
    fail(Fault::usage, "{}{}: is no folder{}", base_option_, base.string(),
         base_option_.empty()
             ? ", and the images of the survey were there; name the folder where they are now with --base"
             : "; name the one to which the file names in images.csv are relative");
}

void SurveyFolder::check_unchanged() const {
    if (stamps_ != std::array{stamp_of(folder / "images.csv"), stamp_of(folder / "results.json")})
        fail(Fault::usage, "{}: the survey was written anew meanwhile; end this review and start it again",
             folder.string());
}
