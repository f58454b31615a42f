#include "app/detect_job.h"

#include <cmath>
#include <set>
#include <thread>

#include "app/picture_list.h"
#include "app/shipped.h"
#include "engine/hash.h"
#include "engine/processors.h"
#include "engine/require.h"
#include "train/model_file.h"

using nlohmann::ordered_json;

namespace {

constexpr size_t kMostTold = 20;  // pictures whose troubles are told one by one

std::string fingerprint(const State& state) {
    Hash hash;
    for (const auto& [name, tensor] : state) hash.add(name), hash.add(std::as_bytes(std::span(tensor.values)));
    return hash.hex();
}

struct Thresholds {
    double typical = 0.2, conservative = 0.1;  // MegaDetector's own for a model that it does not know
};
Thresholds thresholds_of(const YoloModel& model) {
    std::string name = model.file_name;
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return char(std::tolower(c)); });
    Thresholds t;
    if (name.find("v5a") != name.npos || name.find("v5b") != name.npos) t.conservative = 0.05;
    if (name.find("redwood") != name.npos) t.typical = 0.3;
    return {model.typical_threshold.value_or(t.typical), model.conservative_threshold.value_or(t.conservative)};
}

ResultHead head_of(const YoloModel& model, size_t image_size) {
    ResultHead head;
    for (size_t i = 0; i < model.classes.size(); ++i) head.categories[std::to_string(i + 1)] = json_name(model.classes[i]);
    const Thresholds t = thresholds_of(model);
    head.info = {{"detector", json_name(model.file_name)},
                 {"detection_completion_time", ""},
                 {"detector_metadata",
                  {{"megadetector_version", model.version.empty() ? "unknown" : json_name(model.version)},
                   {"typical_detection_threshold", t.typical},
                   {"conservative_detection_threshold", t.conservative},
                   {"image_size", image_size}}}};
    return head;
}

YoloModel read_shipped(const DetectJob& job) {
    const std::filesystem::path file = shipped_detector();
    if (file.empty())
        fail(Fault::usage, "no --model, and the detector that comes with tundra is not installed; get a MegaDetector v5 file: docs/detection.md");
    job.note("no --model: the small detector that comes with tundra knows the synthetic scenes of `tundra synth` only; for real pictures get MegaDetector");
    return read_yolov5(file);
}

// Entries of an earlier file that stay as they are: all but failures of pictures that are asked for again.
std::map<std::string, ordered_json> kept_entries(const DetectJob& job, const ResultHead& head, std::vector<std::string>& files) {
    if (job.update.empty()) return {};
    ResultFile old = read_results(job.update);
    if (old.head.categories != head.categories || old.head.info.value("detector", "") != head.info["detector"])
        fail(Fault::usage, "--update {}: was made by {}, not by {}", job.update, old.head.info.value("detector", "another model"),
             head.info["detector"].get<std::string>());
    std::erase_if(files, [&](const std::string& name) {
        const auto found = old.images.find(json_name(name));
        if (found == old.images.end()) return false;
        const ordered_json& entry = found->second;
        const bool failed = entry.contains("failure") && !entry["failure"].is_null();
        if (failed) old.images.erase(found);
        return !failed;
    });
    return std::move(old.images);
}

void take_shard(const DetectJob& job, std::vector<std::string>& files, ordered_json& own) {
    if (job.shard.empty()) return;
    if (!job.update.empty()) fail(Fault::usage, "--shard and --update do not go together");
    const Shard shard = parse_shard(job.shard);
    std::vector<std::string> names;
    for (const std::string& name : files) names.push_back(json_name(name));
    std::ranges::sort(names);
    own["shard"] = fmt::format("{}/{}", shard.number, shard.of);
    own["pictures"] = files.size();
    own["list"] = list_hash(names);
    std::vector<std::string> mine;
    for (size_t i = shard.number - 1; i < files.size(); i += shard.of) mine.push_back(std::move(files[i]));
    files = std::move(mine);
}

// New results and kept entries, by name.
struct Merged {
    struct Place {
        std::string name;
        size_t file;  // of the run, or kKept
    };
    static constexpr size_t kKept = ~size_t(0);
    std::vector<Place> places;
    const DetectRun& run;
    const std::map<std::string, ordered_json>& kept;

    Merged(const DetectRun& run, const std::map<std::string, ordered_json>& kept) : run(run), kept(kept) {
        const std::vector<std::string>& files = run.options().files;
        for (size_t i = 0; i < files.size(); ++i) places.push_back({json_name(files[i]), i});
        for (const auto& [name, entry] : kept) places.push_back({name, kKept});
        std::ranges::stable_sort(places, {}, &Place::name);
    }
    ordered_json at(size_t i, ResultFormat format, const EntryOptions& options) const {
        const Place& p = places[i];
        if (p.file == kKept) return kept.at(p.name);
        const PictureResult result = run.result(p.file);
        return format == ResultFormat::megadetector ? megadetector_entry(result, options) : to_json(result);
    }
};

}  // namespace

DetectOutcome detect(const DetectJob& job) {
    const ResultFormat format = result_format(job.format, job.out);
    if (format != ResultFormat::megadetector && !(job.update.empty() && job.shard.empty()))
        fail(Fault::usage, "--update and --shard work on MegaDetector files; make the other formats from the whole run");
    PictureList list = list_for_detection(job.pictures, job.base);
    for (const std::string& text : list.notes) job.note(text);
    if (list.videos) job.note(fmt::format("{} videos are left out: tundra works on pictures only", list.videos));

    YoloModel model = job.model.empty() ? read_shipped(job) : read_yolov5(weight_file(job.model));
    PicturesOut pictures_out = job.pictures_out;
    if (pictures_out.threshold == kModelThreshold) pictures_out.threshold = thresholds_of(model).typical;
    const size_t size = job.image_size ? job.image_size : model.image_size;
    // MegaDetector pads to multiples of 64 at its usual 1280 pixels and of 32 otherwise; the network may need 64 anyway.
    const size_t stride = std::max<size_t>(size == 1280 ? 64 : 32, model.config.largest_stride());
    const size_t rounded = (size + stride - 1) / stride * stride;
    ResultHead head = head_of(model, rounded);
    ordered_json own{{"threshold", std::round(double(job.threshold) * 1e6) / 1e6}, {"overlap", std::round(double(job.overlap) * 1e6) / 1e6}};
    take_shard(job, list.files, own);
    const auto kept = kept_entries(job, head, list.files);
    ordered_json settings = own;
    settings["model"] = fingerprint(model.state);
    settings["image_size"] = rounded;

    const size_t threads = job.threads ? job.threads : size_t(usable_processors());
    DetectOptions options{.base = list.base,
                          .files = std::move(list.files),
                          .journal = job.out + ".journal",
                          .settings = one_line(settings),
                          .image_size = rounded,
                          .stride = stride,
                          .batch = job.batch,
                          .threads = threads,
                          .network = job.network};
    std::unique_ptr<Device> device;
    std::unique_ptr<Detector> detector;
    if (!job.network) {
        std::string reason;
        device = open_device(job.device, {.threads = int(threads)}, &reason);
        detector = std::make_unique<Detector>(*device, model, DetectorOptions{.batch = job.batch, .threshold = job.threshold, .overlap = job.overlap});
        options.network = [&](std::span<const uint8_t> pictures, size_t h, size_t w) { return detector->run(pictures, h, w); };
        job.note(fmt::format("{}: {} classes, {} pixels, on {}", model.file_name, model.classes.size(), rounded, device->description()));
    }
    model.state.clear();
    if (!pictures_out.render.empty() || !pictures_out.crops.empty())
        options.on_picture = [&](const PictureResult& result, const Picture& picture, const Exif& exif) {
            write_pictures(pictures_out, result, picture, exif);
        };

    DetectRun run(std::move(options));
    const size_t total = run.options().files.size();
    if (run.counts().resumed) job.note(fmt::format("going on after {} of {} pictures", run.counts().resumed, total));
    DetectOutcome outcome{.counts = {}, .pictures = total, .kept = kept.size(), .threshold = pictures_out.threshold};
    outcome.finished = run.run([&](const DetectCounts& counts) { return !job.progress || job.progress(counts, total); });
    outcome.counts = run.counts();
    if (!outcome.finished) return outcome;

    std::set<std::string> damaged;
    size_t told = 0;
    for (size_t i = 0; i < total; ++i) {
        const PictureResult result = run.result(i);
        if (result.damaged) damaged.insert(result.file);
        if (!result.reason.empty() && ++told <= kMostTold) job.note(fmt::format("{}: {}", result.file, result.reason));
        const auto n = size_t(std::ranges::count_if(result.detections, [&](const Detection& d) { return d.confidence >= pictures_out.threshold; }));
        outcome.detections += n;
        outcome.with_detections += n > 0;
    }
    if (told > kMostTold) job.note(fmt::format("and {} more such pictures", told - kMostTold));
    if (!damaged.empty()) own["damaged_pictures"] = damaged;
    head.info["custom_metadata"]["tundra"] = own;
    head.info["detection_completion_time"] = completion_time();
    const Merged merged(run, kept);
    write_results(job.out, format, head, {merged.places.size(), [&](size_t i) { return merged.at(i, format, job.entry); }});
    run.remove_journal();
    return outcome;
}
