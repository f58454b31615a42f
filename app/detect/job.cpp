#include "app/detect/job.h"

#include <malloc.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>

#include "app/detect/classifiers.h"
#include "app/detect/earlier.h"
#include "app/detect/megadetector.h"
#include "app/detect/precision.h"
#include "app/detect/shard.h"
#include "app/detect/shipped.h"
#include "app/jobs/image_list.h"
#include "base/error.h"
#include "base/hash.h"
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
    DetectorModel model;
    size_t image_size = 0, stride = 0;
    ImageOutputs outputs;
    ResultHead head = {};
    ordered_json settings = {};  // of the results; written into the file as info.custom_metadata.tundra
    ResultFile earlier = {};     // of --update: entries that stay as they are
    std::shared_ptr<const GivenResults> given = {}, given_species = {};
    std::unique_ptr<Device> device = {};  // of the network; null if that is given, or its results
    PrecisionChoice precision = {};
    std::optional<ReadyModel> species = {}, quality = {};
    std::vector<std::string> species_names = {}, quality_names = {};
    std::array<std::string, 3> keys = {};  // of a survey
};

std::string journal_of(const DetectJob& job) {
    if (job.survey) return (std::filesystem::path(job.out).parent_path() / "survey.journal").string();
    return job.out + ".journal";
}

void open_classifiers(const DetectJob& job, Opened& o) {
    if (!job.quality.empty()) {
        o.quality = open_classifier(job.quality, job.machine, job.note);
        o.quality_names = o.quality->file.classes;
        o.settings["quality"] = o.quality->fingerprint;
        o.settings["quality_classes"] = o.quality_names;
    }
    std::string name;
    if (is_result_name(job.classify)) {
        o.given_species =
            std::make_shared<GivenResults>(read_given(job.survey ? "--species" : "--classify", job.classify, o.list));
        o.species_names = o.given_species->species;
        o.settings["classify"] = o.given_species->hash;
        o.settings["given_classes"] = true;
        if (o.species_names.empty())
            fail(Fault::usage, "{}: has no classes; it cannot stand for a classifier", job.classify);
    } else if (!job.classify.empty()) {
        o.species = open_classifier(job.classify, job.machine, job.note);
        o.species_names = o.species->file.classes;
        o.settings["classify"] = o.species->fingerprint;
    } else if (o.given) {
        o.species_names = o.given->species;
    }
    if (o.species_names.empty()) return;
    if (job.survey) name_for_tables(o.species_names, job.note);
    name_classes(o.species_names, o.head);
    if (job.classify.empty()) return;
    o.settings["classify_threshold"] = six_digits(o.outputs.threshold);
    o.head.info["classifier"] = json_name(std::filesystem::path(job.classify).lexically_normal().filename().string());
    o.head.info["classifier_metadata"] = {{"typical_classification_threshold", 0.5}};
}

const char* option_of_model(const DetectJob& job) { return job.survey ? "--detector" : "--model"; }

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
    if (job.handed)
        o.list = {job.handed->base, Names(job.handed->images), {}};
    else
        o.list = list_images_below(job.images, journal_of(job), job.base);
    for (const std::string& text : o.list.notes) job.note(text);
    std::error_code ignored;
    if (job.survey && !job.handed)
        leave_out(o.list, std::filesystem::path(job.out).parent_path(),
                  std::filesystem::exists(journal_of(job), ignored), job.note);
    const bool extends = !(job.update.empty() && job.shard.empty());
    for (const std::string& text :
         check_folders(job.outputs, o.list.base, std::filesystem::exists(journal_of(job), ignored), extends))
        job.note(text);
    if (is_result_name(job.model)) {
        o.given = std::make_shared<GivenResults>(read_given(option_of_model(job), job.model, o.list));
        o.head = o.given->head;
        if (o.outputs.threshold == kModelThreshold) o.outputs.threshold = o.given->typical_threshold;
        o.settings = {{"model", o.given->hash}};
        o.image_size = o.stride = 64;  // of no network
        open_classifiers(job, o);
        return o;
    }
    o.model = job.model.empty() ? read_shipped(option_of_model(job), job.machine, job.note)
                                : read_detector(weight_file(job.model));
    if (!job.image_size && !o.model.size_note.empty()) o.model.notes.push_back(o.model.size_note);
    for (const std::string& text : o.model.notes) job.note(fmt::format("{}: {}", o.model.file_name, text));
    if (o.outputs.threshold == kModelThreshold) o.outputs.threshold = o.model.typical_threshold;
    const size_t size = job.image_size ? job.image_size : o.model.image_size, multiple = o.model.network().stride;
    o.image_size = (size + multiple - 1) / multiple * multiple;
    o.stride = o.model.letterbox_stride();
    o.head = result_head(o.model, o.image_size);
    o.settings = {{"model", fingerprint(o.model.state)},
                  {"threshold", six_digits(job.threshold)},
                  {"overlap", six_digits(job.iou)}};
    if (job.tta) o.settings["tta"] = true;
    if (job.tile) o.settings["tile"] = job.tile, o.settings["tile_overlap"] = six_digits(job.tile_overlap);
    for (const char* key : {"precision", "instructions"}) o.settings[key] = nullptr;  // by take_precision()
    open_classifiers(job, o);
    return o;
}

void take_shard(const DetectJob& job, Opened& o) {
    if (job.shard.empty() || job.handed) return;
    if (!job.update.empty()) fail(Fault::usage, "--shard and --update cannot be combined");
    const Shard shard = parse_shard(job.shard);
    const Names& files = o.list.files;
    o.settings["shard"] = fmt::format("{}/{}", shard.number, shard.of);
    o.settings["pictures"] = files.size();
    o.settings["list"] = list_hash(files.size(), [&](size_t i) { return json_name(files[i]); });
    o.list.files = files.filtered([&](size_t i) { return i % shard.of == shard.number - 1; });
}

void take_precision(const DetectJob& job, Opened& o) {
    if (o.given) return;
    if (!job.network) o.device = job.machine.open();
    const auto key_of = [&](const ordered_json& settings) {
        return key_of_boxes(settings, o.image_size, bool(o.given_species));
    };
    if (o.device) o.precision = choose_for_detector(job, o.model, *o.device, journal_of(job), o.settings, key_of);
    set_precision(o.settings, o.precision.type, o.device ? o.device->instructions(o.precision.type) : "");
}

// Keeps the entries of the earlier file except failures that are retried; what remains are the images that it lacks.
void take_earlier(const DetectJob& job, Opened& o) {
    if (job.update.empty() || job.handed) return;
    ResultFile old = read_results(job.update);
    if (old.head.categories != o.head.categories || o.head.info["detector"] != old.head.info.value("detector", ""))
        fail(Fault::usage, "--update {}: was made by {}, not by {}", job.update,
             old.head.info.value("detector", "another model"), o.head.info["detector"].get<std::string>());
    if (const ordered_json theirs = member(member(old.head.info, "custom_metadata"), "tundra"); theirs.is_object())
        for (const char* key : {"model", "threshold", "overlap", "tta", "tile", "tile_overlap", "precision",
                                "instructions", "quality", "classify", "classify_threshold"})
            if (member(theirs, key) != member(o.settings, key))
                fail(Fault::usage, "--update {}: was made with {} {}, this run has {}; use the same settings",
                     job.update, key, member(theirs, key).dump(), member(o.settings, key).dump());
    const Names& files = o.list.files;
    use_names_of(o.list, "--update", job.update, old);
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
    if (job.outputs.png) settings["crops_format"] = "png";
    return one_line(settings);
}

// A survey keeps its journal: other models take the place of earlier ones, and images of earlier runs stay. The keys
// say which records are of the present models.
void extend_survey(const DetectJob& job, Opened& o) {
    const auto input = [](const std::optional<ReadyModel>& model) -> ordered_json {
        if (!model) return nullptr;
        const Preprocessing& p = model->file.input;
        return {model->fingerprint, input_text(p), precision_name(model->classifier->config().precision)};
    };
    o.keys[0] = key_of_boxes(o.settings, o.image_size, bool(o.given_species));
    o.keys[1] = hash_hex(one_line(input(o.quality)));
    o.keys[2] = hash_hex(one_line(ordered_json{o.keys[0], input(o.species), six_digits(o.outputs.threshold)}));
    if (job.handed) return;
    std::error_code ignored;
    std::vector<std::string> names;
    if (std::filesystem::exists(journal_of(job), ignored)) names = survey_names(journal_of(job), o.keys[0]);
    if (names.empty()) return;
    const auto known = [&](const std::string& name) { return o.list.files.find(name) < o.list.files.size(); };
    if (std::ranges::none_of(names, known) && !std::filesystem::exists(o.list.base / names[0], ignored))
        fail(Fault::usage,
             "{}: holds a survey of other images: its first is called {}, here the first is {}; name the folder where "
             "its names begin with --base, or another --out",
             std::filesystem::path(job.out).parent_path().string(), names[0], json_name(o.list.files[0]));
    std::erase_if(names, known);
    tell_earlier(o.list.base, {names.begin(), names.end()}, job.note);
    for (size_t i = 0; i < o.list.files.size(); ++i) names.emplace_back(o.list.files[i]);
    o.list.files = Names(std::move(names));
}

int animal_category(const ResultHead& head) {  // 0: none is called so
    for (const auto& [id, name] : head.categories.items())
        if (name == "animal") return std::stoi(id);
    return 0;
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
                          .settings = job.survey ? kSurveyJournal : journal_settings(job, o),
                          .image_size = o.image_size,
                          .stride = o.stride,
                          .tile = job.tile,
                          .tile_overlap = job.tile_overlap,
                          .whole_padding = o.model.whole_padding,
                          .iou = job.iou,
                          .batch = std::max<size_t>(1, job.machine.batch),
                          .threads = size_t(job.machine.thread_count()),
                          .network = job.network,
                          .device = job.network_device,
                          .species_threshold = o.outputs.threshold,
                          .species_category = animal_category(o.head),
                          .keys = o.keys,
                          .cameras = job.survey,
                          .check_files = job.survey,
                          .retry_failures = job.survey,
                          .handed = job.handed};
    if (o.quality) options.quality = stage_of(*o.quality);
    if (o.species) options.species = stage_of(*o.species);
    if (o.given_species)
        options.given_classes = [given = o.given_species](ImageResult& result) {
            take_classes(given->images.at(result.file), result);
        };
    if (o.given) {
        options.given = [given = o.given](const std::string& file) { return given->images.at(file); };
    } else if (!job.network) {
        r.device = std::move(o.device);
        options.batch = job.machine.detector_batch(*r.device);
        r.detector = std::make_unique<Detector>(*r.device, o.model,
                                                DetectorOptions{.batch = options.batch,
                                                                .threshold = job.threshold,
                                                                .iou_threshold = job.iou,
                                                                .precision = o.precision.type,
                                                                .augmented = job.tta});
        options.device = r.device.get();
        options.network = [detector = r.detector.get()](std::span<const DetectorImage> images, size_t h, size_t w) {
            return [detector, started = detector->start(images, h, w)] { return detector->finish(started); };
        };
        const bool is_plain = o.precision.type == DType::f32 && o.precision.why.empty();
        job.note(fmt::format("{}: {} classes, {} pixels, on {}{}", o.model.file_name, o.model.classes.size(),
                             o.image_size, r.device->description(), is_plain ? "" : ", " + to_text(o.precision)));
    }
    o.model.state.clear();
    if (!job.outputs.render.empty() || !job.outputs.crops.empty())
        options.on_image = [outputs = o.outputs](const ImageResult& result, const Image& image, const Exif& exif) {
            write_images(outputs, result, image, exif);
        };
    ::malloc_trim(0);  // returns the memory that building the list used
    r.run = std::make_unique<DetectRun>(std::move(options));
    if (const std::string& text = r.run->journal().note(); !text.empty()) job.note(text);
    if (!r.run->changed().empty() && job.changed) {
        std::set<std::string> changed;
        for (const size_t file : r.run->changed()) changed.insert(json_name(r.run->options().files[file]));
        job.changed(changed);
    }
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
    if (o.head.info.contains("classifier")) o.head.info["classification_completion_time"] = completion_time();
    Merged merged(run, o.earlier.images);
    const Names& files = run.options().files;
    if (job.write) return job.write({run, o.head, o.settings, o.species_names, o.quality_names, o.outputs.threshold});
    EntryOptions entry = job.entry;
    entry.quality = o.quality_names;
    write_results(
        job.out, o.format, o.head, entry,
        {merged.size(), [&](size_t) { return merged.next(); }, [&](size_t i) { return json_name(files[i]); }});
    run.remove_journal();
}

// Names in a file of answers are matched with the whole list of images, which a helper does not have.
std::vector<int> gpus_for_images(const DetectJob& job, const Opened& o) {
    if (job.handed || job.machine.gpus.empty()) return {};
    if (!o.given && !o.given_species) return job.machine.gpus;
    job.note(fmt::format("answers of a file are taken over by one process, on {}", job.machine.device));
    return {};
}

}  // namespace

DetectOutcome detect(const DetectJob& job) {
    Opened opened = open(job);
    take_shard(job, opened);
    take_precision(job, opened);
    take_earlier(job, opened);
    if (job.check) job.check(opened.list.files, opened.head, opened.species_names, opened.quality_names);
    if (job.survey) extend_survey(job, opened);
    const Running running = resume(job, opened);
    DetectRun& run = *running.run;
    const size_t total = run.options().files.size();
    DetectOutcome outcome{.images = total, .kept = opened.earlier.images.size(), .threshold = opened.outputs.threshold};
    Helpers helpers(gpus_for_images(job, opened));
    outcome.finished =
        run.run([&](const DetectCounts& counts) { return !job.progress || job.progress(counts, total); }, &helpers);
    outcome.counts = run.counts();
    if (outcome.finished && !job.handed) write(job, opened, run, outcome);
    return outcome;
}
