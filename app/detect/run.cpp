#include "app/detect/run.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory_resource>
#include <optional>

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
    Image image = {};                              // until all inputs are made, or longer where on_image wants it
    std::optional<Planes> planes = {};             // instead of the image
    Exif exif = {};
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
        if (!input.job->without_input && !run_.options_.on_image) input.job->image = {};
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
    : options_(std::move(options)), drive_(options_.files.size(), [this](size_t i) {
          return (options_.base / std::string(options_.files[i])).string();
      }) {
    journal_ = std::make_unique<RecordJournal>(
        options_.journal, options_.settings, options_.files.size(),
        [&](const RecordJournal::Json& record) { return options_.files.find(record.at("file").get<std::string>()); },
        [&](const RecordJournal::Json& record) {
            ++counts_.done, ++counts_.resumed;
            counts_.failed += record.contains("failure");
            counts_.damaged += record.value("damaged", false);
        });
}

std::shared_ptr<DetectRun::ImageJob> DetectRun::load(size_t file) const {
    const std::string name(options_.files[file]);
    const auto job = std::make_shared<ImageJob>(ImageJob{.file = file, .result = {.file = json_name(name)}});
    ImageResult& result = job->result;
    const auto refuse = [&](DecodeStatus trouble, const std::string& text) {
        result.failure = "image access failure";
        result.reason = fmt::format("{}: {}", trouble_code(trouble), text);
        return job;
    };
    const DecodeOptions decode;
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
    if (!job->planes) {
        decoded = decode_image(bytes.bytes, decode);
        if (!decoded.usable()) return refuse(decoded.trouble, decoded.text);
    }
    job->exif = exif_of(bytes.bytes);
    result.date = job->exif.date;
    result.h = job->planes ? job->planes->h : decoded.image.h;
    result.w = job->planes ? job->planes->w : decoded.image.w;
    result.damaged = decoded.trouble != DecodeStatus::none;
    result.reason = decoded.text;
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
    return options_.device && !options_.device->facts().host_memory && !options_.tile && !options_.on_image;
}

void DetectRun::record(const ImageJob& job) {
    journal_->add(job.file, to_json(job.result));
    ++counts_.done;
    counts_.failed += !job.result.failure.empty();
    counts_.damaged += job.result.damaged;
}

void DetectRun::finish(ImageJob& job) {
    std::vector<Box> boxes;
    if (job.regions.size() == 1) {
        for (const PartBox& b : job.found[0]) boxes.push_back(b.box);
    } else {
        std::vector<PartBox> all;
        for (const std::vector<PartBox>& found : job.found) all.insert(all.end(), found.begin(), found.end());
        boxes = merged_boxes(std::move(all), options_.iou);
    }
    job.result.detections = detections_of(boxes, job.result.h, job.result.w);
    if (options_.on_image) options_.on_image(job.result, job.image, job.exif);
    record(job);
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
    return counts_.done == journal_->size();
}

bool DetectRun::run(const std::function<bool(const DetectCounts&)>& progress) {
    std::vector<size_t> pending;
    for (size_t i = 0; i < journal_->size(); ++i)
        if (!journal_->has(i)) pending.push_back(i);
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
            record(*input->job);
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
    if (running_.empty()) return true;
    take_all_boxes();
    if (progress) progress(counts_);
    return true;
}

ImageResult DetectRun::result(size_t file) const { return result_from_json(journal_->at(file)); }
