#include "app/detect/job.h"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <thread>

#include "app/detect/shipped.h"
#include "app/jobs/image_list.h"
#include "base/error.h"
#include "base/processors.h"
#include "data/listing.h"
#include "predict/model_file.h"

using nlohmann::ordered_json;

namespace {

constexpr size_t kMostTold = 20;  // images whose troubles are told one by one

ResultHead head_of(const YoloModel& model, size_t image_size) {
    ResultHead head;
    for (size_t i = 0; i < model.classes.size(); ++i) {
        const bool blank =
            model.classes[i].find_first_not_of(" \t\r\n") == std::string::npos;  // which the format forbids
        head.categories[std::to_string(i + 1)] = blank ? fmt::format("class {}", i) : json_name(model.classes[i]);
    }
    head.info = {{"detector", json_name(model.file_name)},
                 {"detection_completion_time", ""},
                 {"detector_metadata",
                  {{"megadetector_version", model.version.empty() ? "unknown" : json_name(model.version)},
                   {"typical_detection_threshold", model.typical_threshold},
                   {"conservative_detection_threshold", model.conservative_threshold},
                   {"image_size", image_size}}}};
    return head;
}

YoloModel read_shipped(const DetectJob& job) {
    const std::filesystem::path file = shipped_detector();
    if (file.empty())
        fail(Fault::usage,
             "no --model, and the detector that comes with tundra is not installed; get a MegaDetector v5 file: "
             "docs/detection.md");
    job.note(
        "no --model: the small detector that comes with tundra knows the synthetic scenes of `tundra synth` only; for "
        "real images get MegaDetector");
    return read_yolov5(file);
}

DType precision_of(const std::string& name, const Device& device) {
    const bool f32 = name == "auto" || name == "fp32";  // MegaDetector's numbers are float32
    if (!f32 && name != "bf16" && name != "fp16")
        fail(Fault::usage, "--precision {}: must be auto, fp32, bf16 or fp16", name);
    if (!f32 && device.kind() == "cpu") fail(Fault::usage, "--precision {}: the device cpu computes in fp32", name);
    return f32 ? DType::f32 : name == "bf16" ? DType::bf16 : DType::f16;
}

// An earlier result file: entries that stay as they are, all but failures of images that are asked for again.
ResultFile take_earlier(const DetectJob& job, const ResultHead& head, const ordered_json& own, Names& files) {
    if (job.update.empty()) return {};
    ResultFile old = read_results(job.update);
    if (old.head.categories != head.categories || head.info["detector"] != old.head.info.value("detector", ""))
        fail(Fault::usage, "--update {}: was made by {}, not by {}", job.update,
             old.head.info.value("detector", "another model"), head.info["detector"].get<std::string>());
    const ordered_json custom = old.head.info.value("custom_metadata", ordered_json());
    if (const ordered_json theirs = custom.is_object() ? custom.value("tundra", ordered_json()) : ordered_json();
        theirs.is_object())
        for (const char* key : {"model", "threshold", "overlap", "tta", "tile", "tile_overlap", "precision"})
            if (theirs.value(key, ordered_json()) != own.value(key, ordered_json()))
                fail(Fault::usage, "--update {}: was made with {} {}, this run has {}; use the same settings",
                     job.update, key, theirs.value(key, ordered_json()).dump(), own.value(key, ordered_json()).dump());
    files = files.filtered([&](size_t i) {
        const auto found = old.images.find(json_name(files[i]));
        if (found == old.images.end()) return true;
        const ordered_json& entry = found->second;
        const bool failed = entry.contains("failure") && !entry["failure"].is_null();
        if (failed) old.images.erase(found);
        return failed;
    });
    return old;
}

void take_shard(const DetectJob& job, Names& files, ordered_json& own) {
    if (job.shard.empty()) return;
    if (!job.update.empty()) fail(Fault::usage, "--shard and --update do not go together");
    const Shard shard = parse_shard(job.shard);
    own["shard"] = fmt::format("{}/{}", shard.number, shard.of);
    own["pictures"] = files.size();
    own["list"] = list_hash(files.size(), [&](size_t i) { return json_name(files[i]); });
    files = files.filtered([&](size_t i) { return i % shard.of == shard.number - 1; });
}

// New results and kept entries, by name: both are in order, and no name is in both. Made for one walk from the first to
// the last.
class Merged {
public:
    Merged(const DetectRun& run, const std::map<std::string, ordered_json>& kept)
        : run_(run), kept_(kept), next_(kept.begin()) {}
    size_t size() const { return run_.options().files.size() + kept_.size(); }
    ordered_json next(ResultFormat format, const EntryOptions& options) {
        const Names& files = run_.options().files;
        if (next_ != kept_.end() && (file_ == files.size() || next_->first < json_name(files[file_])))
            return (next_++)->second;
        const ImageResult result = run_.result(file_++);
        return format == ResultFormat::megadetector ? megadetector_entry(result, options) : to_json(result);
    }

private:
    const DetectRun& run_;
    const std::map<std::string, ordered_json>& kept_;
    std::map<std::string, ordered_json>::const_iterator next_;
    size_t file_ = 0;
};

}  // namespace

DetectOutcome detect(const DetectJob& job) {
    const ResultFormat format = result_format(job.format, job.out);
    if (format != ResultFormat::megadetector && !(job.update.empty() && job.shard.empty()))
        fail(Fault::usage,
             "--update and --shard work on MegaDetector files; make the other formats from the whole run");
    ImageList list = list_for_detection(job.images, job.base);
    for (const std::string& text : list.notes) job.note(text);
    if (list.videos) job.note(fmt::format("{} videos are left out: tundra works on images only", list.videos));

    YoloModel model = job.model.empty() ? read_shipped(job) : read_yolov5(weight_file(job.model));
    ImagesOut images_out = job.images_out;
    if (images_out.threshold == kModelThreshold) images_out.threshold = model.typical_threshold;
    const size_t size = job.image_size ? job.image_size : model.image_size;
    const size_t needed = model.config.largest_stride();
    const size_t rounded = (size + needed - 1) / needed * needed;
    ResultHead head = head_of(model, rounded);
    const auto digits = [](double v) { return std::round(v * 1e6) / 1e6; };
    ordered_json own{
        {"model", fingerprint(model.state)}, {"threshold", digits(job.threshold)}, {"overlap", digits(job.overlap)}};
    if (job.tta) own["tta"] = true;
    if (job.tile) own["tile"] = job.tile, own["tile_overlap"] = digits(job.tile_overlap);
    if (job.precision == "bf16" || job.precision == "fp16") own["precision"] = job.precision;
    take_shard(job, list.files, own);
    const ResultFile earlier = take_earlier(job, head, own, list.files);
    ordered_json settings = own;
    settings["image_size"] = rounded;
    // Images of an earlier part of the run would be missing.
    const bool render = !job.images_out.render.empty(), crops = !job.images_out.crops.empty();
    if (render) settings["render"] = job.images_out.render;
    if (crops) settings["crops"] = job.images_out.crops;
    if (render || crops) settings["render_threshold"] = digits(images_out.threshold);
    check_folders(job.images_out, list.base);

    const size_t threads = job.threads ? job.threads : size_t(usable_processors());
    DetectOptions options{.base = list.base,
                          .files = std::move(list.files),
                          .journal = job.out + ".journal",
                          .settings = one_line(settings),
                          .image_size = rounded,
                          .stride = model.letterbox_stride(),
                          .tile = job.tile,
                          .tile_overlap = job.tile_overlap,
                          .overlap = job.overlap,
                          .batch = std::max<size_t>(1, job.batch),
                          .threads = threads,
                          .network = job.network};
    std::unique_ptr<Device> device;
    std::unique_ptr<Detector> detector;
    if (!job.network) {
        device = open_device(job.device, {.threads = int(threads)});
        // A CPU gains nothing from batches, and a kill loses less without.
        if (!job.batch && device->kind() == "cuda") options.batch = 8;
        detector = std::make_unique<Detector>(*device, model,
                                              DetectorOptions{.batch = options.batch,
                                                              .threshold = job.threshold,
                                                              .iou_threshold = job.overlap,
                                                              .precision = precision_of(job.precision, *device),
                                                              .augmented = job.tta});
        options.network = [&](std::span<const uint8_t> images, size_t h, size_t w) {
            return detector->run(images, h, w);
        };
        job.note(fmt::format("{}: {} classes, {} pixels, on {}", model.file_name, model.classes.size(), rounded,
                             device->description()));
    }
    model.state.clear();
    if (render || crops)
        options.on_image = [&](const ImageResult& result, const Image& image, const Exif& exif) {
            write_images(images_out, result, image, exif);
        };
    ::malloc_trim(0);  // what making the list took

    DetectRun run(std::move(options));
    const size_t total = run.options().files.size();
    if (run.counts().resumed) job.note(fmt::format("going on after {} of {} images", run.counts().resumed, total));
    DetectOutcome outcome{
        .counts = {}, .images = total, .kept = earlier.images.size(), .threshold = images_out.threshold};
    outcome.finished =
        run.run([&](const DetectCounts& counts) { return !job.progress || job.progress(counts, total); });
    outcome.counts = run.counts();
    if (!outcome.finished) return outcome;

    std::set<std::string> damaged;
    for (const std::string& name : damaged_images(earlier.head))
        if (earlier.images.contains(name)) damaged.insert(name);
    size_t told = 0, no_jpeg = 0;
    for (size_t i = 0; i < total; ++i) {
        const ImageResult result = run.result(i);
        if (result.damaged) damaged.insert(result.file);
        if (!result.reason.empty() && ++told <= kMostTold) job.note(fmt::format("{}: {}", result.file, result.reason));
        const auto n = size_t(std::ranges::count_if(
            result.detections, [&](const Detection& d) { return d.confidence >= images_out.threshold; }));
        outcome.detections += n;
        outcome.with_detections += n > 0;
        no_jpeg += result.failure.empty() && !is_jpeg_name(result.file);
    }
    if (no_jpeg)
        job.note(fmt::format("{} images are not called .jpg or .jpeg: Timelapse does not show their boxes", no_jpeg));
    if (told > kMostTold) job.note(fmt::format("and {} more such images", told - kMostTold));
    if (!damaged.empty()) own["damaged_pictures"] = damaged;
    head.info["custom_metadata"]["tundra"] = own;
    head.info["detection_completion_time"] = completion_time();
    Merged merged(run, earlier.images);
    write_results(job.out, format, head, {merged.size(), [&](size_t) { return merged.next(format, job.entry); }});
    run.remove_journal();
    return outcome;
}
