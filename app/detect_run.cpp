#include "app/detect_run.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "data/fit.h"
#include "engine/require.h"

using nlohmann::ordered_json;

namespace {

constexpr uint64_t kNone = ~uint64_t(0);

}  // namespace

std::string json_name(const std::string& name) { return ordered_json::parse(one_line(ordered_json(name))).get<std::string>(); }

struct DetectRun::Item {
    size_t file = 0;
    PictureResult result = {};
    Letterbox letterbox = {};
    std::vector<uint8_t> input = {};  // (out_h, out_w, 3); empty where the picture could not be read
    Picture picture = {};             // only where someone wants it
    Exif exif = {};
};

// The threads that load pictures, and the bounded queue between them and the network.
class DetectRun::Feed {
public:
    Feed(const DetectRun& run, std::vector<size_t> files) : run_(run), files_(std::move(files)), room_(2 * run.options_.batch + 2) {
        const size_t threads = std::clamp<size_t>(run.options_.threads, 1, std::max<size_t>(files_.size(), 1));
        for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    }
    ~Feed() {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
        }
        changed_.notify_all();
    }

    std::optional<Item> next() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return error_ || !queue_.empty() || finished_ == files_.size(); });
        if (error_) std::rethrow_exception(error_);
        if (queue_.empty()) return {};
        Item item = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        changed_.notify_all();
        return item;
    }

private:
    void work() {
        for (;;) {
            std::unique_lock lock(mutex_);
            // Those who are loading will need room too.
            changed_.wait(lock, [&] { return stopped_ || queue_.size() + loading_ < room_; });
            if (stopped_ || next_ == files_.size()) return;
            const size_t file = files_[next_++];
            ++loading_;
            lock.unlock();
            Item item;
            std::exception_ptr error;
            try {
                item = run_.load(file);
            } catch (...) {
                error = std::current_exception();
            }
            lock.lock();
            --loading_;
            ++finished_;
            if (error)
                error_ = error;
            else
                queue_.push_back(std::move(item));
            lock.unlock();
            changed_.notify_all();
        }
    }

    const DetectRun& run_;
    const std::vector<size_t> files_;
    const size_t room_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Item> queue_;
    std::exception_ptr error_;
    size_t next_ = 0, loading_ = 0, finished_ = 0;
    bool stopped_ = false;
    std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

DetectRun::DetectRun(DetectOptions options) : options_(std::move(options)), offset_(options_.files.size(), kNone) {
    std::unordered_map<std::string, size_t> index;  // only while the journal is read
    journal_ = std::make_unique<Journal>(options_.journal, options_.settings, [&](std::string_view line, uint64_t offset) {
        if (index.empty())
            for (size_t i = 0; i < options_.files.size(); ++i) index[json_name(options_.files[i])] = i;
        const ordered_json json = ordered_json::parse(line);
        const auto found = index.find(json.at("file").get<std::string>());
        if (found == index.end()) return;  // a picture that is no longer asked for
        uint64_t& known = offset_[found->second];
        if (known != kNone) return;
        known = offset;
        ++counts_.done, ++counts_.resumed;
        counts_.failed += json.contains("failure");
        counts_.damaged += json.value("damaged", false);
    });
}

DetectRun::Item DetectRun::load(size_t file) const {
    const std::string& name = options_.files[file];
    Item item{.file = file, .result = {.file = json_name(name)}};
    const auto refuse = [&](Trouble trouble, const std::string& text) {
        item.result.failure = "image access failure";
        item.result.reason = fmt::format("{}: {}", trouble_code(trouble), text);
        return std::move(item);
    };
    const DecodeOptions how;
    const PictureFile bytes = read_picture_file((options_.base / name).string(), how.max_file_bytes);
    if (bytes.trouble != Trouble::none) return refuse(bytes.trouble, bytes.text);
    Decoded decoded = decode_picture(bytes.bytes, how);
    if (!decoded.usable()) return refuse(decoded.trouble, decoded.text);
    item.exif = read_exif(bytes.bytes);
    item.result.date = item.exif.date;
    item.result.h = decoded.picture.h, item.result.w = decoded.picture.w;
    item.result.damaged = decoded.trouble != Trouble::none;
    item.result.reason = decoded.text;
    item.letterbox = letterbox({.h = decoded.picture.h, .w = decoded.picture.w, .out_h = options_.image_size, .out_w = options_.image_size,
                                .stride = options_.stride});
    item.input.resize(item.letterbox.out_h * item.letterbox.out_w * 3);
    letterbox_picture(decoded.picture, item.letterbox, Filter::linear, item.input.data());
    if (options_.on_picture) item.picture = std::move(decoded.picture);
    return item;
}

void DetectRun::record(const Item& item) {
    offset_[item.file] = journal_->append(one_line(to_json(item.result)));
    ++counts_.done;
    counts_.failed += !item.result.failure.empty();
    counts_.damaged += item.result.damaged;
}

void DetectRun::detect(std::vector<Item> group) {
    const size_t h = group[0].letterbox.out_h, w = group[0].letterbox.out_w;
    std::vector<uint8_t> pictures;
    if (group.size() == 1) pictures = std::move(group[0].input);
    else for (const Item& item : group) pictures.insert(pictures.end(), item.input.begin(), item.input.end());
    const std::vector<std::vector<Box>> boxes = options_.network(pictures, h, w);
    for (size_t i = 0; i < group.size(); ++i) {
        Item& item = group[i];
        item.result.detections = detections_of(boxes.at(i), item.letterbox, item.result.h, item.result.w);
        if (options_.on_picture) options_.on_picture(item.result, item.picture, item.exif);
        record(item);
    }
}

bool DetectRun::run(const std::function<bool(const DetectCounts&)>& progress) {
    std::vector<size_t> pending;
    for (size_t i = 0; i < offset_.size(); ++i)
        if (offset_[i] == kNone) pending.push_back(i);
    Feed feed(*this, std::move(pending));
    std::map<std::pair<size_t, size_t>, std::vector<Item>> groups;  // by the size of the network's input
    const auto waiting = [&] {
        size_t n = 0;
        for (const auto& [size, group] : groups) n += group.size();
        return n;
    };
    const auto flush = [&](auto group) {
        std::vector<Item> items = std::move(group->second);
        groups.erase(group);
        detect(std::move(items));
    };
    while (std::optional<Item> item = feed.next()) {
        if (item->input.empty()) {
            record(*item);
        } else {
            const auto group = groups.try_emplace({item->letterbox.out_h, item->letterbox.out_w}).first;
            group->second.push_back(std::move(*item));
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

PictureResult DetectRun::result(size_t file) const { return result_from_json(ordered_json::parse(journal_->line(offset_.at(file)))); }
