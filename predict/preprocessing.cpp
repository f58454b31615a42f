#include "predict/preprocessing.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace {

using nlohmann::json;
using Metadata = std::map<std::string, std::string>;

constexpr std::string_view kFilters[] = {"antialias", "linear", "nearest"};
constexpr size_t kSmallest = 32, kLargest = 4096, kLongest = 10 * kLargest;
constexpr double kMean[] = {0.485, 0.456, 0.406}, kDeviation[] = {0.229, 0.224, 0.225};

struct Named {
    const char *name, *formula, *words;
};
constexpr Named kNamed[] = {
    {"imagenet", "123.675,116.28,103.53/58.395,57.12,57.375", "RGB, ImageNet's mean and deviation"},
    {"unit", "0/255", "RGB, x / 255"},
    {"tf", "127.5/127.5", "RGB, x / 127.5 - 1"},
    {"caffe", "bgr:103.939,116.779,123.68/1", "BGR, x minus ImageNet's mean"},
    {"raw", "0/1", "RGB, x"},
};

// One number or three; false if `text` is neither.
bool parse_numbers(std::string_view text, std::array<double, 3>& numbers) {
    size_t count = 0;
    for (;; ++count) {
        const std::string one(text.substr(0, text.find(',')));
        char* end = nullptr;
        if (count == 3 || one.empty()) return false;
        numbers[count] = std::strtod(one.c_str(), &end);
        if (*end || !std::isfinite(numbers[count])) return false;
        if (one.size() == text.size()) break;
        text.remove_prefix(one.size() + 1);
    }
    if (count == 0) numbers[1] = numbers[2] = numbers[0];
    return count == 0 || count == 2;
}

struct Formula {
    std::array<double, 3> mean, deviation;
    bool bgr;
};

std::optional<Formula> parse_formula(std::string_view text) {
    for (const Named& n : kNamed)
        if (text == n.name) text = n.formula;
    Formula f{.mean = {}, .deviation = {}, .bgr = text.starts_with("bgr:")};
    if (f.bgr) text.remove_prefix(4);
    const size_t slash = text.find('/');
    if (slash == text.npos || !parse_numbers(text.substr(0, slash), f.mean) ||
        !parse_numbers(text.substr(slash + 1), f.deviation))
        return {};
    for (const double d : f.deviation)
        if (d == 0) return {};
    return f;
}

std::string fit_text(const Fit& fit) {
    const std::string_view filter = kFilters[size_t(fit.filter)];
    if (fit.mode != FitMode::crop) return fmt::format("stretched ({})", filter);
    return fmt::format("the middle after the shorter side became {} ({})", shorter_side(fit), filter);
}

std::string normalize_words(const std::string& text) {
    for (const Named& n : kNamed)
        if (text == n.name) return fmt::format("{} ({})", n.words, text);
    const Formula f = *parse_formula(text);
    return fmt::format("{}, (x - {}) / {}", f.bgr ? "BGR" : "RGB", fmt::join(f.mean, " "), fmt::join(f.deviation, " "));
}

const std::string* find(const Metadata& metadata, const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? nullptr : &found->second;
}

// One property of the input, and where its value comes from.
struct Source {
    std::string text;  // "" for tundra's own metadata
    void option(const char* name, bool differs, const std::string& before) {
        if (!differs && text.empty()) return;
        text = fmt::format("as {} says", name);
        if (differs && !before.empty()) text += fmt::format(", not {}", before);
    }
};

// The numbers of a JSON list or a single number.
std::vector<double> numbers_of(const std::string& text) {
    const json value = json::parse(text, nullptr, false);
    std::vector<double> numbers;
    if (value.is_number()) numbers.push_back(value.get<double>());
    if (value.is_array())
        for (const json& one : value)
            if (one.is_number()) numbers.push_back(one.get<double>());
    return numbers;
}

class Reader {
public:
    Reader(const Metadata& metadata, bool keras, const std::string& where)
        : metadata_(metadata),
          where_(where),
          from_(find(metadata, "preprocess.source") ? "from its " + *find(metadata, "preprocess.source")
                                                    : "as the file says") {
        if (find(metadata, "tundra.normalize")) {
            ours();
            return;
        }
        size_.text = fit_.text = normalize_.text = "assumed";
        if (keras) p_.fit.mode = FitMode::stretch, p_.fit.filter = Filter::linear, p_.normalize = "caffe";
        size();
        fit();
        normalize();
    }

    StatedPreprocessing with(const InputOptions& o) {
        const Preprocessing before = p_;
        if (!o.image_size && !not_square_.empty())
            fail(Fault::usage,
                 "{}: its input has the sides {}, and tundra's classifiers take squares; choose --image-size", where_,
                 not_square_);
        if (o.image_size) {
            if (o.image_size != p_.fit.size && p_.fit.shorter) p_.fit.shorter = 0, fit_.text = "assumed";
            p_.fit.size = o.image_size;
            size_.option("--image-size", p_.fit.size != before.fit.size, known(size_, before.fit.size));
        }
        if (!o.fit.empty()) p_.fit.mode = o.fit == "crop" ? FitMode::crop : FitMode::stretch;
        if (o.resize && p_.fit.mode != FitMode::crop)
            fail(Fault::usage, "--resize {}: is for --fit crop, and the images are stretched", o.resize);
        if (o.resize && o.resize < p_.fit.size)
            fail(Fault::usage, "--resize {}: is smaller than the image size {}", o.resize, p_.fit.size);
        if (o.resize > kLongest) fail(Fault::usage, "--resize {}: the limit is {}", o.resize, kLongest);
        if (o.resize) p_.fit.shorter = o.resize;
        if (p_.fit.mode == FitMode::stretch) p_.fit.shorter = 0;
        for (size_t i = 0; i < std::size(kFilters); ++i)
            if (o.filter == kFilters[i]) p_.fit.filter = Filter(i);
        if (!o.fit.empty() || o.resize || !o.filter.empty())
            fit_.option(!o.fit.empty() ? "--fit"
                        : o.resize     ? "--resize"
                                       : "--filter",
                        fit_text(p_.fit) != fit_text(before.fit), known(fit_, fit_text(before.fit)));
        if (!o.normalize.empty()) {
            normalize_named(o.normalize);
            p_.normalize = o.normalize;
            normalize_.option("--normalize", p_.normalize != before.normalize, known(normalize_, before.normalize));
        }
        return {p_, note(), normalize_.text == "assumed"};
    }

private:
    template <class T>
    static std::string known(const Source& source, const T& value) {
        return source.text == "assumed" ? "" : fmt::format("{}", value);
    }

    void ours() {
        const auto get = [&](const char* key, const char* otherwise) {
            const std::string* text = find(metadata_, key);
            return text ? *text : otherwise;
        };
        p_.fit.size = whole_number(get("tundra.image_size", "224"));
        p_.fit.shorter = whole_number(get("tundra.resize", "0"));
        if (get("tundra.fit", "crop") == "stretch") p_.fit.mode = FitMode::stretch;
        for (size_t i = 0; i < std::size(kFilters); ++i)
            if (get("tundra.filter", "antialias") == kFilters[i]) p_.fit.filter = Filter(i);
        p_.normalize = get("tundra.normalize", "imagenet");
        if (!parse_normalize(p_.normalize)) damaged("tundra.normalize", p_.normalize);
        if (p_.fit.size < kSmallest || p_.fit.size > kLargest)
            damaged("tundra.image_size", std::to_string(p_.fit.size));
        if (p_.fit.shorter && (p_.fit.shorter < p_.fit.size || p_.fit.shorter > kLongest))
            damaged("tundra.resize", std::to_string(p_.fit.shorter));
    }

    void size() {
        const std::string* text = find(metadata_, "preprocess.input_size");
        if (!text) return;
        const std::vector<double> sides = numbers_of(*text);
        const double side = sides.empty() ? 0 : sides.back();
        if (!(side >= kSmallest && side <= kLargest)) return left_out("input_size", *text);
        if (sides.size() > 1 && sides[sides.size() - 2] != side) not_square_ = *text;
        p_.fit.size = size_t(side);
        size_.text = from_;
    }

    void fit() {
        const std::string *share = find(metadata_, "preprocess.crop_pct"),
                          *mode = find(metadata_, "preprocess.crop_mode"),
                          *filter = find(metadata_, "preprocess.interpolation");
        if (const double value = share ? std::strtod(share->c_str(), nullptr) : 0;
            share && !(value > 0.1 && value <= 1)) {
            left_out("crop_pct", *share);
        } else if (share) {
            p_.fit.mode = FitMode::crop;
            p_.fit.shorter = size_t(std::floor(double(p_.fit.size) / value));  // as timm rounds
            fit_.text = from_;
        }
        if (const std::string* resize =
                find(metadata_, "preprocess.resize")) {  // to this shorter side, before the crop
            const std::vector<double> n = numbers_of(*resize);
            if (n.size() != 1 || n[0] < double(p_.fit.size) || n[0] > kLongest)
                left_out("resize", *resize);
            else
                p_.fit.mode = FitMode::crop, p_.fit.shorter = size_t(n[0]), fit_.text = from_;
        }
        if (mode && *mode == "squash") p_.fit = {.size = p_.fit.size, .mode = FitMode::stretch}, fit_.text = from_;
        if (mode && *mode == "border")
            more_ += "; it was made for images with a border around them, which tundra does not draw";
        if (filter && *filter == "nearest") p_.fit.filter = Filter::nearest;
        if (filter && *filter != "nearest" && *filter != "bilinear" && *filter != "random")
            more_ += fmt::format("; it was made for images resized by the filter {}, which tundra lacks", *filter);
    }

    void normalize() {
        if (const std::string* text = find(metadata_, "preprocess.normalize")) {
            const std::optional<Formula> f = parse_formula(*text);  // its name, if it has one
            if (!f) return left_out("normalize", *text);
            p_.normalize = normalize_text(f->mean, f->deviation, f->bgr), normalize_.text = from_;
        }
        const std::string *mean = find(metadata_, "preprocess.mean"), *deviation = find(metadata_, "preprocess.std");
        if (!mean || !deviation) return;
        std::vector<double> m = numbers_of(*mean), d = numbers_of(*deviation);
        if (m.size() == 1) m.resize(3, m[0]);
        if (d.size() == 1) d.resize(3, d[0]);
        bool unit = m.size() == 3 && d.size() == 3, pixels = unit;  // of values from 0 to 1, or to 255
        for (size_t c = 0; c < 3 && (unit || pixels); ++c) {
            unit &= m[c] >= 0 && m[c] <= 1 && d[c] > 0.001 && d[c] <= 1;
            pixels &= (m[c] == 0 || m[c] > 1) && m[c] <= 255 && d[c] > 1 && d[c] <= 255;
        }
        if (!unit && !pixels) return left_out("mean and std", *mean + ", " + *deviation);
        const double s = unit ? 255 : 1;
        p_.normalize = normalize_text({s * m[0], s * m[1], s * m[2]}, {s * d[0], s * d[1], s * d[2]}, false);
        normalize_.text = from_;
    }

    // What makes no sense in the file of another program is no damage.
    void left_out(const char* key, const std::string& value) {
        more_ += fmt::format("; its {} {} is left out", key, value);
    }

    size_t whole_number(const std::string& text) {
        char* end = nullptr;
        const unsigned long value = std::strtoul(text.c_str(), &end, 10);
        if (text.empty() || *end || text[0] == '-') damaged("its metadata", text);
        return value;
    }
    [[noreturn]] void damaged(const std::string& key, const std::string& value) {
        fail(Fault::damaged, "{}: {} = '{}' is not possible", where_, key, value);
    }

    std::string note() const {
        if (size_.text.empty() && fit_.text.empty() && normalize_.text.empty()) return "";
        const auto because = [](const Source& s) { return s.text.empty() ? std::string() : " [" + s.text + "]"; };
        const bool assumed = size_.text == "assumed" || fit_.text == "assumed" || normalize_.text == "assumed";
        return fmt::format("{} x {} pixels{}; {}{}; {}{}{}{}", p_.fit.size, p_.fit.size, because(size_),
                           fit_text(p_.fit), because(fit_), normalize_words(p_.normalize), because(normalize_), more_,
                           assumed ? "; if it was trained otherwise, say --image-size, --fit, --normalize" : "");
    }

    const Metadata& metadata_;
    const std::string& where_;
    const std::string from_;
    Preprocessing p_;
    Source size_, fit_, normalize_;
    std::string more_, not_square_;
};

}  // namespace

std::optional<Normalize> parse_normalize(const std::string& text) {
    Normalize n;
    if (text == "unit") return Normalize{{1 / 255.0f, 1 / 255.0f, 1 / 255.0f}, {0, 0, 0}};
    if (text == "imagenet") {
        for (size_t c = 0; c < 3; ++c) {
            n.scale[c] = float(1 / (255 * kDeviation[c]));
            n.shift[c] = float(-kMean[c] / kDeviation[c]);
        }
        return n;
    }
    const std::optional<Formula> f = parse_formula(text);
    if (!f) return {};
    for (size_t c = 0; c < 3; ++c) {
        n.scale[c] = float(1 / f->deviation[c]);
        n.shift[c] = float(-f->mean[c] / f->deviation[c]);
    }
    n.bgr = f->bgr;
    return n;
}

Normalize normalize_named(const std::string& text) {
    const std::optional<Normalize> n = parse_normalize(text);
    if (!n)
        fail(Fault::usage,
             "--normalize {}: is none of imagenet, unit, tf, caffe, raw and MEAN/DEVIATION, each one number or three "
             "with "
             "commas, of pixels from 0 to 255",
             text);
    return *n;
}

std::string normalize_text(const std::array<double, 3>& mean, const std::array<double, 3>& deviation, bool bgr) {
    for (const Named& n : kNamed) {
        const Formula f = *parse_formula(n.name);
        bool same = f.bgr == bgr;
        for (size_t c = 0; c < 3; ++c)
            same &= std::fabs(f.mean[c] - mean[c]) < 1e-4 && std::fabs(f.deviation[c] / deviation[c] - 1) < 1e-6;
        if (same) return n.name;
    }
    return fmt::format("{}{}/{}", bgr ? "bgr:" : "", fmt::join(mean, ","), fmt::join(deviation, ","));
}

std::string input_text(const Preprocessing& p) {
    return fmt::format("{} x {} pixels; {}; {}", p.fit.size, p.fit.size, fit_text(p.fit), normalize_words(p.normalize));
}

StatedPreprocessing preprocessing_of(const std::map<std::string, std::string>& metadata, bool keras,
                                     const InputOptions& options, const std::string& where) {
    return Reader(metadata, keras, where).with(options);
}

void store(const Preprocessing& p, std::map<std::string, std::string>& metadata) {
    metadata["tundra.image_size"] = std::to_string(p.fit.size);
    metadata["tundra.fit"] = p.fit.mode == FitMode::crop ? "crop" : "stretch";
    if (p.fit.shorter) metadata["tundra.resize"] = std::to_string(p.fit.shorter);
    metadata["tundra.filter"] = kFilters[size_t(p.fit.filter)];
    metadata["tundra.normalize"] = p.normalize;
}
