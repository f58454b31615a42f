// Cameras, times and sizes from the files; parts; the fingerprint.
#include "data/dataset_parts.h"

#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>
#include <unordered_map>

#include "base/error.h"
#include "data/bursts.h"
#include "data/exif.h"
#include "data/image.h"
#include "data/split.h"

namespace fs = std::filesystem;

namespace {

constexpr size_t kExifBytes = 68 << 10;  // an EXIF segment ends within 64 KiB, a JFIF segment may come first

// As many as hold the EXIF segment of a JPEG and the header of any image.
std::vector<uint8_t> first_bytes(const std::string& path) {
    std::vector<uint8_t> head(kExifBytes);
    std::ifstream in(path, std::ios::binary);
    in.read(reinterpret_cast<char*>(head.data()), std::streamsize(head.size()));
    head.resize(size_t(std::max<std::streamsize>(0, in.gcount())));
    return head;
}

Decoded header_in(const std::vector<uint8_t>& head, const std::string& path) {
    const DecodeOptions size_only{.size_only = true};
    const Decoded decoded = decode_image(head, size_only);
    switch (decoded.trouble) {  // more bytes would not change these
        case DecodeStatus::none:
        case DecodeStatus::unsupported:
        case DecodeStatus::not_an_image:
        case DecodeStatus::too_large: return decoded;
        default: return read_image(path, size_only);
    }
}

// Equal for two names of one file. Size and time are there for file systems whose numbers are not unique.
using FileId = std::array<uint64_t, 5>;

// All zeros if there is no file.
FileId read_file_facts(const std::string& path, bool exif_wanted, const WantedFacts& wanted, Sample& sample) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) info = {};
    const FileId id{uint64_t(info.st_dev), uint64_t(info.st_ino), uint64_t(info.st_size), uint64_t(info.st_mtim.tv_sec),
                    uint64_t(info.st_mtim.tv_nsec)};
    sample.bytes = uint64_t(info.st_size);
    if (id == FileId{} || !(exif_wanted || wanted.size)) return id;
    const std::vector<uint8_t> head = first_bytes(path);
    if (wanted.size) {
        const Decoded decoded = header_in(head, path);
        sample.h = decoded.full_h, sample.w = decoded.full_w;
    }
    if (!exif_wanted) return id;
    const Exif exif = exif_of_file(head, path);
    if (sample.time < 0) sample.time = exif_seconds(exif.date);  // the labels may know better: clocks are wrong
    const std::string kind = exif.model.starts_with(exif.make) ? exif.model : exif.make + " " + exif.model;
    if (wanted.serial_first && !exif.serial.empty()) sample.camera = exif.serial;
    if (sample.camera.empty()) sample.camera = !exif.serial.empty() ? exif.serial : kind == " " ? "" : kind;
    return id;
}

}  // namespace

std::string with_slashes(std::string path) {
    if (path.find('/') == path.npos) std::ranges::replace(path, '\\', '/');
    return path;
}

Decoded read_header(const std::string& path) { return header_in(first_bytes(path), path); }

std::optional<Part> part_of(const std::string& name) {
    static const std::map<std::string, Part> kNames{{"train", Part::train},         {"training", Part::train},
                                                    {"val", Part::validation},      {"valid", Part::validation},
                                                    {"validate", Part::validation}, {"validation", Part::validation},
                                                    {"test", Part::test},           {"testing", Part::test}};
    const auto found = kNames.find(lower(name));
    return found == kNames.end() ? std::nullopt : std::optional(found->second);
}

void refuse_repeated_images(const std::string& path, const Dataset& data) {
    std::unordered_map<std::string, std::string> folders;  // as they are written, and as they are
    std::unordered_map<std::string, const Sample*> seen;
    for (const Sample& sample : data.samples) {
        const std::string file = data.path(sample), written = file.substr(0, file.rfind('/') + 1);
        const auto [folder, is_new] = folders.try_emplace(written);
        std::error_code error;
        if (is_new) {
            folder->second = fs::weakly_canonical(written.empty() ? "." : written, error).string() + "/";
            if (error) folder->second = written;
        }
        const auto [first, once] = seen.try_emplace(folder->second + file.substr(written.size()), &sample);
        if (once) continue;
        const bool same = first->second->name == sample.name;
        fail(Fault::usage, "{}: the image {} occurs twice{}", path, sample.name,
             same ? "" : ", also as " + first->second->name);
    }
}

void read_all_facts(Dataset& data, const DatasetOptions& options, const WantedFacts& wanted) {
    std::atomic<size_t> next = 0;
    std::vector<FileId> ids(data.samples.size());
    const auto read = [&] {
        for (size_t i; (i = next++) < data.samples.size();)
            ids[i] = read_file_facts(data.path(data.samples[i]), options.read_exif, wanted, data.samples[i]);
    };
    std::vector<std::jthread> others;
    try {
        while (others.size() + 1 < size_t(std::max(1, options.threads))) others.emplace_back(read);
    } catch (const std::system_error&) {  // the system gives no more threads
    }
    read();
    others.clear();
    std::map<FileId, size_t> seen;
    size_t links = 0;
    std::string first_link;
    for (size_t i = 0; i < ids.size(); ++i) {
        const auto [first, once] = seen.emplace(ids[i], i);
        if (once || ids[i] == FileId{}) continue;
        const std::string name = data.path(data.samples[i]), other = data.path(data.samples[first->second]);
        if (!options.links)
            fail(Fault::usage,
                 "{}: is one file with {}, by a link: the image would count twice, and train and validate alike; "
                 "remove one of the two names",
                 name, other);
        if (links++ == 0) first_link = fmt::format("{} is {}", name, other);
    }
    if (links)
        data.notes.push_back(fmt::format(
            "{} images are links to others of them: they count twice, and may be trained and validated on alike "
            "(first: {})",
            links, first_link));
}

namespace {

// The groups that the parts keep together, if the files tell.
const char* together_text(const Dataset& data, SplitBy by) {
    if (by == SplitBy::camera) return ", whole cameras";
    const bool any =
        std::ranges::any_of(data.samples, [](const Sample& s) { return s.time >= 0 || !s.sequence.empty(); });
    return any ? ", bursts kept together" : "";
}

void split_and_note(bool has_parts, const DatasetOptions& options, size_t labels, Dataset& data) {
    split_samples(data.samples, {.seed = options.seed,
                                 .by = options.split_by,
                                 .validation = options.validation,
                                 .test = has_parts ? 0 : options.test,
                                 .classes = labels});
    if (!options.for_training) return;
    const char* together = together_text(data, options.split_by);
    const size_t validation = data.part(Part::validation).size();
    data.notes.push_back(
        has_parts ? fmt::format("no validation images given: {} taken from train{}", validation, together)
                  : fmt::format("split by seed {}{}: {} train, {} validation, {} test", options.seed, together,
                                data.part(Part::train).size(), validation, data.part(Part::test).size()));
    if (!validation && options.validation > 0)
        data.notes.push_back(
            "no images are left for validation: the groups that stay together are too large; give the "
            "parts (folders train, val and test, or a column split)");
}

}  // namespace

void make_parts(bool has_parts, const DatasetOptions& options, size_t labels, Dataset& data) {
    const bool given =
        has_parts && std::ranges::any_of(data.samples, [](const Sample& s) { return s.part == Part::validation; });
    if (!given) split_and_note(has_parts, options, labels, data);
    const bool made = !given && options.validation + options.test > 0;
    if (options.for_training)
        for (std::string& warning : split_warnings(data, options.split_by, made))
            data.notes.push_back(std::move(warning));
}

Fingerprint fingerprint_of(const Dataset& data, bool boxes) {
    Fingerprint result{.images = data.samples.size()};
    XXH3_state_t* state = XXH3_createState();
    XXH3_128bits_reset(state);
    for (const Sample& sample : data.samples) {
        std::string line = fmt::format("{}{}{}{}{}", sample.name, '\0', sample.bytes, '\0', int(sample.part));
        if (!boxes) line += data.classes[sample.label];
        for (const TrueBox& b : sample.boxes)
            line += fmt::format(" {} {} {} {} {}", data.classes[b.category], b.x, b.y, b.w, b.h);
        line += '\n';
        XXH3_128bits_update(state, line.data(), line.size());
        result.bytes += sample.bytes;
    }
    const XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    result.hash = fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
    return result;
}

const char* part_name(Part part) {
    return part == Part::train ? "train" : part == Part::validation ? "validation" : "test";
}

void Dataset::watch_drive() {
    drive = std::make_shared<const DriveWatch>(samples.size(), [this](size_t i) { return path(samples[i]); });
}

std::string Dataset::path(const Sample& sample) const { return (fs::path(root) / sample.name).string(); }

std::vector<uint32_t> Dataset::part(Part part) const {
    std::vector<uint32_t> numbers;
    for (uint32_t i = 0; i < samples.size(); ++i)
        if (samples[i].part == part) numbers.push_back(i);
    return numbers;
}

std::vector<size_t> Dataset::class_counts(Part part) const {
    std::vector<size_t> counts(classes.size());
    for (const Sample& sample : samples) counts[sample.label] += sample.part == part;
    return counts;
}

std::vector<size_t> Dataset::box_counts(Part part) const {
    std::vector<size_t> counts(classes.size());
    for (const Sample& sample : samples)
        if (sample.part == part)
            for (const TrueBox& box : sample.boxes) ++counts[box.category];
    return counts;
}
