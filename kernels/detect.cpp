// Boxes on the CPU: decoding by pixels, suppression over sorted candidates, an image per thread.
#include "kernels/detect.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

#include "kernels/detect_math.h"
#include "kernels/parallel.h"
#include "kernels/vector_math.h"

template <class T>
void compute(const Cpu& cpu, const DecodeBoxes<T>& op) {
    const size_t values = 5 + op.classes;
    if (op.classes > kMaxClasses) throw std::invalid_argument("decode boxes: at most 256 classes are possible");
    parallel_for(cpu, op.n * op.h, 1, [&](size_t begin, size_t end) {
        float s[3 * (5 + kMaxClasses)];
        for (size_t line = begin; line < end; ++line) {
            const size_t n = line / op.h, i = line % op.h;
            for (size_t j = 0; j < op.w; ++j) {
                const T* const head = op.head + (line * op.w + j) * 3 * values;
                for (size_t k = 0; k < 3 * values; ++k) s[k] = sigmoid(float(head[k]));
                for (size_t anchor = 0; anchor < 3; ++anchor) {
                    float* box = op.boxes + (n * op.rows + op.first_row + (anchor * op.h + i) * op.w + j) * values;
                    for (size_t k = 0; k < 4; ++k) box[k] = decoded_value(op, anchor, i, j, k, s[anchor * values + k]);
                    std::copy_n(s + anchor * values + 4, values - 4, box + 4);
                }
            }
        }
    });
}

namespace {
template <class T>
float mean_distance(const T* p) {
    float bins[kDistanceBins];
    for (size_t b = 0; b < kDistanceBins; ++b) bins[b] = float(p[b]);
    float largest = bins[0], sum = 0, weighted = 0;
    for (size_t b = 1; b < kDistanceBins; ++b) largest = select(bins[b] > largest, bins[b], largest);
    float part[kDistanceBins];
    for (size_t b = 0; b < kDistanceBins; ++b) part[b] = fast_exp(bins[b] - largest);
    for (size_t b = 0; b < kDistanceBins; ++b) sum += part[b], weighted += float(b) * part[b];
    return weighted / sum;
}
}  // namespace

template <class T>
void compute(const Cpu& cpu, const DecodeDistances<T>& op) {
    const size_t values = 5 + op.classes;
    parallel_for(cpu, op.n * op.h, 1, [&](size_t begin, size_t end) {
        for (size_t line = begin; line < end; ++line) {
            const size_t n = line / op.h, i = line % op.h;
            for (size_t j = 0; j < op.w; ++j) {
                const size_t pixel = line * op.w + j;
                const T *const scores = op.score + pixel * op.classes, *const bins = op.box + pixel * 4 * kDistanceBins;
                float* const box = op.boxes + (n * op.rows + op.first_row + i * op.w + j) * values;
                std::fill_n(box, values, 0.0f);
                bool candidate = false;
                for (size_t k = 0; k < op.classes; ++k) {
                    const float score = float(scores[k]), s = sigmoid(score);
                    box[5 + k] = s;
                    candidate |= s > op.threshold;
                    box[4] += score - score;  // 0, or NaN where the score is not finite
                }
                if (!candidate || box[4] != 0) continue;
                float d[4];
                for (size_t side = 0; side < 4; ++side) d[side] = mean_distance(bins + side * kDistanceBins);
                distances_to_box(op, i, j, d, box);
                box[4] = d[0] + d[1] + d[2] + d[3] >= 0 ? 1 : std::numeric_limits<float>::quiet_NaN();
            }
        }
    });
}

namespace {
struct Candidate {
    uint64_t key;
    Corners at;
    bool operator<(const Candidate& other) const { return key < other.key; }
};

void select_of_image(const SelectBoxes& op, size_t image, std::vector<Candidate>& left) {
    const size_t values = 5 + op.classes;
    const float* const boxes = op.boxes + image * op.rows * values;
    left.clear();
    for (size_t row = 0; row < op.rows; ++row)
        if (const uint64_t key = candidate_key(boxes + row * values, row, op.classes, op.threshold);
            key != kNoCandidate)
            left.push_back({key, corners_of(boxes + row * values)});
    std::sort(left.begin(), left.end());

    float* const detections = op.detections + image * op.max_detections * 6;
    std::fill_n(detections, op.max_detections * 6, 0.0f);
    if (!left.empty() && left.front().key == kNotFinite) {
        op.count[image] = -1;
        return;
    }
    size_t count = 0;
    while (!left.empty() && count < op.max_detections) {
        const Candidate best = left.front();
        write_detection(best.at, best.key, detections + 6 * count++);
        std::erase_if(left, [&](const Candidate& other) {
            return other.key == best.key || (class_of(other.key) == class_of(best.key) &&
                                             intersection_over_union(best.at, other.at) > op.iou_threshold);
        });
    }
    op.count[image] = int32_t(count);
}
}  // namespace

void compute(const Cpu& cpu, const SelectBoxes& op) {
    if (op.rows > kMaxRows || op.classes > kMaxClasses || op.classes == 0 || !(op.threshold >= 0))
        throw std::invalid_argument(
            "select boxes: 1 to 256 classes, up to 2^24 rows and a threshold from 0 on are possible");
    parallel_for(cpu, op.n, 1, [&](size_t begin, size_t end) {
        std::vector<Candidate> candidates;
        for (size_t image = begin; image < end; ++image) select_of_image(op, image, candidates);
    });
}

template void compute(const Cpu&, const DecodeBoxes<float>&);
template void compute(const Cpu&, const DecodeBoxes<bf16>&);
template void compute(const Cpu&, const DecodeDistances<float>&);
template void compute(const Cpu&, const DecodeDistances<bf16>&);
