#include "app/detect/run.h"

#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "data/fit.h"

using nlohmann::ordered_json;

namespace {

constexpr uint64_t kNone = ~uint64_t(0);

Image part(const Image& image, const Area& area) {
    Image result{.h = area.h, .w = area.w, .rgb = std::vector<uint8_t>(area.h * area.w * 3)};
    for (size_t y = 0; y < area.h; ++y)
        std::copy_n(&image.rgb[((area.top + y) * image.w + area.left) * 3], area.w * 3, &result.rgb[y * area.w * 3]);
    return result;
}

}  // namespace

struct DetectRun::Work {  // an image on its way
    size_t file = 0;
    ImageResult result = {};
    std::vector<Area> areas = {};                  // empty where the image could not be read
    std::vector<std::vector<PartBox>> found = {};  // by area
    size_t left = 0;                               // areas without boxes yet
    Image image = {};                              // until all views are made, or longer where someone wants it
    Exif exif = {};
};

struct DetectRun::NetworkInput {  // one area of an image as the network sees it
    std::shared_ptr<Work> work = {};
    size_t area = 0;
    Letterbox letterbox = {};
    std::vector<uint8_t> input = {};  // (out_h, out_w, 3)
};

// The threads that load images, and the bounded queue of views between them and the network.
class DetectRun::Prefetcher {
public:
    Prefetcher(const DetectRun& run, std::vector<size_t> files) : run_(run), files_(std::move(files)) {
        const size_t threads = std::clamp<size_t>(run.options_.threads, 1, std::max<size_t>(files_.size(), 1));
        room_ = 2 * run.options_.batch + threads;
        for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    }
    ~Prefetcher() {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
        }
        changed_.notify_all();
    }

    std::optional<NetworkInput> next() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return error_ || !queue_.empty() || finished_ == files_.size(); });
        if (error_) std::rethrow_exception(error_);
        if (queue_.empty()) return {};
        NetworkInput view = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        changed_.notify_all();
        return view;
    }

private:
    // Room in the queue for one more view; those that are being made count too. False: stop.
    bool take_room(std::unique_lock<std::mutex>& lock) {
        changed_.wait(lock, [&] { return stopped_ || error_ || queue_.size() + making_ < room_; });
        if (stopped_ || error_) return false;
        ++making_;
        return true;
    }
    void put(std::unique_lock<std::mutex>& lock, NetworkInput view) {
        lock.lock();
        --making_;
        queue_.push_back(std::move(view));
        changed_.notify_all();
    }
    void work() {
        // The network first: at each of its barriers one thread that lost its core to a decoder makes the others wait.
        // (Of this thread alone.)
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 10);
        std::unique_lock lock(mutex_);
        try {
            while (next_ < files_.size() && take_room(lock)) {
                if (next_ == files_.size()) {  // another thread was faster
                    --making_;
                    break;
                }
                const size_t file = files_[next_++];
                lock.unlock();
                const std::shared_ptr<Work> work = run_.load(file);
                if (work->areas.empty()) put(lock, {.work = work});
                for (size_t i = 0; i < work->areas.size(); ++i) {
                    if (i > 0) {
                        if (!take_room(lock)) return;
                        lock.unlock();
                    }
                    NetworkInput view = run_.view(work, i);
                    // The consumer may look at the image once its last view is there.
                    if (i + 1 == work->areas.size() && !run_.options_.on_image) work->image = {};
                    put(lock, std::move(view));
                }
                ++finished_;
                changed_.notify_all();
            }
        } catch (...) {
            if (!lock.owns_lock()) lock.lock();
            error_ = std::current_exception();
        }
        changed_.notify_all();
    }

    const DetectRun& run_;
    const std::vector<size_t> files_;
    size_t room_ = 0;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<NetworkInput> queue_;
    std::exception_ptr error_;
    size_t next_ = 0, making_ = 0, finished_ = 0;
    bool stopped_ = false;
    std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

DetectRun::DetectRun(DetectOptions options) : options_(std::move(options)), offset_(options_.files.size(), kNone) {
    journal_ =
        std::make_unique<Journal>(options_.journal, options_.settings, [&](std::string_view line, uint64_t offset) {
            const ordered_json json = ordered_json::parse(line);
            const size_t file = options_.files.find(json.at("file").get<std::string>());
            if (file == offset_.size()) return;  // an image that is no longer asked for
            uint64_t& known = offset_[file];
            if (known != kNone) return;
            known = offset;
            ++counts_.done, ++counts_.resumed;
            counts_.failed += json.contains("failure");
            counts_.damaged += json.value("damaged", false);
        });
}

std::shared_ptr<DetectRun::Work> DetectRun::load(size_t file) const {
    const std::string name(options_.files[file]);
    const auto work = std::make_shared<Work>(Work{.file = file, .result = {.file = json_name(name)}});
    ImageResult& result = work->result;
    const auto refuse = [&](DecodeStatus trouble, const std::string& text) {
        result.failure = "image access failure";
        result.reason = fmt::format("{}: {}", trouble_code(trouble), text);
        return work;
    };
    const DecodeOptions how;
    const ImageFile bytes = read_image_file((options_.base / name).string(), how.max_file_bytes);
    if (bytes.trouble != DecodeStatus::none) return refuse(bytes.trouble, bytes.text);
    Decoded decoded = decode_image(bytes.bytes, how);
    if (!decoded.usable()) return refuse(decoded.trouble, decoded.text);
    work->exif = read_exif(bytes.bytes);
    result.date = work->exif.date;
    result.h = decoded.image.h, result.w = decoded.image.w;
    result.damaged = decoded.trouble != DecodeStatus::none;
    result.reason = decoded.text;
    work->areas = areas_of(result.h, result.w, options_.tile ? options_.tile : SIZE_MAX, options_.tile_overlap);
    work->found.resize(work->areas.size());
    work->left = work->areas.size();
    work->image = std::move(decoded.image);
    return work;
}

DetectRun::NetworkInput DetectRun::view(const std::shared_ptr<Work>& work, size_t area) const {
    const Area& a = work->areas[area];
    NetworkInput view{.work = work, .area = area};
    view.letterbox = letterbox(
        {.h = a.h, .w = a.w, .out_h = options_.image_size, .out_w = options_.image_size, .stride = options_.stride});
    const bool whole = a.h == work->image.h && a.w == work->image.w;
    view.input.resize(view.letterbox.out_h * view.letterbox.out_w * 3);
    letterbox_image(whole ? work->image : part(work->image, a), view.letterbox, Filter::linear, view.input.data());
    return view;
}

void DetectRun::record(const Work& work) {
    offset_[work.file] = journal_->append(one_line(to_json(work.result)));
    ++counts_.done;
    counts_.failed += !work.result.failure.empty();
    counts_.damaged += work.result.damaged;
}

void DetectRun::finish(Work& work) {
    std::vector<Box> boxes;
    if (work.areas.size() == 1) {
        for (const PartBox& b : work.found[0]) boxes.push_back(b.box);
    } else {
        std::vector<PartBox> all;
        for (const std::vector<PartBox>& found : work.found) all.insert(all.end(), found.begin(), found.end());
        boxes = merged_boxes(std::move(all), options_.overlap);
    }
    work.result.detections = detections_of(boxes, work.result.h, work.result.w);
    if (options_.on_image) options_.on_image(work.result, work.image, work.exif);
    record(work);
}

void DetectRun::detect(std::vector<NetworkInput> group) {
    const size_t h = group[0].letterbox.out_h, w = group[0].letterbox.out_w;
    std::vector<uint8_t> images;
    if (group.size() == 1)
        images = std::move(group[0].input);
    else
        for (const NetworkInput& view : group) images.insert(images.end(), view.input.begin(), view.input.end());
    const std::vector<std::vector<Box>> boxes = options_.network(images, h, w);
    for (size_t i = 0; i < group.size(); ++i) {
        Work& work = *group[i].work;
        const Area& area = work.areas[group[i].area];
        work.found[group[i].area] =
            part_boxes(image_boxes(boxes.at(i), group[i].letterbox, area), area, work.result.h, work.result.w);
        if (--work.left == 0) finish(work);
    }
}

bool DetectRun::run(const std::function<bool(const DetectCounts&)>& progress) {
    std::vector<size_t> pending;
    for (size_t i = 0; i < offset_.size(); ++i)
        if (offset_[i] == kNone) pending.push_back(i);
    Prefetcher feed(*this, std::move(pending));
    std::map<std::pair<size_t, size_t>, std::vector<NetworkInput>> groups;  // by the size of the network's input
    const auto waiting = [&] {
        size_t n = 0;
        for (const auto& [size, group] : groups) n += group.size();
        return n;
    };
    const auto flush = [&](auto group) {
        std::vector<NetworkInput> views = std::move(group->second);
        groups.erase(group);
        detect(std::move(views));
    };
    while (std::optional<NetworkInput> view = feed.next()) {
        if (view->work->areas.empty()) {
            record(*view->work);
        } else {
            const auto group = groups.try_emplace({view->letterbox.out_h, view->letterbox.out_w}).first;
            group->second.push_back(std::move(*view));
            if (group->second.size() == options_.batch)
                flush(group);
            else if (waiting() >= 4 * options_.batch)
                flush(std::ranges::max_element(groups, {}, [](const auto& g) { return g.second.size(); }));
        }
        if (progress && !progress(counts_)) return false;
    }
    while (!groups.empty()) {
        flush(groups.begin());
        if (progress && !progress(counts_)) return counts_.done == offset_.size();
    }
    return true;
}

ImageResult DetectRun::result(size_t file) const {
    return result_from_json(ordered_json::parse(journal_->line(offset_.at(file))));
}
