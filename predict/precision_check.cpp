#include "predict/precision_check.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/json.h"
#include "base/safetensors.h"
#include "predict/model_file.h"

namespace {

using nlohmann::json;

constexpr double kSmallest = 32.0 * 32, kLarge = 96.0 * 96;  // pixels of an object's box
constexpr float kScore = 0.2f, kScoreOfTheOther = 0.1f;

// Of a share of n, 95 %: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
std::pair<double, double> interval(double share, size_t n) {
    if (n == 0) return {0, 1};
    const double z2 = 1.96 * 1.96 / double(n), middle = (share + z2 / 2) / (1 + z2);
    const double half = std::sqrt(std::max(0.0, share * (1 - share)) * z2 + z2 * z2 / 4) / (1 + z2);
    return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

double overlap(const TrueBox& a, const FoundBox& b) {  // IoU; shares of the same sides
    const double w = std::min(a.x + a.w, b.x + b.w) - std::max(a.x, b.x),
                 h = std::min(a.y + a.h, b.y + b.h) - std::max(a.y, b.y);
    if (w <= 0 || h <= 0) return 0;
    return w * h / (double(a.w) * a.h + double(b.w) * b.h - w * h);
}

// Which of the true boxes are found: by falling score, each box takes the best one that is left.
std::vector<bool> found_of(const std::vector<TrueBox>& truth, std::vector<FoundBox> boxes, float score) {
    std::erase_if(boxes, [&](const FoundBox& b) { return b.score < score; });
    std::ranges::stable_sort(boxes, std::greater(), &FoundBox::score);
    std::vector<bool> taken(truth.size());
    for (const FoundBox& box : boxes) {
        size_t best = truth.size();
        double most = 0.5;
        for (size_t t = 0; t < truth.size(); ++t)
            if (const double iou = overlap(truth[t], box);
                !taken[t] && truth[t].category == box.category && iou >= most)
                best = t, most = iou;
        if (best < truth.size()) taken[best] = true;
    }
    return taken;
}

// A row that says more than what int8 promises where labels show what is right.
bool told(DType precision, bool labelled) { return precision == DType::i8 && labelled; }

size_t size_class(const TrueBox& box, const ImageBoxes& image, size_t side) {
    const double scale = double(side) / double(std::max(image.h, image.w));
    const double pixels = double(box.w) * double(image.w) * double(box.h) * double(image.h) * scale * scale;
    return pixels < kSmallest ? 0 : pixels < kLarge ? 1 : 2;
}

}  // namespace

bool PrecisionCheck::passed() const {
    return images >= fewest && !rows.empty() && std::ranges::all_of(rows, &CheckRow::holds);
}

std::vector<std::string> PrecisionCheck::lines() const {
    std::vector<std::string> lines;
    for (const CheckRow& row : rows) {
        const auto [low, high] = interval(row.other, row.count);
        lines.push_back(fmt::format("{:<24} {:>7}  float32 {:.4f}  {} {:.4f} ({:.4f} to {:.4f})  {}", row.what,
                                    row.count, row.fp32, precision_name(precision), row.other, low, high,
                                    !row.decides() ? "no limit"
                                    : row.holds()  ? "holds"
                                                   : fmt::format("loses more than {:.3f}", row.limit)));
    }
    if (images < fewest) lines.push_back(fmt::format("{} images are too few: {} are needed", images, fewest));
    return lines;
}

PrecisionCheck compare_classes(const Predictions& fp32, const Predictions& other, bool labelled, DType precision) {
    PrecisionCheck check{
        .precision = precision, .images = fp32.rows.size(), .fewest = labelled ? kFewestLabelled : kFewestUnlabelled};
    require(other.rows.size() == check.images, "{} answers in {}, {} in float32", other.rows.size(),
            precision_name(precision), check.images);
    size_t right[2] = {}, same = 0;
    for (size_t i = 0; i < check.images; ++i) {
        const Prediction &a = fp32.rows[i], &b = other.rows[i];
        same += a.predicted == b.predicted;
        check.samples.push_back(b.sample);
        right[0] += a.predicted == a.label, right[1] += b.predicted == b.label;
    }
    const auto share = [&](size_t count) { return double(count) / double(std::max<size_t>(check.images, 1)); };
    if (labelled) check.rows.push_back({"accuracy", check.images, share(right[0]), share(right[1]), 0.005});
    check.rows.push_back({"same class", check.images, 1, share(same), told(precision, labelled) ? 1 : 0.005});
    return check;
}

PrecisionCheck compare_boxes(const FoundBoxes& fp32, const FoundBoxes& other, size_t classes, size_t side,
                             bool labelled, DType precision) {
    PrecisionCheck check{
        .precision = precision, .images = fp32.images.size(), .fewest = labelled ? kFewestLabelled : kFewestUnlabelled};
    require(other.images.size() == check.images, "{} answers in {}, {} in float32", other.images.size(),
            precision_name(precision), check.images);
    check.samples = other.samples;
    size_t count[3] = {}, found[2][3] = {};
    for (size_t i = 0; i < check.images; ++i) {
        const ImageBoxes& image = fp32.images[i];
        std::vector<TrueBox> truth = image.truth;
        if (!labelled) {
            truth.clear();
            for (const FoundBox& b : image.found)
                if (b.score >= kScore) truth.push_back({b.category, b.x, b.y, b.w, b.h});
        }
        const std::vector<bool> in[2] = {found_of(truth, image.found, kScore),
                                         found_of(truth, other.images[i].found, labelled ? kScore : kScoreOfTheOther)};
        for (size_t t = 0; t < truth.size(); ++t) {
            const size_t size = size_class(truth[t], image, side);
            ++count[size];
            for (size_t p = 0; p < 2; ++p) found[p][size] += in[p][t];
        }
    }
    const size_t objects = count[0] + count[1] + count[2];
    if (labelled && objects)
        check.rows.push_back({"mAP50", objects, measure_boxes(fp32.images, classes).map50,
                              measure_boxes(other.images, classes).map50, told(precision, labelled) ? 1 : 0.005});
    const char* names[] = {"recall, small objects", "recall, medium objects", "recall, large objects"};
    for (size_t size = 0; size < 3; ++size)
        if (const auto n = double(count[size]); n > 0)
            check.rows.push_back(
                {names[size], count[size], double(found[0][size]) / n, double(found[1][size]) / n, 0.01});
    return check;
}

std::string to_text(const PrecisionCheck& check) {
    json rows = json::array();
    for (const CheckRow& row : check.rows) rows.push_back({row.what, row.count, row.fp32, row.other, row.limit});
    return one_line(
        json{{"passed", check.passed()}, {"images", check.images}, {"rows", rows}, {"weights", check.weights}});
}

bool check_passed(const std::string& stored, const StateDict& weights) {
    const json all = stored.empty() ? json() : parse_foreign(stored);
    const json& check = member(all, "check").is_object() ? member(all, "check") : all;
    return member(check, "passed") == true && text_of(check, "weights") == fingerprint(weights);
}

void store_check(const std::filesystem::path& path, const PrecisionCheck& check) {
    if (path.extension() != ".safetensors")
        fail(Fault::usage, "{}: cannot hold the result of the check; `tundra import` makes a safetensors file of it",
             path.string());
    const SafetensorsFile file = SafetensorsFile::open(path);
    std::map<std::string, std::string> metadata = file.metadata();
    metadata[kBf16Check] = to_text(check);
    write_safetensors(path, file.tensors(), metadata);
}
