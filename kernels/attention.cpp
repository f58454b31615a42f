// Attention on the CPU: see attention.h. The unit of work is a head of an image: its keys are turned, so that the
// scores of a query are sums of rows; then a few queries at a time share each row of keys and of values that is read.
#include "kernels/attention.h"

#include <cmath>
#include <stdexcept>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/vector_math.h"

namespace {

constexpr size_t kQueries = 4, kTile = 64;  // at a time: queries; positions whose scores stay in registers and L1

class Head {
public:
    explicit Head(const Attention<float>& op)
        : op_(op),
          keys_(op.key * op.positions),
          scores_(kQueries * op.positions),
          scale_(1 / std::sqrt(float(op.key))) {}

    void use(size_t image, size_t head) {
        qkv_ = op_.qkv + image * op_.positions * op_.pitch() + head * (2 * op_.key + op_.value);
        out_ = image * op_.positions * op_.heads * op_.value + head * op_.value;
        for (size_t j = 0; j < op_.positions; ++j)
            for (size_t k = 0; k < op_.key; ++k) keys_[k * op_.positions + j] = qkv_[j * op_.pitch() + op_.key + k];
    }

    // Queries [first, first + count), count at most kQueries.
    void run(size_t first, size_t count) {
        for (size_t j = 0; j < op_.positions; j += kTile) tile_of_scores(first, count, j);
        for (size_t q = 0; q < count; ++q) softmax(&scores_[q * op_.positions]);
        const size_t pitch = op_.heads * op_.value;
        float sums[kQueries][kMaxAttentionValue] = {};
        for (size_t j = 0; j < op_.positions; ++j) {
            const float* const v = qkv_ + j * op_.pitch() + 2 * op_.key;
            for (size_t q = 0; q < count; ++q) {
                const float a = scores_[q * op_.positions + j];
                for (size_t c = 0; c < op_.value; ++c) sums[q][c] += a * v[c];
            }
        }
        for (size_t q = 0; q < count; ++q) {
            std::copy_n(sums[q], op_.value, op_.y + out_ + (first + q) * pitch);
            std::copy_n(qkv_ + (first + q) * op_.pitch() + 2 * op_.key, op_.value, op_.v + out_ + (first + q) * pitch);
        }
    }

private:
    void tile_of_scores(size_t first, size_t count, size_t j) {
        const size_t width = std::min(kTile, op_.positions - j);
        float sums[kQueries][kTile] = {};
        for (size_t k = 0; k < op_.key; ++k) {
            const float* const keys = &keys_[k * op_.positions + j];
            for (size_t q = 0; q < count; ++q) {
                const float query = qkv_[(first + q) * op_.pitch() + k] * scale_;
                for (size_t t = 0; t < width; ++t) sums[q][t] += query * keys[t];
            }
        }
        for (size_t q = 0; q < count; ++q) std::copy_n(sums[q], width, &scores_[q * op_.positions + j]);
    }

    void softmax(float* scores) const {
        float largest = scores[0];
        for (size_t j = 1; j < op_.positions; ++j) largest = select(scores[j] > largest, scores[j], largest);
        float sums[16] = {};  // a fixed order of addition that vectorises
        for (size_t j = 0; j < op_.positions; ++j) scores[j] = fast_exp(scores[j] - largest);
        for (size_t j = 0; j < op_.positions; ++j) sums[j % 16] += scores[j];
        float sum = 0;
        for (const float part : sums) sum += part;
        for (size_t j = 0; j < op_.positions; ++j) scores[j] /= sum;
    }

    const Attention<float>& op_;
    std::vector<float> keys_, scores_;
    float scale_;
    const float* qkv_ = nullptr;
    size_t out_ = 0;
};

}  // namespace

void compute(const Cpu& cpu, const Attention<float>& op) {
    if (op.key > kMaxAttentionKey || op.value > kMaxAttentionValue)
        throw std::invalid_argument("attention: at most 64 numbers per key and 128 per value are possible");
    const size_t groups = ceil_div(op.positions, kQueries), heads = op.n * op.heads;
    parallel_for(cpu, heads * groups, 1, [&](size_t begin, size_t end) {
        Head head(op);
        for (size_t group = begin; group < end; ++group) {
            if (group == begin || group % groups == 0) head.use(group / groups / op.heads, group / groups % op.heads);
            const size_t first = group % groups * kQueries;
            head.run(first, std::min(kQueries, op.positions - first));
        }
    });
}
