#include "app/detect/run_inputs.h"

#include <algorithm>

#include "base/error.h"
#include "data/fit.h"

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
    if (options_.cameras) bytes_[file] = uint32_t(bytes.bytes.size());
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

DetectRun::InputQueue::InputQueue(const DetectRun& run, std::vector<size_t> files)
    : run_(run), files_(std::move(files)) {
    const size_t threads = std::clamp<size_t>(run.options_.threads, 1, std::max<size_t>(files_.size(), 1));
    const size_t capacity = 2 * run.options_.batch + threads;
    // Lower priority than the network's threads: one of them that loses its processor to a decoder stalls all
    // others at the next barrier.
    prefetcher_.start(threads, {.has_room = [this, capacity] { return queue_.size() + making_ < capacity; },
                                .next_job = [this] { return next_job(); },
                                .niceness = 10});
}

std::optional<DetectRun::NetworkInput> DetectRun::InputQueue::next() {
    const auto finished = [this] { return next_file_ == files_.size() && making_ == 0 && regions_.empty(); };
    auto lock = prefetcher_.wait([&] { return !queue_.empty() || finished(); });
    if (queue_.empty()) return {};
    NetworkInput input = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    prefetcher_.room_changed();
    return input;
}

Prefetcher::Job DetectRun::InputQueue::next_job() {
    if (regions_.empty() && next_file_ == files_.size()) return {};
    ++making_;
    if (regions_.empty()) return [this, file = files_[next_file_++]] { make_first(run_.load(file)); };
    auto [job, region] = std::move(regions_.front());
    regions_.pop_front();
    return [this, job = std::move(job), region = region] { make(job, region); };
}

void DetectRun::InputQueue::make_first(const std::shared_ptr<ImageJob>& job) {
    if (job->regions.empty()) return put({.job = job});
    if (job->regions.size() > 1) {
        const auto lock = prefetcher_.lock();
        for (size_t i = 1; i < job->regions.size(); ++i) regions_.emplace_back(job, i);
    }
    prefetcher_.room_changed();
    make(job, 0);
}

void DetectRun::InputQueue::make(const std::shared_ptr<ImageJob>& job, size_t region) {
    NetworkInput input = run_.network_input(job, region);
    {
        const auto lock = prefetcher_.lock();
        --job->without_input;
    }
    put(std::move(input));
}

void DetectRun::InputQueue::put(NetworkInput input) {
    const auto lock = prefetcher_.lock();
    --making_;
    // The consumer may look at the image once its last input is there.
    if (!input.job->without_input && !run_.options_.on_image && !run_.runs(kSpecies)) input.job->image = {};
    queue_.push_back(std::move(input));
}
