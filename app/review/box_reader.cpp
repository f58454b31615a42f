#include "app/review/box_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/review/state.h"

namespace {

// Depth: 1 the document, 2 its members, 3 an image, 4 its detections, 5 a detection, 6 bbox or classifications, 7 a
// pair.
struct Events : nlohmann::json_sax<nlohmann::json> {
    explicit Events(BoxReader& out) : out(out) {}

    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t value) override { return number(double(value)); }
    bool number_unsigned(number_unsigned_t value) override { return number(double(value)); }
    bool number_float(number_float_t value, const string_t&) override { return number(value); }
    bool binary(binary_t&) override { return true; }
    bool key(string_t& name) override {
        if (depth < kKept) keys[depth] = name;
        return true;
    }
    bool start_object(std::size_t) override {
        if (++depth == 3 && in_images()) begin_image();
        if (depth == 5 && in_detections()) begin_box();
        return true;
    }
    bool end_object() override {
        if (depth == 3 && in_images()) end_image();
        --depth;
        return true;
    }
    bool start_array(std::size_t) override {
        if (++depth == 2 && in_images()) has_images = true;
        if (depth == 6) side = 0;
        return true;
    }
    bool end_array() override { return --depth, true; }
    bool string(string_t& text) override {
        if (depth == 2 && keys[1] == "detection_categories") {
            categories[categories.number(keys[2])] = text;
        } else if (depth == 2 && keys[1] == "classification_categories") {
            classes[classes.number(keys[2])] = text;
        } else if (depth == 3 && in_images() && keys[3] == "file") {
            file = text;
        } else if (depth == 5 && in_box() && keys[5] == "category") {
            out.boxes.back().category = uint16_t(categories.number(text));
        } else if (depth == 7 && in_box() && keys[5] == "classifications" && out.boxes.back().species < 0) {
            out.boxes.back().species = int16_t(classes.number(text));  // the best comes first
            is_best = true;
            scores.push_back({out.boxes.size() - 1, uint32_t(out.boxes.back().species), 0});
        } else if (depth == 7 && in_box() && keys[5] == "classifications") {
            scores.push_back({out.boxes.size() - 1, uint32_t(classes.number(text)), 0});
        }
        return true;
    }
    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
        fault = error.what();
        return false;
    }

    bool in_images() const { return keys[1] == "images"; }
    bool in_detections() const { return in_images() && keys[3] == "detections"; }

    bool in_box() const { return in_detections() && out.boxes.size() > first; }

    void begin_image() {
        file.clear();
        good_score = -1;
        first = out.boxes.size();
    }
    void begin_box() {
        out.boxes.push_back(
            {.at = {}, .confidence = 0, .score = 0, .animal = 0, .human = 0, .category = 0, .species = -1});
    }
    bool number(double value) {
        if (depth == 4 && in_images() && keys[3] == "quality" && keys[4] != out.survey.bad && value > good_score)
            good = keys[4], good_score = value;
        if (!in_box()) return true;
        SurveyBox& box = out.boxes.back();
        if (depth == 5 && keys[5] == "conf") box.confidence = float(value);
        if (depth == 6 && keys[5] == "bbox" && side < 4) box.at[side++] = float(value);
        if (depth == 7 && keys[5] == "classifications" && !scores.empty()) {
            scores.back().value = float(value);
            if (is_best) box.score = float(value);
            is_best = false;
        }
        return true;
    }
    void end_image() {
        size_t number = next < out.survey.images.size() && out.survey.file(next) == file ? next : out.survey.find(file);
        next = number + 1;
        if (number >= out.survey.images.size()) {
            ++out.unknown;
            out.boxes.resize(first);
            while (!scores.empty() && scores.back().box >= first) scores.pop_back();
            return;
        }
        SurveyImage& image = out.survey.images[number];
        const auto& names = out.survey.qualities;
        if (const auto known = std::ranges::find(names, good); good_score >= 0 && known != names.end())
            image.good = uint16_t(known - names.begin());
        image.first_box = uint32_t(first);
        image.boxes = uint16_t(std::min<size_t>(out.boxes.size() - first, 65535));
    }

    // The names behind the ids may stand after the images.
    void name_boxes() {
        auto& species = out.survey.species;
        std::vector<int16_t> numbers;
        for (size_t i = 0; i < classes.size(); ++i) {
            const auto found = std::ranges::find(species, classes[i]);
            numbers.push_back(int16_t(found - species.begin()));
            if (found == species.end()) species.push_back(classes[i]);
        }
        std::vector<float> sums(out.boxes.size(), 0);
        for (const Score& s : scores) {
            sums[s.box] += s.value;
            if (is_human(classes[s.of]))
                out.boxes[s.box].human += s.value;
            else if (std::ranges::find(out.survey.not_animals, classes[s.of]) == out.survey.not_animals.end())
                out.boxes[s.box].animal += s.value;
        }
        for (size_t i = 0; i < out.boxes.size(); ++i) {
            SurveyBox& box = out.boxes[i];
            if (box.species >= 0) box.species = numbers[size_t(box.species)];
            if (is_human(categories[box.category]))
                box.human = 1, box.animal = 0;
            else if (sums[i] > 0)
                box.human /= sums[i], box.animal /= sums[i];
            else
                box.animal = 1;
        }
        out.survey.categories = categories.names;
    }

    static constexpr size_t kKept = 8;
    // Numbers for the ids of categories, in the order in which they come, and their names; without one, the id itself.
    struct Ids {
        size_t number(const std::string& id) {
            const auto [at, is_new] = numbers.try_emplace(id, names.size());
            if (is_new) names.push_back(id);
            return at->second;
        }
        std::string& operator[](size_t i) { return names[i]; }
        size_t size() const { return names.size(); }
        std::unordered_map<std::string, size_t> numbers;
        std::vector<std::string> names;
    };
    struct Score {
        size_t box;
        uint32_t of;  // class
        float value;
    };
    BoxReader& out;
    std::vector<Score> scores;
    std::string keys[kKept], file, fault, good;  // good: the best class of the quality that is not bad
    double good_score = -1;
    Ids categories, classes;
    bool is_best = false, has_images = false;
    size_t depth = 0, first = 0, next = 0, side = 0;
};

}  // namespace

std::string BoxReader::read(std::string_view json) {
    Events events(*this);
    if (!nlohmann::json::sax_parse(json, &events)) return "is not JSON: " + events.fault;
    if (!events.has_images) return "has no images";
    events.name_boxes();
    return "";
}
