// Rows are handed to workers one by one in a fixed order; a batch is ready when its last row is.
#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Loader::Loader(const Dataset& data, std::vector<uint32_t> samples, const LoaderOptions& options, Cache* cache)
    : data_(data), samples_(std::move(samples)), options_(options), cache_(cache), image_bytes_(options.fit.bytes()) {
    require(!samples_.empty(), "loader: no samples");
    require(options_.batch > 0 && options_.ahead > 0, "loader: batch {} and ahead {} must be positive", options_.batch,
            options_.ahead);
    require(!options_.boxes || options_.fit.mode == FitMode::letterbox, "loader: images with boxes are letterboxed");
    std::pmr::memory_resource* const memory = options_.memory ? options_.memory : std::pmr::new_delete_resource();
    slots_.reserve(options_.ahead + 2);
    while (slots_.size() < slots_.capacity())
        slots_.push_back({.batch = {.images = std::pmr::vector<uint8_t>(options_.batch * image_bytes_, memory)}});
    start(0, 0);
}

std::string FailedImage::note() const {
    return fmt::format("{}: {} ({}){}", path, text, code, used ? ", used as far as it decodes" : "");
}

Batch blank_batch(const LoaderOptions& o) {
    Batch batch;
    batch.images.assign(o.batch * o.fit.bytes(), 128);
    for (size_t i = 0; i < o.batch; ++i)
        batch.transform.insert(batch.transform.end(), {1, 0, 0, 0, 1, 0}),
            batch.color.insert(batch.color.end(), {1, 0});
    batch.labels.assign(o.batch, 0);
    batch.samples.assign(o.batch, 0);
    if (o.boxes) batch.boxes.assign(o.batch * o.boxes->max_boxes * 5, -1);
    return batch;
}

size_t Loader::steps() const {
    const size_t batch = options_.batch * options_.shares;
    const size_t whole = samples_.size() / batch, rest = samples_.size() % batch;
    return rest == 0 || (options_.drop_last && whole > 0) ? whole : whole + 1;
}

void Loader::start(uint64_t epoch, size_t step) {
    prefetcher_.stop();
    first_batch_ = epoch * steps() + step;
    next_row_ = released_ = in_use_ = 0;
    order_.clear();
    const auto has_room = [this] { return next_row_ / options_.batch < released_ + slots_.size(); };
    const auto next_job = [this]() -> Prefetcher::Job {
        const uint64_t serial = next_row_ / options_.batch;
        if (options_.epochs && first_batch_ + serial >= options_.epochs * steps()) return {};
        return [this, ticket = next_ticket()] { make(ticket); };
    };
    prefetcher_.start(size_t(std::max(1, options_.threads)), {.has_room = has_room, .next_job = next_job});
}

// Under the lock, when the first row of a batch is handed out.
void Loader::prepare(Slot& slot) {
    const uint64_t number = first_batch_ + slot.serial, epoch = number / steps();
    const size_t batch = options_.batch, step = size_t(number % steps());
    if (order_.empty() || order_epoch_ != epoch) {
        order_ =
            options_.shuffle ? order(options_.seed, epoch, samples_.size()) : std::vector<uint32_t>(samples_.size());
        if (!options_.shuffle)
            for (uint32_t i = 0; i < order_.size(); ++i) order_[i] = i;
        order_epoch_ = epoch;
    }
    slot.batch.epoch = epoch;
    slot.batch.step = step;
    slot.batch.transform.resize(batch * 6);
    slot.batch.color.resize(batch * 2);
    slot.batch.labels.assign(batch, -1);
    slot.batch.samples.assign(batch, -1);
    if (options_.boxes) slot.batch.boxes.assign(batch * options_.boxes->max_boxes * 5, -1);
    slot.good.assign(batch, 0);
    slot.missing = batch;
    const size_t first = step * batch * options_.shares;
    for (size_t row = 0; row < batch; ++row)
        if (const size_t at = first + row * options_.shares + options_.share; at < samples_.size())
            slot.batch.samples[row] = samples_[order_[at]];
    slot.counts = slot.batch.samples[0] >= 0;
    if (!slot.counts) slot.batch.samples[0] = samples_[order_[first]];
}

// Under the lock.
Loader::Ticket Loader::next_ticket() {
    const uint64_t serial = next_row_ / options_.batch;
    Slot& slot = slots_[serial % slots_.size()];
    const size_t row = size_t(next_row_++ % options_.batch);
    if (row == 0) {
        slot.serial = serial;
        prepare(slot);
    }
    const int64_t sample = slot.batch.samples[row];
    const auto bad = sample < 0 ? bad_.end() : bad_.find(uint32_t(sample));
    return {.slot = &slot,
            .row = row,
            .sample = uint32_t(std::max<int64_t>(0, sample)),
            .known_bad = sample < 0 || (bad != bad_.end() && !bad->second.used)};
}

void Loader::report(uint32_t sample, const Decoded& decoded) {
    const auto lock = prefetcher_.lock();
    bad_.emplace(sample, FailedImage{.path = data_.path(data_.samples[sample]),
                                     .code = trouble_code(decoded.trouble),
                                     .text = decoded.text,
                                     .used = decoded.usable()});
}

// Fills the row's pixels; false if there are none.
bool Loader::make_row(const Ticket& ticket) {
    if (ticket.known_bad) return false;
    if (options_.boxes) return compose_row(ticket);
    return read_pixels(ticket.sample, ticket.slot->batch.images.data() + ticket.row * image_bytes_);
}

bool Loader::compose_row(const Ticket& ticket) {
    Batch& batch = ticket.slot->batch;
    const BoxOptions& options = *options_.boxes;
    const AugmentKey key{.seed = options_.seed, .epoch = batch.epoch, .sample = ticket.sample};
    const Composition composition = compose(options.augment, key, data_, samples_, options_.fit);
    uint8_t* const rgb = batch.images.data() + ticket.row * image_bytes_;
    std::fill_n(rgb, image_bytes_, Paste{}.grey);
    std::vector<uint8_t> pixels(image_bytes_);
    std::vector<std::array<float, 5>> boxes;
    for (const Tile& tile : composition.tiles) {
        const auto bad = bad_file(tile.sample);
        if ((bad && !bad->used) || !read_pixels(tile.sample, pixels.data())) {
            if (tile.sample == ticket.sample) return false;
            continue;  // its part of the mosaic stays grey
        }
        const Sample& sample = data_.samples[tile.sample];
        paste(paste_of(tile, place_in_frame(sample, options_.fit), options_.fit, pixels.data(), rgb));
        append_boxes(tile, sample, options_.fit, boxes);
    }
    for (size_t i = 0; i < std::min(boxes.size(), options.max_boxes); ++i)
        std::ranges::copy(boxes[i], &batch.boxes[(ticket.row * options.max_boxes + i) * 5]);
    std::ranges::copy(composition.color, &batch.color[ticket.row * 2]);
    return true;
}

// From the cache or the file; false if the image is bad.
bool Loader::read_pixels(uint32_t sample, uint8_t* rgb) {
    if (cache_ && cache_->get(sample, rgb)) {
        const auto lock = prefetcher_.lock();
        ++counts_.from_cache;
        return true;
    }
    const auto start = std::chrono::steady_clock::now();
    DecodeOptions options = options_for(options_.fit, options_.limits);
    options.accept_damaged = options_.accept_damaged;
    const std::string path = data_.path(data_.samples[sample]);
    Decoded decoded = read_image(path, options);
    if (data_.drive && (decoded.trouble == DecodeStatus::missing || decoded.trouble == DecodeStatus::unreadable)) {
        data_.drive->require_drive(path);
        decoded = read_image(path, options);  // it may have been away for a moment
    }
    if (decoded.trouble != DecodeStatus::none) report(sample, decoded);
    if (decoded.usable()) fit_image(decoded.image, options_.fit, rgb);
    // A damaged image is decoded every time, so that a later run with the same cache also reports it.
    if (decoded.usable() && decoded.trouble == DecodeStatus::none && cache_) cache_->put(sample, rgb);
    const auto lock = prefetcher_.lock();
    ++counts_.decoded;
    counts_.decoding_seconds += seconds_since(start);
    return decoded.usable();
}

// Augmentation of all rows, and pixels for those that have none.
void Loader::finish(Slot& slot) const {
    Batch& batch = slot.batch;
    std::vector<size_t> good;
    for (size_t row = 0; row < options_.batch; ++row)
        if (slot.good[row]) good.push_back(row);
    const size_t out_size = options_.out_size ? options_.out_size : options_.fit.size;
    for (size_t row = 0, bad = 0; row < options_.batch; ++row) {
        const AugmentKey key{.seed = options_.seed, .epoch = batch.epoch, .sample = uint64_t(batch.samples[row])};
        // Composed images are augmented already, except for color.
        const Augmentation augmented =
            augmentation(options_.boxes ? AugmentRanges{} : options_.augment, key, options_.fit.size, out_size);
        std::copy(augmented.transform.begin(), augmented.transform.end(), &batch.transform[row * 6]);
        if (!options_.boxes || !slot.good[row])
            std::copy(augmented.color.begin(), augmented.color.end(), &batch.color[row * 2]);
        uint8_t* rgb = &batch.images[row * image_bytes_];
        if (slot.good[row])
            batch.labels[row] = slot.counts ? int32_t(data_.samples[size_t(batch.samples[row])].label) : -1;
        else if (good.empty())
            std::memset(rgb, 128, image_bytes_);
        else {
            const size_t other = good[bad++ % good.size()];
            std::memcpy(rgb, &batch.images[other * image_bytes_], image_bytes_);
            const size_t numbers = batch.boxes.size() / options_.batch;
            std::copy_n(batch.boxes.data() + other * numbers, numbers, batch.boxes.data() + row * numbers);
        }
    }
}

void Loader::make(const Ticket& ticket) {
    Slot& slot = *ticket.slot;
    const bool good = make_row(ticket);
    {
        const auto lock = prefetcher_.lock();
        slot.good[ticket.row] = good;
        if (slot.missing > 1) {
            --slot.missing;
            return;
        }
    }
    finish(slot);  // every other row is made, so no other thread touches the slot until it is ready
    const auto lock = prefetcher_.lock();
    slot.missing = 0;
}

const Batch& Loader::next() {
    const auto start = std::chrono::steady_clock::now();
    {
        const auto lock = prefetcher_.lock();
        require(!options_.epochs || first_batch_ + released_ + in_use_ < options_.epochs * steps(),
                "loader: no batch after the last epoch");
        if (in_use_ == 2)
            ++released_;
        else
            ++in_use_;
    }
    prefetcher_.room_changed();
    const uint64_t serial = released_ + in_use_ - 1;
    Slot& slot = slots_[serial % slots_.size()];
    const auto lock = prefetcher_.wait(
        [&] { return next_row_ > serial * options_.batch && slot.serial == serial && slot.missing == 0; });
    counts_.waited_seconds += seconds_since(start);
    return slot.batch;
}

LoaderCounts Loader::counts() const {
    const auto lock = prefetcher_.lock();
    return counts_;
}

std::optional<FailedImage> Loader::bad_file(uint32_t sample) const {
    const auto lock = prefetcher_.lock();
    const auto found = bad_.find(sample);
    return found == bad_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<FailedImage> Loader::bad_files() const {
    std::vector<FailedImage> files;
    {
        const auto lock = prefetcher_.lock();
        for (const auto& [sample, file] : bad_) files.push_back(file);
    }
    std::sort(files.begin(), files.end(), [](const FailedImage& a, const FailedImage& b) { return a.path < b.path; });
    return files;
}
