#include "app/detect/job.h"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "app/detect/megadetector.h"
#include "app/detect/shipped.h"
#include "app/jobs/image_list.h"
#include "base/error.h"
#include "data/listing.h"
#include "predict/model_file.h"

using nlohmann::ordered_json;

namespace {

constexpr size_t kMaxNotes = 20;  // images whose problems are reported one by one

double six_digits(double v) { return std::round(v * 1e6) / 1e6; }

// The model, and the head of the result file.
struct Opened {
    ResultFormat format;
    ImageList list;
    YoloModel model;
    size_t image_size = 0, stride = 0;
    ImageOutputs outputs;
    ResultHead head = {};
    ordered_json settings = {};  // of the results; written into the file as info.custom_metadata.tundra
    ResultFile earlier = {};     // of --update: entries that stay as they are
};

std::string journal_of(const DetectJob& job) { return job.out + ".journal"; }

YoloModel read_shipped(const DetectJob& job) {
    const std::filesystem::path file = shipped_detector();
    if (file.empty())
        fail(Fault::usage,
             "no --model, and the detector that comes with tundra is not installed; get a MegaDetector v5 file: "
             "docs/detection.md");
    job.note(
        "no --model: the small detector that comes with tundra knows only the synthetic scenes of `tundra synth`; for "
        "real images get MegaDetector");
    return read_yolov5(file);
}

Opened open(const DetectJob& job) {
    Opened o{.format = result_format(job.format, job.out),
             .list = {},
             .model = {},
             .image_size = 0,
             .stride = 0,
             .outputs = job.outputs};
    if (o.format != ResultFormat::megadetector && !(job.update.empty() && job.shard.empty()))
        fail(Fault::usage,
             "--update and --shard work on MegaDetector files; make the other formats from the whole run");
    if (is_image_name(job.out)) fail(Fault::usage, "--out {}: has the name of an image; results are text", job.out);
    std::vector<std::filesystem::path> inputs = named_files(job.images);
    inputs.push_back(job.model);
    check_output("--out", job.out, inputs);
    o.list = list_images_below(job.images, journal_of(job), job.base);
    for (const std::string& text : o.list.notes) job.note(text);
    std::error_code ignored;
    const bool extends = !(job.update.empty() && job.shard.empty());
    for (const std::string& text :
         check_folders(job.outputs, o.list.base, std::filesystem::exists(journal_of(job), ignored), extends))
        job.note(text);
    o.model = job.model.empty() ? read_shipped(job) : read_yolov5(weight_file(job.model));
    for (const std::string& text : o.model.notes) job.note(fmt::format("{}: {}", o.model.file_name, text));
    if (o.outputs.threshold == kModelThreshold) o.outputs.threshold = o.model.typical_threshold;
    const size_t size = job.image_size ? job.image_size : o.model.image_size,
                 multiple = o.model.config.largest_stride();
    o.image_size = (size + multiple - 1) / multiple * multiple;
    o.stride = o.model.letterbox_stride();
    o.head = result_head(o.model, o.image_size);
    o.settings = {{"model", fingerprint(o.model.state)},
                  {"threshold", six_digits(job.threshold)},
                  {"overlap", six_digits(job.iou)}};
    if (job.tta) o.settings["tta"] = true;
    if (job.tile) o.settings["tile"] = job.tile, o.settings["tile_overlap"] = six_digits(job.tile_overlap);
    if (const std::string& p = job.machine.precision; p == "bf16" || p == "fp16") o.settings["precision"] = p;
    return o;
}

void take_shard(const DetectJob& job, Opened& o) {
    if (job.shard.empty()) return;
    if (!job.update.empty()) fail(Fault::usage, "--shard and --update cannot be combined");
    const Shard shard = parse_shard(job.shard);
    const Names& files = o.list.files;
    o.settings["shard"] = fmt::format("{}/{}", shard.number, shard.of);
    o.settings["pictures"] = files.size();
    o.settings["list"] = list_hash(files.size(), [&](size_t i) { return json_name(files[i]); });
    o.list.files = files.filtered([&](size_t i) { return i % shard.of == shard.number - 1; });
}

// The name that this run gives an image of an earlier file: there it may be absolute, have backslashes, or begin at
// another folder, `levels` above the base of this run. "" if no image of this run is meant.
std::string name_here(const ImageList& list, const std::string& name, size_t levels) {
    const auto known = [&](const std::string& text) { return list.files.find(text) < list.files.size(); };
    if (levels == 0 && known(name)) return name;
    std::string slashed = name;
    std::ranges::replace(slashed, '\\', '/');
    std::filesystem::path start = list.base;
    for (; levels > 0; --levels) start = start.parent_path();
    const std::filesystem::path whole = (start / slashed).lexically_normal();
    std::string here = whole.lexically_relative(list.base).generic_string();
    if (levels == 0 && !known(here) && std::filesystem::path(slashed).is_absolute()) {  // through links to folders
        std::error_code ignored;
        here = (std::filesystem::weakly_canonical(whole.parent_path(), ignored) / whole.filename())
                   .lexically_relative(std::filesystem::weakly_canonical(list.base, ignored))
                   .generic_string();
    }
    return known(here) ? here : "";
}

// Renames the entries of `old` as this run names its images. An image under two names would be in the result twice, so
// the run ends if the earlier file seems to hold none of its images.
void use_names_of(const ImageList& list, const std::string& file, ResultFile& old) {
    constexpr size_t kMostLevels = 8;
    const auto any = [&](const auto& good) { return std::ranges::any_of(old.images, good); };
    // The level at which most names fit: cameras use the same few names in every folder.
    size_t levels = kMostLevels, most = 0;
    for (size_t level = 0; level < kMostLevels && most < old.images.size(); ++level) {
        const auto fits = [&](const auto& entry) { return !name_here(list, entry.first, level).empty(); };
        const size_t count = size_t(std::ranges::count_if(old.images, fits));
        if (count > 0 && count == most)
            fail(Fault::usage,
                 "--update {}: its names fit these images in two ways; name the folder where its names begin with "
                 "--base",
                 file);
        if (count > most) most = count, levels = level;
    }
    std::error_code ignored;
    if (levels == kMostLevels) {
        if (old.images.empty() || !list.files.size() ||
            any([&](const auto& entry) { return std::filesystem::exists(list.base / entry.first, ignored); }))
            return;
        fail(Fault::usage,
             "--update {}: none of its {} images is among these {}; its first is called {}, here the first is {}: name "
             "the folder where its names begin with --base",
             file, old.images.size(), list.files.size(), old.images.begin()->first, json_name(list.files[0]));
    }
    std::set<std::string> damaged;
    for (const std::string& name : damaged_images(old.head)) {
        const std::string here = name_here(list, name, levels);
        damaged.insert(here.empty() ? name : here);
    }
    if (!damaged.empty()) old.head.info["custom_metadata"]["tundra"]["damaged_pictures"] = damaged;
    std::map<std::string, ordered_json> renamed;
    for (auto& [name, image] : old.images) {
        const std::string here = name_here(list, name, levels);
        if (here.empty() && list.files.find(name) < list.files.size())
            fail(Fault::usage,
                 "--update {}: its '{}' is another image than the one of that name here; name the folder where its "
                 "names "
                 "begin with --base",
                 file, name);
        if (!here.empty()) image["file"] = here;
        if (!renamed.try_emplace(here.empty() ? name : here, std::move(image)).second)
            fail(Fault::damaged, "--update {}: '{}' and another of its names mean the same image", file, name);
    }
    old.images = std::move(renamed);
}

// Keeps the entries of the earlier file except failures that are retried; what remains are the images that it lacks.
void take_earlier(const DetectJob& job, Opened& o) {
    if (job.update.empty()) return;
    ResultFile old = read_results(job.update);
    if (old.head.categories != o.head.categories || o.head.info["detector"] != old.head.info.value("detector", ""))
        fail(Fault::usage, "--update {}: was made by {}, not by {}", job.update,
             old.head.info.value("detector", "another model"), o.head.info["detector"].get<std::string>());
    if (const ordered_json theirs = member(member(old.head.info, "custom_metadata"), "tundra"); theirs.is_object())
        for (const char* key : {"model", "threshold", "overlap", "tta", "tile", "tile_overlap", "precision"})
            if (member(theirs, key) != member(o.settings, key))
                fail(Fault::usage, "--update {}: was made with {} {}, this run has {}; use the same settings",
                     job.update, key, member(theirs, key).dump(), member(o.settings, key).dump());
    const Names& files = o.list.files;
    use_names_of(o.list, job.update, old);
    o.list.files = files.filtered([&](size_t i) {
        const auto found = old.images.find(json_name(files[i]));
        if (found == old.images.end()) return true;
        const bool failed = !member(found->second, "failure").is_null();
        if (failed) old.images.erase(found);
        return failed;
    });
    o.earlier = std::move(old);
}

// The header of the journal; includes the settings of images written by an interrupted run.
std::string journal_settings(const DetectJob& job, const Opened& o) {
    ordered_json settings = o.settings;
    settings["image_size"] = o.image_size;
    const bool render = !job.outputs.render.empty(), crops = !job.outputs.crops.empty();
    if (render) settings["render"] = job.outputs.render;
    if (crops) settings["crops"] = job.outputs.crops;
    if (render || crops) settings["render_threshold"] = six_digits(o.outputs.threshold);
    return one_line(settings);
}

// The network on its device.
struct Running {
    std::unique_ptr<Device> device;
    std::unique_ptr<Detector> detector;
    std::unique_ptr<DetectRun> run;
};

// Opens the device and resumes the journal, if an interrupted run has left one. `o` loses its list and its weights.
Running resume(const DetectJob& job, Opened& o) {
    Running r;
    DetectOptions options{.base = o.list.base,
                          .files = std::move(o.list.files),
                          .journal = journal_of(job),
                          .settings = journal_settings(job, o),
                          .image_size = o.image_size,
                          .stride = o.stride,
                          .tile = job.tile,
                          .tile_overlap = job.tile_overlap,
                          .iou = job.iou,
                          .batch = std::max<size_t>(1, job.machine.batch),
                          .threads = size_t(job.machine.thread_count()),
                          .network = job.network,
                          .device = job.network_device};
    if (!job.network) {
        r.device = job.machine.open();
        options.batch = job.machine.detector_batch(*r.device);
        r.detector = std::make_unique<Detector>(*r.device, o.model,
                                                DetectorOptions{.batch = options.batch,
                                                                .threshold = job.threshold,
                                                                .iou_threshold = job.iou,
                                                                .precision = job.machine.detector_precision(*r.device),
                                                                .augmented = job.tta});
        options.device = r.device.get();
        options.network = [detector = r.detector.get()](std::span<const DetectorImage> images, size_t h, size_t w) {
            return [detector, started = detector->start(images, h, w)] { return detector->finish(started); };
        };
        job.note(fmt::format("{}: {} classes, {} pixels, on {}", o.model.file_name, o.model.classes.size(),
                             o.image_size, r.device->description()));
    }
    o.model.state.clear();
    if (!job.outputs.render.empty() || !job.outputs.crops.empty())
        options.on_image = [outputs = o.outputs](const ImageResult& result, const Image& image, const Exif& exif) {
            write_images(outputs, result, image, exif);
        };
    ::malloc_trim(0);  // returns the memory that building the list used
    r.run = std::make_unique<DetectRun>(std::move(options));
    if (const std::string& text = r.run->journal().note(); !text.empty()) job.note(text);
    if (const size_t resumed = r.run->counts().resumed)
        job.note(fmt::format("resumed after {} of {} images", resumed, r.run->options().files.size()));
    return r;
}

// New results and kept entries by name: both are sorted, and no name is in both. For one walk from first to last.
class Merged {
public:
    Merged(const DetectRun& run, const std::map<std::string, ordered_json>& kept)
        : run_(run), kept_(kept), next_(kept.begin()) {}
    size_t size() const { return run_.options().files.size() + kept_.size(); }
    ResultEntry next() {
        const Names& files = run_.options().files;
        if (next_ != kept_.end() && (file_ == files.size() || next_->first < json_name(files[file_])))
            return (next_++)->second;
        return run_.result(file_++);
    }

private:
    const DetectRun& run_;
    const std::map<std::string, ordered_json>& kept_;
    std::map<std::string, ordered_json>::const_iterator next_;
    size_t file_ = 0;
};

// Counts detections, reports problems, and returns the names of damaged images, those kept from before included.
std::set<std::string> review(const DetectJob& job, const Opened& o, const DetectRun& run, DetectOutcome& outcome) {
    std::set<std::string> damaged;
    for (const std::string& name : damaged_images(o.earlier.head))
        if (o.earlier.images.contains(name)) damaged.insert(name);
    size_t problems = 0, no_jpeg = 0;
    for (size_t i = 0; i < run.options().files.size(); ++i) {
        const ImageResult result = run.result(i);
        if (result.damaged) damaged.insert(result.file);
        if (!result.reason.empty() && ++problems <= kMaxNotes)
            job.note(fmt::format("{}: {}", result.file, result.reason));
        const auto n = size_t(std::ranges::count_if(
            result.detections, [&](const Detection& d) { return d.confidence >= o.outputs.threshold; }));
        outcome.detections += n;
        outcome.with_detections += n > 0;
        no_jpeg += result.failure.empty() && !is_jpeg_name(result.file);
    }
    if (no_jpeg)
        job.note(fmt::format("{} images do not end in .jpg or .jpeg: Timelapse does not show their boxes", no_jpeg));
    if (problems > kMaxNotes) job.note(fmt::format("and {} more such images", problems - kMaxNotes));
    return damaged;
}

void write(const DetectJob& job, Opened& o, DetectRun& run, DetectOutcome& outcome) {
    const std::set<std::string> damaged = review(job, o, run, outcome);
    if (!damaged.empty()) o.settings["damaged_pictures"] = damaged;
    o.head.info["custom_metadata"]["tundra"] = o.settings;
    o.head.info["detection_completion_time"] = completion_time();
    Merged merged(run, o.earlier.images);
    const Names& files = run.options().files;
    write_results(
        job.out, o.format, o.head, job.entry,
        {merged.size(), [&](size_t) { return merged.next(); }, [&](size_t i) { return json_name(files[i]); }});
    run.remove_journal();
}

}  // namespace

DetectOutcome detect(const DetectJob& job) {
    Opened opened = open(job);
    take_shard(job, opened);
    take_earlier(job, opened);
    const Running running = resume(job, opened);
    DetectRun& run = *running.run;
    const size_t total = run.options().files.size();
    DetectOutcome outcome{.images = total, .kept = opened.earlier.images.size(), .threshold = opened.outputs.threshold};
    outcome.finished =
        run.run([&](const DetectCounts& counts) { return !job.progress || job.progress(counts, total); });
    outcome.counts = run.counts();
    if (outcome.finished) write(job, opened, run, outcome);
    return outcome;
}
