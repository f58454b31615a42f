// Boxes on the CPU: decoding by pixels, suppression over sorted candidates, a picture per thread.
#include "kernels/detect.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels/detect_math.h"
#include "kernels/vector_math.h"
#include "kernels/parallel.h"

void compute(const Cpu& cpu, const DecodeBoxes<float>& op) {
    const size_t values = 5 + op.classes;
    parallel_for(cpu, op.n * 3 * op.h, 1, [&](size_t begin, size_t end) {
        for (size_t line = begin; line < end; ++line) {
            const size_t n = line / (3 * op.h), anchor = line / op.h % 3, i = line % op.h;
            for (size_t j = 0; j < op.w; ++j) {
                const float* head = op.head + (((n * op.h + i) * op.w + j) * 3 + anchor) * values;
                float* box = op.boxes + (n * op.rows + op.first_row + (anchor * op.h + i) * op.w + j) * values;
                for (size_t k = 0; k < values; ++k) box[k] = decoded_value(op, anchor, i, j, k, sigmoid(head[k]));
            }
        }
    });
}

namespace {
void select_of_picture(const SelectBoxes& op, size_t picture, std::vector<uint64_t>& keys) {
    const size_t values = 5 + op.classes;
    const float* const boxes = op.boxes + picture * op.rows * values;
    keys.clear();
    for (size_t row = 0; row < op.rows; ++row)
        if (const uint64_t key = candidate_key(boxes + row * values, row, op.classes, op.threshold); key != kNoCandidate)
            keys.push_back(key);
    std::sort(keys.begin(), keys.end());

    float* const detections = op.detections + picture * op.most * 6;
    std::fill_n(detections, op.most * 6, 0.0f);
    size_t count = 0;
    for (size_t i = 0; i < keys.size() && count < op.most; ++i) {
        if (keys[i] == kNoCandidate) continue;  // suppressed
        const Corners best = corners_of(boxes + row_of(keys[i]) * values);
        write_detection(best, keys[i], detections + 6 * count++);
        for (size_t other = i + 1; other < keys.size(); ++other)
            if (keys[other] != kNoCandidate && (op.across_classes || class_of(keys[other]) == class_of(keys[i])) &&
                intersection_over_union(best, corners_of(boxes + row_of(keys[other]) * values)) > op.overlap)
                keys[other] = kNoCandidate;
    }
    op.count[picture] = int32_t(count);
}
}  // namespace

void compute(const Cpu& cpu, const SelectBoxes& op) {
    if (op.rows > kMostRows || op.classes > kMostClasses || op.classes == 0 || !(op.threshold >= 0))
        throw std::invalid_argument("select boxes: 1 to 256 classes, up to 2^24 rows and a threshold from 0 on are possible");
    parallel_for(cpu, op.n, 1, [&](size_t begin, size_t end) {
        std::vector<uint64_t> keys;
        for (size_t picture = begin; picture < end; ++picture) select_of_picture(op, picture, keys);
    });
}
