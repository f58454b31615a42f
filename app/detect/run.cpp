#include "app/detect/run.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory_resource>
#include <optional>

#include "app/detect/image_outputs.h"
#include "base/error.h"
#include "data/fit.h"
#include "data/prefetcher.h"

namespace {

constexpr size_t kMaxPlanes = 24'000'000;  // pixels of an image that the device letterboxes: 36 MB of its memory

Image cropped(const Image& image, const ImageRegion& region) {
    Image result{.h = region.h, .w = region.w, .rgb = std::vector<uint8_t>(region.h * region.w * 3)};
    for (size_t y = 0; y < region.h; ++y)
        std::copy_n(&image.rgb[((region.top + y) * image.w + region.left) * 3], region.w * 3,
                    &result.rgb[y * region.w * 3]);
    return result;
}

}  // namespace

struct DetectRun::ImageJob {  // an image between its file and its result
    size_t file = 0;
    ImageResult result = {};
    std::vector<ImageRegion> regions = {};         // empty if the image could not be read
    std::vector<std::vector<PartBox>> found = {};  // by region
    size_t without_input = 0, without_boxes = 0;   // regions that still lack it
    Image image = {};                              // until all inputs are made, or longer where it is wanted
    std::optional<Planes> planes = {};             // instead of the image
    Exif exif = {};
    bool fresh = true;                        // the boxes are not in the journal
    std::vector<uint8_t> quality_input = {};  // empty: not wanted
};

struct DetectRun::NetworkInput {  // one region of an image as the network sees it
    std::shared_ptr<ImageJob> job = {};
    size_t region = 0;
    Letterbox letterbox = {};
    CameraPlace place = {};
    std::pmr::vector<uint8_t> bytes = {};  // (out_h, out_w, 3), or with a place the planes of the JPEG
};

struct DetectRun::Running {
    std::vector<NetworkInput> group;
    std::function<Boxes()> boxes;
};

// Inputs of the network, made by the threads of a prefetcher. One job reads a file and makes its first input; further
// regions of the image are separate jobs, which come before other files.
class DetectRun::InputQueue {
public:
    InputQueue(const DetectRun& run, std::vector<size_t> files) : run_(run), files_(std::move(files)) {
        const size_t threads = std::clamp<size_t>(run.options_.threads, 1, std::max<size_t>(files_.size(), 1));
        const size_t capacity = 2 * run.options_.batch + threads;
        // Lower priority than the network's threads: one of them that loses its processor to a decoder stalls all
        // others at the next barrier.
        prefetcher_.start(threads, {.has_room = [this, capacity] { return queue_.size() + making_ < capacity; },
                                    .next_job = [this] { return next_job(); },
                                    .niceness = 10});
    }

    // The next input in the order in which they become ready; nothing after the last one.
    std::optional<NetworkInput> next() {
        const auto finished = [this] { return next_file_ == files_.size() && making_ == 0 && regions_.empty(); };
        auto lock = prefetcher_.wait([&] { return !queue_.empty() || finished(); });
        if (queue_.empty()) return {};
        NetworkInput input = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        prefetcher_.room_changed();
        return input;
    }

private:
    Prefetcher::Job next_job() {  // under the lock
        if (regions_.empty() && next_file_ == files_.size()) return {};
        ++making_;
        if (regions_.empty()) return [this, file = files_[next_file_++]] { make_first(run_.load(file)); };
        auto [job, region] = std::move(regions_.front());
        regions_.pop_front();
        return [this, job, region] { make(job, region); };
    }
    void make_first(const std::shared_ptr<ImageJob>& job) {
        if (job->regions.empty()) return put({.job = job});
        if (job->regions.size() > 1) {
            const auto lock = prefetcher_.lock();
            for (size_t i = 1; i < job->regions.size(); ++i) regions_.emplace_back(job, i);
        }
        prefetcher_.room_changed();
        make(job, 0);
    }
    void make(const std::shared_ptr<ImageJob>& job, size_t region) {
        NetworkInput input = run_.network_input(job, region);
        {
            const auto lock = prefetcher_.lock();
            --job->without_input;
        }
        put(std::move(input));
    }
    void put(NetworkInput input) {
        const auto lock = prefetcher_.lock();
        --making_;
        // The consumer may look at the image once its last input is there.
        if (!input.job->without_input && !run_.options_.on_image && !run_.runs(kSpecies)) input.job->image = {};
        queue_.push_back(std::move(input));
    }

    const DetectRun& run_;
    const std::vector<size_t> files_;
    size_t next_file_ = 0, making_ = 0;
    std::deque<std::pair<std::shared_ptr<ImageJob>, size_t>> regions_;
    std::deque<NetworkInput> queue_;
    Prefetcher prefetcher_;  // last: its threads use all of the above
};

DetectRun::DetectRun(DetectOptions options)
    : options_(std::move(options)),
      failed_(options_.files.size()),
      damaged_(options_.files.size()),
      drive_(options_.files.size(),
             [this](size_t i) { return (options_.base / std::string(options_.files[i])).string(); }),
      quality_(options_.quality,
               [this](size_t file, const ClassQueue::Answers& answers) {
                   add_record(kQuality, file, {{"quality", answers[0]}});
               }),
      species_(options_.species, [this](size_t file, const ClassQueue::Answers& answers) {
          add_record(kSpecies, file, {{"species", answers}});
      }) {
    const size_t stages = options_.quality.network || options_.species.network ? size_t(kStages) : 1;
    journal_ = std::make_unique<RecordJournal>(
        options_.journal, options_.settings, stages * options_.files.size(),
        [&](const RecordJournal::Json& record) { return record_number(record); },
        [&](const RecordJournal::Json& record) { resumed(record); });
    for (size_t file = 0; file < options_.files.size(); ++file)
        if (settled(file)) {
            ++counts_.done, ++counts_.resumed;
            counts_.failed += failed_[file];
            counts_.damaged += damaged_[file];
        }
}

size_t DetectRun::record_number(const RecordJournal::Json& record) const {
    size_t stage = kBoxes;
    if (record.contains("quality")) stage = kQuality;
    if (record.contains("species")) stage = kSpecies;
    const size_t file = options_.files.find(record.at("file").get<std::string>());
    if (file == options_.files.size() || record.value("key", "") != options_.keys[stage]) return SIZE_MAX;
    return stage * options_.files.size() + file;
}

void DetectRun::resumed(const RecordJournal::Json& record) {
    if (record.contains("quality") || record.contains("species")) return;
    const size_t file = options_.files.find(record.at("file").get<std::string>());
    failed_[file] = record.contains("failure");
    damaged_[file] = record.value("damaged", false);
}

bool DetectRun::runs(Stage stage) const {
    return stage == kBoxes || bool(stage == kQuality ? options_.quality.network : options_.species.network);
}

bool DetectRun::missing(Stage stage, size_t file) const {
    return runs(stage) && !journal_->has(stage * options_.files.size() + file);
}

// Of an image whose boxes the journal has.
bool DetectRun::complete(size_t file) const {
    return failed_[file] || (!missing(kQuality, file) && !missing(kSpecies, file));
}

bool DetectRun::settled(size_t file) const {  // before this run
    return journal_->has(file) && complete(file) && !(failed_[file] && options_.retry_failures);
}

bool DetectRun::has_crop(const Detection& d) const {
    return d.confidence >= options_.species_threshold && d.w > 0 && d.h > 0 &&
           (!options_.species_category || d.category == options_.species_category);
}

std::shared_ptr<DetectRun::ImageJob> DetectRun::load(size_t file) const {
    const std::string name(options_.files[file]);
    const auto job = std::make_shared<ImageJob>(ImageJob{.file = file, .result = {.file = json_name(name)}});
    ImageResult& result = job->result;
    const auto refuse = [&](DecodeStatus trouble, const std::string& text) {
        job->fresh = true;
        result = {.file = result.file};
        result.failure = "image access failure";
        result.reason = fmt::format("{}: {}", trouble_code(trouble), text);
        return job;
    };
    job->fresh = missing(kBoxes, file) || failed_[file];
    if (!job->fresh) result = result_from_json(journal_->at(file));
    if (job->fresh && options_.given) {
        ImageResult given = options_.given(result.file);
        result.detections = std::move(given.detections);
        if (!given.failure.empty()) return refuse(DecodeStatus::unreadable, given.reason);
    }
    const bool known = !job->fresh || options_.given;
    const bool crops = missing(kSpecies, file) &&
                       (!known || std::ranges::any_of(result.detections, [&](const auto& d) { return has_crop(d); }));
    if (!job->fresh && !missing(kQuality, file) && !crops) return job;
    DecodeOptions decode;
    decode.size_only = known && !missing(kQuality, file) && !crops && !options_.on_image;
    const std::string path = (options_.base / name).string();
    ImageFile bytes = read_image_file(path, decode.max_file_bytes);
    if (bytes.trouble == DecodeStatus::missing || bytes.trouble == DecodeStatus::unreadable) {
        drive_.require_drive(path);
        bytes = read_image_file(path, decode.max_file_bytes);  // it may have been away for a moment
    }
    if (bytes.trouble != DecodeStatus::none) return refuse(bytes.trouble, bytes.text);
    if (device_letterboxes())
        if (Planes p = decode_planes(bytes.bytes, {.max_pixels = kMaxPlanes}, options_.device->host_memory()); p.h)
            job->planes.emplace(std::move(p));
    Decoded decoded;
    if (job->planes) {
        decoded.full_h = job->planes->h, decoded.full_w = job->planes->w;
    } else {
        decoded = decode_image(bytes.bytes, decode);
        if (!decoded.usable() && !(decode.size_only && decoded.full_h)) return refuse(decoded.trouble, decoded.text);
    }
    job->exif = exif_of(bytes.bytes);
    result.date = job->exif.date;
    if (options_.cameras) result.camera = job->exif.serial, result.sequence = job->exif.sequence;
    result.h = decoded.full_h, result.w = decoded.full_w;
    result.damaged = decoded.trouble != DecodeStatus::none;
    result.reason = decoded.text;
    if (decode.size_only) return job;
    if (missing(kQuality, file)) {
        job->quality_input.resize(options_.quality.fit.bytes());
        fit_image(decoded.image, options_.quality.fit, job->quality_input.data());
    }
    if (!known)
        job->regions = regions_of(result.h, result.w, options_.tile ? options_.tile : SIZE_MAX, options_.tile_overlap);
    job->found.resize(job->regions.size());
    job->without_input = job->without_boxes = job->regions.size();
    job->image = std::move(decoded.image);
    return job;
}

DetectRun::NetworkInput DetectRun::network_input(const std::shared_ptr<ImageJob>& job, size_t region) const {
    const ImageRegion& r = job->regions[region];
    const Letterbox box = letterbox(
        {.h = r.h, .w = r.w, .out_h = options_.image_size, .out_w = options_.image_size, .stride = options_.stride});
    // An assignment would copy the bytes from one kind of memory to the other.
    NetworkInput input{.job = job,
                       .region = region,
                       .letterbox = box,
                       .bytes = job->planes       ? std::move(job->planes->bytes)
                                : options_.device ? std::pmr::vector<uint8_t>(&options_.device->host_memory())
                                                  : std::pmr::vector<uint8_t>()};
    if (job->planes) {
        input.place = {.h = int32_t(r.h),
                       .w = int32_t(r.w),
                       .inner_h = int32_t(box.inner_h),
                       .inner_w = int32_t(box.inner_w),
                       .top = int32_t(box.top),
                       .left = int32_t(box.left)};
        return input;
    }
    const bool whole = r.h == job->image.h && r.w == job->image.w;
    input.bytes.resize(box.out_h * box.out_w * 3);
    letterbox_image(whole ? job->image : cropped(job->image, r), box, Filter::linear, input.bytes.data());
    return input;
}

// It then gets the planes of JPEG files. Whoever needs pixels on the host decodes them there.
bool DetectRun::device_letterboxes() const {
    return options_.device && !options_.device->facts().host_memory && !options_.tile && !options_.on_image &&
           !options_.given && !runs(kQuality) && !runs(kSpecies);
}

void DetectRun::add_record(Stage stage, size_t file, RecordJournal::Json record) {
    if (stage != kBoxes) record["file"] = json_name(options_.files[file]);
    if (!options_.keys[stage].empty()) record["key"] = options_.keys[stage];
    journal_->add(stage * options_.files.size() + file, record);
    if (!journal_->has(file) || !complete(file)) return;
    ++counts_.done;
    counts_.failed += failed_[file];
    counts_.damaged += damaged_[file];
}

void DetectRun::record(const ImageJob& job) {
    failed_[job.file] = !job.result.failure.empty();
    damaged_[job.file] = job.result.damaged;
    add_record(kBoxes, job.file, to_json(job.result));
}

// Of an image whose boxes are known: what the other networks say follows when their batches are full.
void DetectRun::classify(ImageJob& job) {
    if (job.fresh && job.result.failure.empty() && options_.given_classes) options_.given_classes(job.result);
    if (job.fresh) record(job);
    if (!job.result.failure.empty()) return;
    if (!job.quality_input.empty()) quality_.add(job.file, job.result.file, job.quality_input);
    if (!missing(kSpecies, job.file)) return;
    const Fit& fit = options_.species.fit;
    std::vector<uint8_t> crops;
    for (const Detection& d : job.result.detections) {
        if (!has_crop(d)) continue;
        crops.resize(crops.size() + fit.bytes());
        fit_image(square_crop(job.image, d), fit, crops.data() + crops.size() - fit.bytes());
    }
    species_.add(job.file, job.result.file, crops);
}

void DetectRun::finish(ImageJob& job) {
    if (!job.regions.empty()) {
        std::vector<Box> boxes;
        if (job.regions.size() == 1) {
            for (const PartBox& b : job.found[0]) boxes.push_back(b.box);
        } else {
            std::vector<PartBox> all;
            for (const std::vector<PartBox>& found : job.found) all.insert(all.end(), found.begin(), found.end());
            boxes = merged_boxes(std::move(all), options_.iou);
        }
        job.result.detections = detections_of(boxes, job.result.h, job.result.w);
    }
    if (job.fresh && job.result.failure.empty() && options_.on_image)
        options_.on_image(job.result, job.image, job.exif);
    classify(job);
}

void DetectRun::detect(std::vector<NetworkInput> group) {
    std::vector<DetectorImage> images;
    for (const NetworkInput& input : group) images.push_back({input.bytes, input.place});
    const Letterbox& box = group[0].letterbox;
    auto boxes = options_.network(images, box.out_h, box.out_w);
    running_.push_back(std::make_shared<Running>(std::move(group), std::move(boxes)));
    const size_t ahead = options_.device && options_.device->facts().overlaps;
    while (running_.size() > ahead) take_boxes();
}

// Of the group that was started first.
void DetectRun::take_boxes() {
    const std::shared_ptr<Running> running = std::move(running_.front());
    running_.pop_front();
    const Boxes boxes = running->boxes();
    for (size_t i = 0; i < running->group.size(); ++i) {
        const NetworkInput& input = running->group[i];
        ImageJob& job = *input.job;
        const ImageRegion& region = job.regions[input.region];
        job.found[input.region] =
            part_boxes(image_boxes(boxes.at(i), input.letterbox, region), region, job.result.h, job.result.w);
        if (--job.without_boxes == 0) finish(job);
    }
}

bool DetectRun::take_all_boxes() {
    while (!running_.empty()) take_boxes();
    return counts_.done == options_.files.size();
}

bool DetectRun::run(const std::function<bool(const DetectCounts&)>& progress) {
    std::vector<size_t> pending;
    for (size_t i = 0; i < options_.files.size(); ++i)
        if (!settled(i)) pending.push_back(i);
    if (!pending.empty() && counts_.resumed > counts_.failed) drive_.require_any();
    InputQueue queue(*this, std::move(pending));
    std::map<std::pair<size_t, size_t>, std::vector<NetworkInput>> groups;  // by the size of the network's input
    const auto waiting = [&] {
        size_t n = 0;
        for (const auto& [size, group] : groups) n += group.size();
        return n;
    };
    const auto flush = [&](auto group) {
        std::vector<NetworkInput> inputs = std::move(group->second);
        groups.erase(group);
        detect(std::move(inputs));
    };
    while (std::optional<NetworkInput> input = queue.next()) {
        if (input->job->regions.empty()) {
            finish(*input->job);
        } else {
            const auto group = groups.try_emplace({input->letterbox.out_h, input->letterbox.out_w}).first;
            group->second.push_back(std::move(*input));
            if (group->second.size() == options_.batch)
                flush(group);
            else if (waiting() >= 4 * options_.batch)
                flush(std::ranges::max_element(groups, {}, [](const auto& g) { return g.second.size(); }));
        }
        if (progress && !progress(counts_)) return take_all_boxes();
    }
    while (!groups.empty()) {
        flush(groups.begin());
        if (progress && !progress(counts_)) return take_all_boxes();
    }
    take_all_boxes();
    quality_.flush();
    species_.flush();
    if (progress) progress(counts_);
    return true;
}

ImageResult DetectRun::result(size_t file) const {
    ImageResult result = result_from_json(journal_->at(file));
    if (!result.failure.empty()) return result;
    const size_t files = options_.files.size();
    if (runs(kQuality)) result.quality = journal_->at(kQuality * files + file)["quality"].get<std::vector<float>>();
    if (!runs(kSpecies)) return result;
    const auto species = journal_->at(kSpecies * files + file)["species"].get<std::vector<std::vector<float>>>();
    size_t next = 0;
    for (Detection& d : result.detections)
        if (has_crop(d)) d.classes = class_scores(species.at(next++));
    return result;
}
