#include "app/export/copies.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "app/detect/result_file.h"
#include "app/export/survey_files.h"
#include "app/jobs/names.h"
#include "app/review/state.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "data/image.h"
#include "data/jpeg_writer.h"
#include "data/listing.h"

namespace {

namespace fs = std::filesystem;

constexpr double kMargin = 0.1;  // of a box, on every side
constexpr size_t kBlocks = 4;    // across the shorter side of a box: neither a face nor a number plate is left
constexpr size_t kSmallestBlock = 8;

void make_coarse(Image& image, const AnsweredBox& box) {
    const auto edge = [](double at, size_t side) { return size_t(std::clamp(at * double(side), 0.0, double(side))); };
    const size_t left = edge(box.x - kMargin * box.w, image.w), top = edge(box.y - kMargin * box.h, image.h);
    const size_t right = std::min(image.w, edge(box.x + box.w * (1 + kMargin), image.w) + 1);
    const size_t bottom = std::min(image.h, edge(box.y + box.h * (1 + kMargin), image.h) + 1);
    const size_t block = std::max(kSmallestBlock, (std::min(right - left, bottom - top) + kBlocks - 1) / kBlocks);
    for (size_t y = top; y < bottom; y += block)
        for (size_t x = left; x < right; x += block) {
            const size_t end_x = std::min(x + block, right), end_y = std::min(y + block, bottom);
            std::array<uint64_t, 3> sum{};
            for (size_t v = y; v < end_y; ++v)
                for (size_t u = x; u < end_x; ++u)
                    for (size_t c = 0; c < 3; ++c) sum[c] += image.rgb[(v * image.w + u) * 3 + c];
            const uint64_t count = (end_x - x) * (end_y - y);
            for (size_t v = y; v < end_y; ++v)
                for (size_t u = x; u < end_x; ++u)
                    for (size_t c = 0; c < 3; ++c) image.rgb[(v * image.w + u) * 3 + c] = uint8_t(sum[c] / count);
        }
}

void make_folder(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) fail(Fault::environment, "{}: cannot create the folder: {}", folder.string(), error.message());
}

// The reason why the image cannot be copied, "" if it was.
std::string copy_image(const AnsweredImage& image, const CopyOptions& o, const fs::path& from, bool& blurred) {
    if (image.final == "failed" || image.has_problem) return "the image could not be read as a whole";
    std::vector<const AnsweredBox*> hidden;
    for (const AnsweredBox& box : image.boxes)
        if (o.blur.contains(box.category) || (o.blur.contains("person") && is_human(box.best))) hidden.push_back(&box);
    // Of a weak box nobody knows whether it is the person that the answer means.
    if (std::ranges::none_of(hidden, &AnsweredBox::counts) && image.final == "human" && o.blur.contains("person"))
        return "it shows people or vehicles, but no box says where";
    fs::path to = o.out / image.file;
    if (hidden.empty()) {
        const FileBytes bytes = read_file(from);
        make_folder(to.parent_path());
        write_file_durably(
            to, [&](FileWriter& file) { file.write(bytes.text()); }, false);
        return "";
    }
    Decoded decoded = read_image(from.string());
    if (decoded.trouble != DecodeStatus::none) return decoded.text;
    for (const AnsweredBox* box : hidden) make_coarse(decoded.image, *box);
    const FileBytes bytes = read_file(from);
    Exif exif = exif_of({reinterpret_cast<const uint8_t*>(bytes.memory.get()), bytes.size});
    exif.orientation = 1;
    if (!is_jpeg_name(to.extension().string())) to += ".jpg";
    make_folder(to.parent_path());
    write_jpeg(to.string(), decoded.image.rgb.data(), decoded.image.h, decoded.image.w, {.quality = 92}, &exif);
    blurred = true;
    return "";
}

void refuse_folders(const CopyOptions& o, const fs::path& images) {
    const fs::path inside = fs::weakly_canonical(o.out).lexically_relative(fs::weakly_canonical(images));
    if (!inside.empty() && *inside.begin() != "..")
        fail(Fault::usage, "--copies {}: lies inside the folder of the images ({}); choose one outside of it",
             o.out.string(), images.string());
    if (std::error_code none; fs::exists(o.out, none) && !(fs::is_directory(o.out) && fs::is_empty(o.out, none)))
        fail(Fault::usage, "--copies {}: is not empty; name a new folder", o.out.string());
}

}  // namespace

CopySummary write_copies(const CopyOptions& o, const std::function<bool(size_t, size_t)>& progress) {
    const SurveyAnswers answers = read_answers(o.source);
    for (const std::string& name : o.blur)
        if (!answers.categories.contains(name))
            fail(Fault::usage, "--blur {}: {} has no such category; it has {}", name, o.source.string(),
                 fmt::join(answers.categories, ", "));
    if (answers.images.empty()) fail(Fault::usage, "{}: holds no images", o.source.string());
    const fs::path beside = fs::is_directory(o.source) ? o.source / "results.json" : o.source;
    const auto plain = std::ranges::find_if(
        answers.images, [](const AnsweredImage& image) { return raw_name(image.file) == image.file; });
    const std::string first =
        plain == answers.images.end() ? raw_name(answers.images[0].file) : plain->file;  // named the same everywhere
    const fs::path images =
        folder_of_images(beside, o.images.empty() ? answers.base : o.images, first, "name their folder with --images");
    refuse_folders(o, images);
    make_folder(o.out);
    CopySummary summary;
    summary.notes = answers.notes;
    std::string list = "file,reason\n";
    std::map<std::string, std::pair<size_t, std::string>> reasons;
    for (AnsweredImage image : answers.images) {
        image.file = name_on_disk(images, image.file);
        bool blurred = false;
        std::string reason;
        try {
            reason = copy_image(image, o, images / image.file, blurred);
        } catch (const Error& error) {
            if (error.fault == Fault::environment) throw;
            reason = error.what();
        }
        if (reason.empty()) {
            ++summary.copied;
            summary.blurred += blurred;
        } else {
            ++summary.left_out;
            list += csv_field(image.file) + "," + csv_field(reason) + "\n";
            auto& [number, first] = reasons[image.final == "human" ? reason : "could not be read as a whole"];
            if (number++ == 0) first = image.file;
        }
        if (progress && !progress(summary.copied + summary.left_out, answers.images.size())) return summary;
    }
    for (const auto& [reason, seen] : reasons)
        summary.notes.push_back(fmt::format("{} images are not copied: {} (first: {}); not_copied.csv lists them",
                                            seen.first, reason, seen.second));
    if (summary.left_out) write_file_durably(o.out / "not_copied.csv", [&](FileWriter& file) { file.write(list); });
    return summary;
}
