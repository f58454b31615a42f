#include "app/detect/run.h"

#include <algorithm>
#include <map>
#include <optional>

#include "app/detect/image_outputs.h"
#include "app/detect/run_inputs.h"
#include "data/fit.h"

struct DetectRun::Running {
    std::vector<NetworkInput> group;
    std::function<Boxes()> boxes;
};

DetectRun::DetectRun(DetectOptions options)
    : options_(std::move(options)),
      failed_(options_.files.size()),
      damaged_(options_.files.size()),
      bytes_(options_.cameras ? options_.files.size() : 0),
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
        [&](const RecordJournal::Json& record) { resumed(record); }, options_.handed);
    std::erase_if(changed_, [&](size_t file) { return journal_->has(file); });  // looked at again since
    for (size_t file = 0; file < options_.files.size(); ++file)
        if (settled(file)) {
            ++counts_.done, ++counts_.resumed;
            counts_.failed += failed_[file];
            counts_.damaged += damaged_[file];
        }
}

// 0: it is not there now.
uint32_t DetectRun::bytes_now(size_t file) {
    std::error_code missing;
    if (!bytes_[file])
        if (const auto size = std::filesystem::file_size(options_.base / std::string(options_.files[file]), missing);
            !missing)
            bytes_[file] = uint32_t(size);
    return bytes_[file];
}

size_t DetectRun::record_number(const RecordJournal::Json& record) {
    size_t stage = kBoxes;
    if (record.contains("quality")) stage = kQuality;
    if (record.contains("species")) stage = kSpecies;
    const size_t file = options_.files.find(record.at("file").get<std::string>());
    if (file == options_.files.size()) return SIZE_MAX;
    const auto bytes = record.value("bytes", uint32_t(0));
    const bool other = options_.check_files && bytes && bytes_now(file) && bytes != bytes_now(file);
    if (other)
        changed_.insert(file);
    else if (bytes && stage == kBoxes)
        changed_.erase(file);  // looked at again since, by whatever model
    if (other || record.value("key", "") != options_.keys[stage]) return SIZE_MAX;
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

void DetectRun::add_record(Stage stage, size_t file, RecordJournal::Json record) {
    if (stage != kBoxes) record["file"] = json_name(options_.files[file]);
    if (!options_.keys[stage].empty()) record["key"] = options_.keys[stage];
    if (options_.cameras && bytes_[file]) record["bytes"] = bytes_[file];
    journal_->add(stage * options_.files.size() + file, record);
    count_if_complete(file);
}

void DetectRun::count_if_complete(size_t file) {
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
    running_.push_back(std::make_shared<Running>(Running{std::move(group), std::move(boxes)}));
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
        job.found[input.region] = part_boxes(image_boxes(boxes.at(i), input.letterbox, region, options_.whole_padding),
                                             region, job.result.h, job.result.w);
        if (--job.without_boxes == 0) finish(job);
    }
}

// Returns the part of this process.
std::vector<size_t> DetectRun::hand_over(const std::vector<size_t>& files, Helpers& helpers) const {
    const size_t parts = helpers.parts(files.size());
    std::vector<size_t> own;
    for (size_t part = 0; part < parts; ++part) {
        HandedWork work{.base = options_.base.string()};
        for (size_t i = part; i < files.size(); i += parts) {
            if (part == 0) own.push_back(files[i]);
            if (part == 0) continue;
            work.images.emplace_back(options_.files[files[i]]);
            for (size_t number = files[i]; number < journal_->size(); number += options_.files.size())
                if (journal_->has(number)) work.records.push_back(journal_->line(number));
        }
        if (part) helpers.start(work);
    }
    return own;
}

// From a helper.
void DetectRun::take_record(const std::string& line) {
    const RecordJournal::Json record = RecordJournal::Json::parse(line);
    const size_t number = record_number(record);
    if (number >= journal_->size()) return;
    // A helper that began when the drive was away does not know that its images could be read.
    if (const std::string reason = record.value("reason", "");
        reason.starts_with("missing:") || reason.starts_with("unreadable:"))
        drive_.require_drive((options_.base / std::string(options_.files[number % options_.files.size()])).string());
    resumed(record);
    journal_->add_line(number, line);
    count_if_complete(number % options_.files.size());
}

bool DetectRun::run(const std::function<bool(const DetectCounts&)>& progress, Helpers* helpers) {
    std::vector<size_t> pending;
    pending.reserve(options_.files.size() - counts_.done);
    for (size_t i = 0; i < options_.files.size(); ++i)
        if (!settled(i)) pending.push_back(i);
    if (!pending.empty() && counts_.resumed > counts_.failed) drive_.require_any();
    if (helpers && helpers->parts(pending.size()) > 1) pending = hand_over(pending, *helpers);
    const auto take = [this](const std::string& line) { take_record(line); };
    const auto goes_on = [&] {
        if (helpers) helpers->take(take, false);
        return !progress || progress(counts_);
    };
    const auto stopped = [&] {
        while (!running_.empty()) take_boxes();
        if (helpers) helpers->stop(take);
        if (progress) progress(counts_);
        return counts_.done == options_.files.size();
    };
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
        if (!goes_on()) return stopped();
    }
    while (!groups.empty()) {
        flush(groups.begin());
        if (!goes_on()) return stopped();
    }
    while (!running_.empty()) take_boxes();
    quality_.flush();
    species_.flush();
    while (helpers && helpers->take(take, true))
        if (progress && !progress(counts_)) return stopped();
    if (progress) progress(counts_);
    if (!helpers || counts_.done == options_.files.size()) return true;
    // Records of a helper did not count: a file changed meanwhile, or its GPU has other instructions.
    options_.retry_failures = false;
    return run(progress);
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
