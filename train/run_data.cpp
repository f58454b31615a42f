#include "train/run_data.h"

#include <algorithm>

#include "base/error.h"
#include "data/dataset_parts.h"

namespace fs = std::filesystem;

namespace {

constexpr double kMissingShare = 0.05;  // of the bytes; less is a change and not a drive that is not there

// Figures of a part without readable images would come from nothing.
void require_readable_parts(const TrainConfig& config, const Dataset& data) {
    for (const Part part : {Part::train, Part::validation, Part::test}) {
        std::string first;
        const std::vector<uint32_t> samples = data.part(part);
        const bool readable = std::ranges::any_of(samples, [&](uint32_t sample) {
            const std::string path = data.path(data.samples[sample]);
            const Decoded header = read_header(path);
            if (first.empty()) first = path + ": " + header.text;
            return header.trouble == DecodeStatus::none;
        });
        if (!readable && !samples.empty())
            fail(Fault::usage, "{}: none of its {} {} images can be read (first: {})", config.data, samples.size(),
                 part_name(part), first);
    }
}

Dataset opened(Task& task, TrainConfig& config, bool begun) {
    Dataset data = task.open_data(begun);  // earlier versions trained on links, too
    require_readable_parts(config, data);
    if (!config.classes.empty() && config.classes != data.classes)
        fail(Fault::usage, "{}: its classes are {}, the configuration names {}", config.data,
             fmt::join(data.classes, ", "), fmt::join(config.classes, ", "));
    config.classes = data.classes;
    return data;
}

}  // namespace

Dataset open_run_data(Task& task, TrainConfig& config, const RunFolder& folder, bool plan_only, const Note& note) {
    config.data = fs::absolute(config.data).lexically_normal().string();
    const std::optional<RecordedData> before = folder.recorded_data(config.data);
    if (!before) return opened(task, config, false);
    const bool finished = folder.finished();
    constexpr const char* kAdvice = "connect their drive and run the same command again, or start over with --fresh";
    Dataset data;
    try {
        data = opened(task, config, true);
    } catch (const Error& e) {
        if (e.fault != Fault::usage || (finished && plan_only)) throw;
        if (!finished)
            fail(Fault::environment, "{}; the images were there when the run in {} began: {}", e.what(),
                 folder.path().string(), kAdvice);
        note(fmt::format("the images of this run cannot be opened any more: {}", e.what()));
        config.classes = before->classes;
        return data;
    }
    if (data.fingerprint.hash == before->hash) return data;
    const std::string change =
        fmt::format("{} images of {} bytes now, {} of {} when the run began", data.fingerprint.images,
                    data.fingerprint.bytes, before->images, before->bytes);
    if (finished)
        note(fmt::format("the images have changed since this run: {}", change));
    else if (double(data.fingerprint.bytes) < (1 - kMissingShare) * double(before->bytes))
        fail(Fault::environment, "{}: images are missing ({}); {}", config.data, change, kAdvice);
    return data;
}

void require_images(const Dataset& data, Part part, const std::vector<FailedImage>& bad_files) {
    const size_t images = data.part(part).size();
    if (images && size_t(std::ranges::count(bad_files, false, &FailedImage::used)) == images)
        throw ImagesLost(Fault::usage, fmt::format("none of {} {} images could be read (first: {})", images,
                                                   part_name(part), bad_files[0].note()));
}

void require_same_run(const TrainingState& checkpoint, const TrainConfig& config, const Dataset& data,
                      size_t total_steps, const RunFolder& folder) {
    if (checkpoint.data_fingerprint != data.fingerprint.hash)
        fail(Fault::usage,
             "{}: was trained on other images than {} holds now, or on others of them (this version knows more dates "
             "and folders than earlier ones and may split differently); use --fresh to start over, or another --out",
             folder.path().string(), config.data);
    if (checkpoint.config_hash != config_hash(config) || checkpoint.total_steps != total_steps)
        fail(Fault::usage,
             "{}: its checkpoints belong to another configuration; use --fresh to start over, or another --out",
             folder.path().string());
}
