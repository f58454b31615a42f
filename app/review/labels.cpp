#include "app/review/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "app/detect/image_outputs.h"
#include "app/review/csv_rows.h"
#include "app/review/state.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "data/box_dataset.h"
#include "data/dataset.h"

namespace {

namespace fs = std::filesystem;

bool is_animal(const std::string& category) {
    return category != "none" && category != "person" && category != "human" && category != "vehicle";
}

// The boxes that hold: those that count and those that a person made; what repeats in place is no animal until a person
// says so.
std::vector<StatedBox> true_boxes(const SurveyFolder& survey, const StatedImage& now) {
    if (now.final == "empty" || now.final == "repeated") return {};
    std::vector<StatedBox> boxes;
    for (const StatedBox& box : now.boxes) {
        if (box.category != "none" && !box.repeated && (box.touched || box.confidence >= survey.box_threshold) &&
            box.at[2] > 0 && box.at[3] > 0)
            boxes.push_back(box);
    }
    return boxes;
}

bool has(const std::vector<StatedBox>& boxes, bool animals) {
    return std::ranges::any_of(boxes, [&](const StatedBox& b) { return is_animal(b.category) == animals; });
}

struct Labelled {
    std::string path, label, camera, part = "train";
};

struct Writer {
    const SurveyFolder& survey;
    const CorrectionLog& corrections;
    const fs::path& out;
    const std::string& with;
    std::vector<Labelled> rows = {};
    std::vector<std::string> notes = {};
    size_t labels = 0, unclear = 0, unreadable = 0;

    std::string path(size_t image) const { return fs::absolute(survey.path(image)).string(); }
    std::string camera(size_t image) const {
        const auto row = survey.row(image);
        const auto camera = row.find("camera");
        return survey.sites[survey.images[image].site] + (camera == row.end() ? "" : "/" + camera->second);
    }

    template <class Work>
    void each_reviewed(const Work& work) {
        for (size_t i = 0; i < survey.images.size(); ++i)
            if (const auto* said = corrections.of(survey.file(i))) work(i, state_of(survey, i, said));
    }

    fs::path quality() {
        each_reviewed([&](size_t i, const StatedImage& now) {
            if (now.final == "failed") return;
            const bool bad = now.final == "bad" || now.quality == survey.bad;
            rows.push_back({path(i),
                            bad                   ? survey.bad
                            : now.quality.empty() ? survey.good_of(i)
                                                  : now.quality,
                            camera(i)});
            ++labels;
        });
        return write_rows(true);
    }

    fs::path species() {
        each_reviewed([&](size_t i, const StatedImage& now) {
            if (now.final != "animal") return;
            std::vector<StatedBox> boxes = true_boxes(survey, now);
            std::erase_if(boxes, [](const StatedBox& b) { return !is_animal(b.category); });
            std::map<std::string, int> of_boxes;
            for (const StatedBox& box : boxes) ++of_boxes[box.species.empty() ? box.category : box.species];
            if (now.species.size() == 1)
                for (StatedBox& box : boxes) box.species = now.species.begin()->first;
            else if (of_boxes != now.species)  // said of the image; which box is which is not known
                boxes.clear();
            std::erase_if(boxes, [&](const StatedBox& b) {  // an animal of which nobody said what it is
                return b.species.empty() || std::ranges::find(survey.categories, b.species) != survey.categories.end();
            });
            if (boxes.empty()) return void(++unclear);
            const Decoded decoded = read_image(path(i));
            if (!decoded.usable()) return void(++unreadable);
            ImageResult result{.file = fmt::format("{:07}.jpg", i)};
            for (const StatedBox& box : boxes) {
                result.detections.push_back(
                    {.category = 1, .confidence = 1, .x = box.at[0], .y = box.at[1], .w = box.at[2], .h = box.at[3]});
                rows.push_back(
                    {fmt::format("crops/{:07}_{}.jpg", i, result.detections.size()), box.species, camera(i)});
                ++labels;
            }
            write_images({.crops = out / "crops"}, result, decoded.image, {});
        });
        return write_rows(false);
    }

    // `same_classes`: the other data may not lack a class of ours.
    fs::path write_rows(bool same_classes) {
        if (!with.empty() && labels) add_data(same_classes);
        const bool has_parts = std::ranges::any_of(rows, [](const Labelled& row) { return row.part != "train"; });
        std::string csv = csv_row({"path", "label", "camera"});
        if (has_parts) csv = csv_row({"path", "label", "camera", "split"});
        for (const Labelled& row : rows) {
            std::vector<std::string> fields{row.path, row.label, row.camera};
            if (has_parts) fields.push_back(row.part);
            csv += csv_row(fields);
        }
        return write("labels.csv", csv);
    }
    void add_data(bool same_classes) {
        const Dataset data =
            open_dataset(with, {.validation = 0, .test = 0, .read_exif = false, .for_training = false});
        std::set<std::string> reviewed, added;
        for (const Labelled& row : rows) {
            reviewed.insert(row.path);
            if (std::ranges::find(data.classes, row.label) != data.classes.end()) continue;
            const auto alike = std::ranges::find(data.classes, lower(row.label), lower);
            if (same_classes || alike != data.classes.end())
                fail(Fault::usage, "{}: has no class '{}' of the corrections, but {}; give the classes the same names",
                     with, row.label,
                     alike == data.classes.end() ? fmt::format("{}", fmt::join(data.classes, ", "))
                                                 : "'" + *alike + "'");
            added.insert(row.label);
        }
        if (!added.empty())
            notes.push_back(fmt::format("{}: lacks {} of the corrections' classes, which only they have: {}", with,
                                        added.size(), fmt::join(added, ", ")));
        for (const Sample& sample : data.samples)
            if (std::string file = fs::absolute(data.path(sample)).string(); !reviewed.contains(file))
                rows.push_back({std::move(file), data.classes[sample.label], sample.camera, part_name(sample.part)});
    }

    fs::path boxes() {
        using Json = nlohmann::ordered_json;
        const std::vector<std::string> names{"animal", "person", "vehicle"};
        Json images = Json::array(), annotations = Json::array(), categories = Json::array();
        for (size_t k = 0; k < names.size(); ++k) categories.push_back({{"id", k + 1}, {"name", names[k]}});
        each_reviewed([&](size_t i, const StatedImage& now) {
            const std::vector<StatedBox> found = true_boxes(survey, now);
            // A class without a box for it: there is something, but not said where.
            if (now.final == "bad" || now.final == "failed" || (now.final == "animal" && !has(found, true)) ||
                (now.final == "human" && !has(found, false)))
                return void(++unclear);
            const Decoded decoded = read_image(path(i), {.size_only = true});
            if (!decoded.full_w || !decoded.full_h) return void(++unreadable);
            const double w = double(decoded.full_w), h = double(decoded.full_h);
            images.push_back({{"id", i},
                              {"file_name", path(i)},
                              {"width", decoded.full_w},
                              {"height", decoded.full_h},
                              {"location", camera(i)}});
            for (const StatedBox& box : found) {
                const size_t category = box.category == "vehicle" ? 3 : is_animal(box.category) ? 1 : 2;
                annotations.push_back({{"id", annotations.size() + 1},
                                       {"image_id", i},
                                       {"category_id", category},
                                       {"bbox", {box.at[0] * w, box.at[1] * h, box.at[2] * w, box.at[3] * h}}});
            }
            ++labels;
        });
        if (!with.empty() && labels) add_boxes(names, images, annotations);
        return write("labels.json",
                     Json{{"images", images}, {"annotations", annotations}, {"categories", categories}}.dump() + "\n");
    }

    template <class Json>
    void add_boxes(const std::vector<std::string>& names, Json& images, Json& annotations) const {
        const Dataset data =
            open_box_dataset(with, {.validation = 0, .test = 0, .read_exif = false, .for_training = false});
        std::set<std::string> reviewed;
        for (const Json& image : images) reviewed.insert(image["file_name"].template get<std::string>());
        std::vector<size_t> categories;
        for (const std::string& name : data.classes) {
            categories.push_back(size_t(std::ranges::find(names, name) - names.begin()) + 1);
            if (categories.back() > names.size())
                fail(Fault::usage, "{}: has boxes of '{}', and those of the corrections are {}; they cannot be mixed",
                     with, name, fmt::join(names, ", "));
        }
        size_t id = survey.images.size();
        for (const Sample& sample : data.samples) {
            if (sample.part != Part::train)
                fail(Fault::usage,
                     "{}: has parts of its own, which boxes of corrections cannot be mixed with; "
                     "name the part for training",
                     with);
            const std::string file = fs::absolute(data.path(sample)).string();
            if (reviewed.contains(file)) continue;
            const double w = double(sample.w), h = double(sample.h);
            images.push_back({{"id", ++id},
                              {"file_name", file},
                              {"width", sample.w},
                              {"height", sample.h},
                              {"location", sample.camera}});
            for (const TrueBox& box : sample.boxes)
                annotations.push_back({{"id", annotations.size() + 1},
                                       {"image_id", id},
                                       {"category_id", categories[box.category]},
                                       {"bbox", {box.x * w, box.y * h, box.w * w, box.h * h}}});
        }
    }

    fs::path write(const char* name, const std::string& text) const {
        write_file_durably(out / name, [&](FileWriter& file) { file.write(text); });
        return out / name;
    }
};

}  // namespace

TrainingLabels write_training_labels(const SurveyFolder& survey, const CorrectionLog& corrections,
                                     const std::string& what, const fs::path& out, const std::string& with) {
    std::error_code error;
    fs::create_directories(out, error);
    if (error) fail(Fault::environment, "{}: cannot create the folder: {}", out.string(), error.message());
    Writer writer{.survey = survey, .corrections = corrections, .out = out, .with = with};
    TrainingLabels result{.data = what == "quality"   ? writer.quality()
                                  : what == "species" ? writer.species()
                                                      : writer.boxes(),
                          .notes = std::move(writer.notes)};
    if (!writer.labels)
        fail(Fault::usage,
             "--corrections {}: no reviewed image gives a label of {}; `tundra review {}` opens a page to look at them",
             survey.folder.string(), what, survey.folder.string());
    if (writer.unclear)
        result.notes.push_back(
            fmt::format("{}: {} reviewed images are left out: they are bad, or it is not known which box is what",
                        survey.folder.string(), writer.unclear));
    if (writer.unreadable)
        result.notes.push_back(fmt::format("{}: {} reviewed images are left out: they cannot be read",
                                           survey.folder.string(), writer.unreadable));
    return result;
}
