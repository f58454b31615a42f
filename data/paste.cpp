// Columns are looked up once; each row of the result is two rows of the image, blended.
#include "data/paste.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

namespace {

struct Tap {
    int first, second, weight_first, weight_second;  // first < 0: outside
};

Tap tap_at(float u, size_t begin, size_t end) {
    if (!(u >= float(begin) && u <= float(end))) return {-1, 0, 0, 0};
    const float at = u - 0.5f, whole = std::floor(at);
    const int weight = int(std::lrint((at - whole) * 2048)), first = int(whole);
    return {std::clamp(first, int(begin), int(end) - 1), std::clamp(first + 1, int(begin), int(end) - 1), 2048 - weight,
            weight};
}

}  // namespace

void paste(const Paste& op) {
    if (op.area_bottom > op.h || op.area_right > op.w || op.area_top >= op.area_bottom ||
        op.area_left >= op.area_right || op.bottom > op.out_h || op.right > op.out_w)
        throw std::invalid_argument("paste: an area is empty or leaves its image");
    std::vector<Tap> columns;
    for (size_t j = op.left; j < op.right; ++j) {
        columns.push_back(tap_at(op.a * (float(j) + 0.5f) + op.c, op.area_left, op.area_right));
        columns.back().first *= 3, columns.back().second *= 3;
    }
    for (size_t i = op.top; i < op.bottom; ++i) {
        uint8_t* to = op.y + (i * op.out_w + op.left) * 3;
        const Tap row = tap_at(op.e * (float(i) + 0.5f) + op.f, op.area_top, op.area_bottom);
        if (row.first < 0) {
            std::fill_n(to, columns.size() * 3, op.grey);
            continue;
        }
        const uint8_t *above = op.x + size_t(row.first) * op.w * 3, *below = op.x + size_t(row.second) * op.w * 3;
        for (const Tap& column : columns) {
            for (int k = 0; k < 3; ++k) {
                if (column.first < 0) {
                    to[k] = op.grey;
                    continue;
                }
                const int p =
                    above[column.first + k] * column.weight_first + above[column.second + k] * column.weight_second;
                const int q =
                    below[column.first + k] * column.weight_first + below[column.second + k] * column.weight_second;
                to[k] = uint8_t((p * row.weight_first + q * row.weight_second + (1 << 21)) >> 22);
            }
            to += 3;
        }
    }
}
