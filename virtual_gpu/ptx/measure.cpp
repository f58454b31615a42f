#include "measure.h"

#include <algorithm>

namespace ptx {
namespace {

size_t distinct(uint64_t* values, size_t count) {
    std::sort(values, values + count);
    return size_t(std::unique(values, values + count) - values);
}

}  // namespace

void measure(const Warp& w, const Instruction& i, const uint64_t* addresses, size_t bytes) {
    Counts& c = i.counts;
    ++c.requests;
    uint64_t list[64];
    size_t n = 0;
    if (i.space == Space::global) {
        for (unsigned l = 0; l < 32; ++l)
            if (w.lanes[l]) list[n++] = addresses[l] / 32;  // aligned accesses stay within a sector
        c.transfers += distinct(list, n);
        n = 0;
        for (unsigned l = 0; l < 32; ++l)
            if (w.lanes[l]) list[n++] = addresses[l];
        c.least += (distinct(list, n) * bytes + 31) / 32;
    } else if (i.space == Space::shared) {
        const unsigned together = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
        for (unsigned first = 0; first < 32; first += together) {
            n = 0;
            for (unsigned l = first; l < first + together; ++l)
                for (size_t at = 0; w.lanes[l] && at < bytes; at += 4) list[n++] = (addresses[l] + at) / 4;
            n = distinct(list, n);
            unsigned in_bank[32] = {}, most = 0;
            for (size_t k = 0; k < n; ++k) most = std::max(most, ++in_bank[list[k] % 32]);
            c.transfers += most;
            c.least += most > 0;
        }
    }
}

}  // namespace ptx
