// `tundra tidy`: boxes that stand at the same place for days, and a result file that calls them "repeated".
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "app/command.h"
#include "app/detect/repeats.h"
#include "app/detect/result_file.h"
#include "app/jobs/machine.h"
#include "app/survey/survey.h"
#include "app/terminal.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/processors.h"
#include "data/dataset_parts.h"
#include "data/exif.h"

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kRepeated = "repeated";

struct Options {
    std::string results, out, images;
    RepeatOptions repeats;
    size_t threads = 0;
    bool quiet = false;
};

struct Place {
    uint32_t image, box;  // numbers of the image in the file's order, and of its detection
};

struct Camera {
    std::vector<CameraBox> boxes;
    std::vector<Place> places;
};

struct Group {
    std::string camera;
    std::vector<Place> places;  // the clearest first: the one to show
    size_t days = 0;
};

// Boxes that an earlier tidy renamed get their own category back.
void undo_earlier(ResultFile& file) {
    for (auto& [name, image] : file.images)
        for (Json& box : image["detections"])
            if (const Json earlier = member(box, "repeat"); earlier.is_object()) {
                box["category"] = text_of(earlier, "category");
                box.erase("repeat");
                if (!file.head.categories.contains(box["category"].get<std::string>()))
                    fail(Fault::damaged, "'{}' has a repeated box without the category that it had", name);
            }
}

std::string camera_of(const std::string& file, const Json& image) {
    if (const std::string camera = text_of(image, "camera"); !camera.empty())
        return text_of(image, "site") + "/" + camera;
    return fs::path(with_slashes(file)).parent_path().generic_string();
}

// Dates of the images with boxes that may repeat: from the file, else from EXIF.
std::vector<int64_t> dates_of(const Options& o, const ResultFile& file, const std::vector<bool>& wanted) {
    std::vector<int64_t> dates(wanted.size(), -1);
    Dataset unknown;
    std::vector<size_t> numbers;
    for (size_t i = 0; i < wanted.size(); ++i) {
        if (!wanted[i]) continue;
        const std::string& name = file.order[i];
        if (const std::string date = text_of(file.images.at(name), "datetime"); !date.empty())
            dates[i] = exif_seconds(date);
        else
            numbers.push_back(i), unknown.samples.push_back({.name = with_slashes(name)});
    }
    if (numbers.empty() || (o.repeats.days == 0 && o.repeats.hours == 0)) return dates;
    unknown.root = folder_of_images(o.results, o.images, unknown.samples[0].name,
                                    "their dates are needed; name their folder with --images, or leave dates out of "
                                    "account with --days 0 --hours 0")
                       .string();
    read_all_facts(unknown, {.threads = int(o.threads ? o.threads : size_t(usable_processors())), .links = true}, {});
    for (size_t k = 0; k < numbers.size(); ++k) dates[numbers[k]] = unknown.samples[k].time;
    return dates;
}

std::map<std::string, Camera> cameras_of(const Options& o, const ResultFile& file, size_t& undated) {
    std::map<std::string, Camera> cameras;
    std::vector<bool> wanted(file.order.size());
    for (uint32_t i = 0; i < file.order.size(); ++i) {
        const Json& image = file.images.at(file.order[i]);
        Camera& camera = cameras[camera_of(file.order[i], image)];
        const Json& boxes = member(image, "detections");
        for (uint32_t b = 0; b < boxes.size(); ++b) {
            const Json& one = boxes[b];
            const std::string category = one["category"];
            const CameraBox box{
                .category = int(std::distance(file.head.categories.begin(), file.head.categories.find(category))),
                .confidence = one["conf"],
                .x = one["bbox"][0],
                .y = one["bbox"][1],
                .w = one["bbox"][2],
                .h = one["bbox"][3]};
            if (!may_repeat(box, o.repeats)) continue;
            wanted[i] = true;
            camera.boxes.push_back(box);
            camera.places.push_back({i, b});
        }
    }
    const std::vector<int64_t> dates = dates_of(o, file, wanted);
    for (auto& [name, camera] : cameras)
        for (size_t k = 0; k < camera.boxes.size(); ++k) camera.boxes[k].time = dates[camera.places[k].image];
    for (size_t i = 0; i < wanted.size(); ++i) undated += wanted[i] && dates[i] < 0;
    return cameras;
}

std::vector<Group> groups_in(const std::map<std::string, Camera>& cameras, const RepeatOptions& options) {
    std::vector<Group> groups;
    for (const auto& [name, camera] : cameras)
        for (std::vector<uint32_t>& members : find_repeats(camera.boxes, options)) {
            Group group{.camera = name, .places = {}};
            std::vector<int64_t> days;
            for (const uint32_t k : members)
                if (camera.boxes[k].time >= 0) days.push_back(camera.boxes[k].time / 86400);
            std::ranges::sort(days);
            group.days = size_t(std::unique(days.begin(), days.end()) - days.begin());
            std::ranges::stable_sort(members, std::ranges::greater{},
                                     [&boxes = camera.boxes](uint32_t k) { return boxes[k].confidence; });
            for (const uint32_t k : members) group.places.push_back(camera.places[k]);
            groups.push_back(std::move(group));
        }
    return groups;
}

// The id of the category, which is added if the file lacks it.
std::string repeated_id(Json& categories) {
    int64_t highest = 0;
    for (const auto& [id, name] : categories.items()) {
        if (name == kRepeated) return id;
        if (id.size() < 10 && id.find_first_not_of("0123456789") == id.npos)
            highest = std::max(highest, int64_t(std::stoll(id)));
    }
    const std::string id = std::to_string(highest + 1);
    categories[id] = kRepeated;
    return id;
}

size_t rename_boxes(ResultFile& file, const std::vector<Group>& groups) {
    const std::string id = repeated_id(file.head.categories);
    size_t renamed = 0;
    for (size_t g = 0; g < groups.size(); ++g)
        for (const Place& place : groups[g].places) {
            Json& box = file.images.at(file.order[place.image])["detections"][place.box];
            if (box.contains("repeat")) continue;  // it is in a group before
            box["repeat"] = {{"category", box["category"]}, {"group", g + 1}};
            box["category"] = id;
            ++renamed;
        }
    return renamed;
}

void write_groups(const fs::path& path, const ResultFile& file, const std::vector<Group>& groups) {
    write_file_durably(path, [&](FileWriter& out) {
        std::string text = "group,file,box\n";
        for (size_t g = 0; g < groups.size(); ++g)
            for (const Place& place : groups[g].places)
                text += fmt::format("{},{},{}\n", g + 1, csv_field(file.order[place.image]), place.box + 1);
        out.write(text);
    });
}

int run(Options& o) {
    const fs::path groups_file = fs::path(o.out.empty() ? o.results : o.out).parent_path() / "repeats.csv";
    if (!o.out.empty()) check_output("--out", o.out, {o.results});
    ResultFile file = read_results(o.results);
    undo_earlier(file);
    size_t undated = 0;
    const std::map<std::string, Camera> cameras = cameras_of(o, file, undated);
    const std::vector<Group> groups = groups_in(cameras, o.repeats);
    const size_t renamed = rename_boxes(file, groups);
    write_groups(groups_file, file, groups);
    refresh_survey(groups_file.parent_path());
    if (!o.out.empty())
        write_results(
            o.out, ResultFormat::megadetector, file.head, {},
            {.count = file.order.size(), .at = [&](size_t i) { return ResultEntry(file.images.at(file.order[i])); }});
    Progress progress(o.quiet);
    if (undated && (o.repeats.days || o.repeats.hours))
        print_note(progress, fmt::format("{} images with boxes have no date and count for no day: their boxes are "
                                         "repeated only beside dated ones; --days 0 --hours 0 leaves dates out of "
                                         "account",
                                         count_text(undated)));
    if (o.quiet) return 0;
    for (size_t g = 0; g < groups.size(); ++g)
        print_line(progress, fmt::format("group {}: {} boxes on {} days at {}; look at box {} of {}", g + 1,
                                         count_text(groups[g].places.size()), groups[g].days, groups[g].camera,
                                         groups[g].places[0].box + 1, file.order[groups[g].places[0].image]));
    print_line(progress,
               fmt::format("{} boxes in {} groups of {} cameras are repeated: {}", count_text(renamed), groups.size(),
                           cameras.size(), o.out.empty() ? groups_file.string() : o.out + ", " + groups_file.string()));
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    RepeatOptions& repeats = o->repeats;
    const auto share = CLI::Range(0.0, 1.0);
    app.add_option("RESULTS", o->results, "result file of `tundra detect` or MegaDetector")->required();
    app.add_option("-o,--out", o->out,
                   "the same results with the category \"repeated\" for these boxes; repeats.csv is written beside it, "
                   "or beside RESULTS")
        ->type_name("FILE");
    app.add_option("--images", o->images, "folder of the images, for their dates [that of RESULTS]")
        ->type_name("FOLDER");
    app.add_option("--occurrences", repeats.occurrences, "boxes at the same place that make a group")
        ->type_name("N")
        ->check(CLI::Range(2, 1'000'000))
        ->capture_default_str();
    app.add_option("--days", repeats.days, "different days on which they were seen")
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--hours", repeats.hours, "different hours in which they were seen")
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--iou", repeats.iou, "overlap (intersection over union) of boxes at the same place")
        ->type_name("N")
        ->check(CLI::Range(0.1, 1.0))
        ->capture_default_str();
    app.add_option("--confidence", repeats.min_confidence, "least confidence of a box")
        ->type_name("N")
        ->check(share)
        ->capture_default_str();
    app.add_option("--max-area", repeats.max_area, "largest box, as a share of the image")
        ->type_name("N")
        ->check(share)
        ->capture_default_str();
    add_threads_option(app, o->threads);
    add_quiet_option(app, o->quiet);
    return [o] { return run(*o); };
}

}  // namespace

Command tidy_command() {
    return {.name = "tidy",
            .summary = "Mark boxes that stand at the same place for days: rocks, stumps, the camera's own post.",
            .examples = {"tundra tidy results.json                           lists the groups in repeats.csv",
                         "tundra tidy results.json -o tidy.json              and writes the results with them marked",
                         "tundra tidy results.json --days 0 --hours 0        as MegaDetector's tool, without dates"},
            .add = add};
}
